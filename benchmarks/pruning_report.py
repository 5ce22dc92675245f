"""What `pruning.py` prints: a row a network, differences paired by seed, and whether the aim is met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from distillation_report import paired

MOST_LOST = 0.01
"""Of the whole network's accuracy by three rounds to a quarter of the parameters, share."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to get a network: test accuracies (shares 0-1) and parameters, one a seed in the same order.

    Attributes:
        name: what was done.
        tuned: accuracies of the whole network tuned further for as many epochs; empty where that is no comparison.
    """

    name: str
    accuracies: Sequence[float]
    parameters: Sequence[float]
    tuned: Sequence[float] = ()


def table(title: str, rows: Sequence[Row], against: Mapping[str, Sequence[float]]) -> str:
    """A Markdown table.

    Args:
        against: name → accuracies that every row is compared with, one a seed. A row is not compared with itself, and
            `tuned` goes between them, after the first.
    """
    first, *others = against
    columns = [first, "the whole, tuned as long", *others]
    compared = [f"against {name}, points (95 % interval)" for name in columns]
    lines = [
        title,
        "",
        "| " + " | ".join(["network", "parameters", "test, mean ± sd", *compared]) + " |",
        "|" + "---|" * (3 + len(compared)),
    ]
    for row in rows:
        sd = statistics.stdev(row.accuracies) if len(row.accuracies) > 1 else math.nan
        mean = statistics.fmean(row.accuracies)
        cells = [row.name, f"{statistics.fmean(row.parameters):,.0f}"]
        cells.append(f"{100 * mean:.2f} ± {100 * sd:.2f} %")
        theirs = [against[first], row.tuned, *(against[name] for name in others)]
        cells += [_difference(row.accuracies, other) for other in theirs]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(pruned: Row, whole: Sequence[float], share: float, whole_parameters: float) -> str:
    """Whether `pruned` has at most `share` of the parameters in every seed and loses at most a point on average."""
    lost = -paired(pruned.accuracies, whole).mean
    left = max(pruned.parameters) / whole_parameters
    word = "met" if lost <= MOST_LOST and left <= share else "MISSED"
    return (
        f"{word}: {pruned.name}: {100 * left:.1f} % of the parameters (aim: {100 * share:g}), "
        f"{100 * lost:.2f} points lost (aim: {100 * MOST_LOST:g})"
    )


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not theirs or ours is theirs:
        return ""
    gain = paired(ours, theirs)
    return f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
