"""What `distillation.py` prints: a row a method, differences paired by seed."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from distillation_cases import ALONE, FOUR_TERMS
from scipy import stats

LEAST_RECOVERED = 0.4
"""Of the gap, by the best method."""
LEAST_SHARE = 0.972
"""Of the teacher's accuracy, by the four-term mix."""


class Paired(NamedTuple):
    """Mean of paired differences and its 95 % interval by Student's t; NaN bounds for a single pair."""

    mean: float
    low: float
    high: float


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Paired:
    """Of `ours` − `theirs`, seed by seed."""
    differences = [a - b for a, b in zip(ours, theirs, strict=True)]
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Paired(mean, math.nan, math.nan)
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    reach = float(stats.t.ppf(0.975, len(differences) - 1)) * error
    return Paired(mean, mean - reach, mean + reach)


def report(accuracies: Mapping[str, Sequence[float]], teacher: float, split: str) -> str:
    """A Markdown table.

    Args:
        accuracies: by method, one a seed in the same order (shares 0-1); has `alone`.
        teacher: its accuracy, share 0-1.
        split: on which they were measured.
    """
    alone = accuracies[ALONE]
    gap = teacher - statistics.fmean(alone)
    rows = [
        f"{split}: teacher {100 * teacher:.2f} %, gap {100 * gap:.2f} points, {len(alone)} seeds",
        "",
        "| method | accuracy, mean ± sd | against alone, points (95 % interval) | gap recovered | of the teacher's |",
        "|---|---|---|---|---|",
    ]
    for name, values in accuracies.items():
        mean = statistics.fmean(values)
        sd = statistics.stdev(values) if len(values) > 1 else math.nan
        cells = [name, f"{100 * mean:.2f} ± {100 * sd:.2f} %"]
        if name == ALONE:
            cells += ["", ""]
        else:
            gain = paired(values, alone)
            cells += [
                f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})",
                f"{100 * gain.mean / gap:.0f} %",
            ]
        rows.append("| " + " | ".join([*cells, f"{100 * mean / teacher:.2f} %"]) + " |")
    return "\n".join(rows)


def verdict(accuracies: Mapping[str, Sequence[float]], teacher: float) -> str:
    """Whether the aims are met, a line each."""
    alone = accuracies[ALONE]
    gap = teacher - statistics.fmean(alone)
    lines = [_line(gap >= 0.05, f"the teacher leads by {100 * gap:.2f} points (aim: 5)")]
    for name, values in accuracies.items():
        if name == ALONE:
            continue
        gain = paired(values, alone)
        text = f"{name}: {100 * gain.mean / gap:.0f} % of the gap (aim: 40), interval {'above' if gain.low > 0 else 'not above'} 0"
        lines.append(_line(gain.mean >= LEAST_RECOVERED * gap and gain.low > 0, text))
    if FOUR_TERMS in accuracies:
        share = statistics.fmean(accuracies[FOUR_TERMS]) / teacher
        text = f"{FOUR_TERMS}: {100 * share:.2f} % of the teacher's accuracy (aim: 97.2)"
        lines.append(_line(share >= LEAST_SHARE, text))
    return "\n".join(lines)


def _line(passed: bool, text: str) -> str:
    return f"{'met' if passed else 'MISSED'}: {text}"
