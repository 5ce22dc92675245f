"""What `pruning.py` says: a row a network, differences paired by seed, whether the aim is met, and a picture."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import plotly.graph_objects as go
from distillation_report import paired

from search.markup import paragraph, section
from search.page import Page
from search.plot_style import COLOURS, colour, new_figure, plain, symbol

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


def write_plot(rows: Sequence[Row], whole: Row, path: Path) -> Path:
    """One offline HTML file: points of test accuracy against the whole network, by parameters left; a curve a name.

    Chance may leave the frame: it would make all others one line.
    """
    figure = new_figure("parameters left, %", "test accuracy against the whole, points", height=440)
    figure.update_xaxes(type="log", autorange="reversed", tickvals=[100, 50, 25, 10, 5])
    names = list(dict.fromkeys(row.name for row in rows))
    for index, name in enumerate(names):
        own = [row for row in rows if row.name == name]
        gains = [paired(row.accuracies, whole.accuracies) for row in own]
        figure.add_trace(
            go.Scatter(
                name=plain(name),
                x=[100 * _mean_share(row, whole) for row in own],
                y=[100 * gain.mean for gain in gains],
                customdata=[(100 * gain.low, 100 * gain.high) for gain in gains],
                mode="lines+markers" if len(own) > 1 else "markers",
                line={
                    "color": colour(index),
                    "width": 2.5,
                    "dash": "solid" if index < len(COLOURS) else "dash",
                },
                marker={"symbol": symbol(index) + "-open" * (index >= len(COLOURS)), "size": 9},
                hovertemplate="%{x:.1f} %: %{y:+.2f} (%{customdata[0]:+.2f} to %{customdata[1]:+.2f})",
            )
        )
    shown = [y for trace in figure.data if trace.name != "random" for y in trace.y]
    if shown:
        figure.update_yaxes(range=[min(shown) - 0.4, max(shown) + 0.4])
    title = "Accuracy against parameters left"
    page = Page(title)
    note = "Means over seeds, paired with the whole network; the tables have intervals."
    picture = page.figure("pruning", figure, description=title)
    page.add(section(title, picture, paragraph(note, kind="note"), key="curves"))
    return page.write(path)


def _mean_share(row: Row, whole: Row) -> float:
    return statistics.fmean(row.parameters) / statistics.fmean(whole.parameters)


def _difference(ours: Sequence[float], theirs: Sequence[float]) -> str:
    if not theirs or ours is theirs:
        return ""
    gain = paired(ours, theirs)
    return f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
