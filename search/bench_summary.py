"""A bench's records as a table and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from scipy import stats

from search.bench import SearchRecord
from search.markup import paragraph, section, table
from search.page import Page
from search.plot_style import COLOURS, colour, new_figure, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLUMNS = (
    "strategy",
    "new evaluations",
    "seeds",
    "best",
    "regret",
    "first minus it, 95 %",
    "hypervolume",
    "s an evaluation",
)
_NUM_COLOURS = len(COLOURS)


def summary_rows(records: Sequence[SearchRecord]) -> list[list[str]]:
    """A row a strategy and budget: means over seeds, ± one standard deviation of the regret.

    "First minus it": the paired difference of regrets to the first strategy over the seeds that both have, ± half of its
    95 % interval (Student's t).
    """
    rows = []
    groups = _grouped(records)
    for (strategy, budget), found in groups.items():
        regrets = [record.regret for record in found]
        volumes = [r.hypervolume for r in found if r.hypervolume is not None]
        seconds = fmean(r.strategy_seconds / max(r.new_evaluations, 1) for r in found)
        rows.append(
            [
                strategy,
                str(budget),
                str(len(found)),
                f"{fmean(record.best for record in found):.5g}",
                f"{fmean(regrets):.4g} ± {_std(regrets):.2g}",
                _difference(groups[records[0].strategy, budget], found),
                f"{fmean(volumes):.4f} ± {_std(volumes):.2g}" if volumes else "–",
                f"{seconds:.3f}",
            ]
        )
    return rows


def write_plot(records: Sequence[SearchRecord], title: str, path: Path) -> Path:
    """One offline HTML file: regret and hypervolume against new evaluations, by strategy, and the table."""
    page = Page(title)
    parts = [
        page.figure(
            "regret",
            _figure(records, "regret"),
            description="Mean regret against new evaluations, by strategy",
        )
    ]
    if any(record.hypervolume is not None for record in records):
        parts.append(
            page.figure(
                "hypervolume",
                _figure(records, "hypervolume"),
                description="Mean hypervolume share against new evaluations, by strategy",
            )
        )
    note = "Means over seeds; bars are 95 % intervals of the mean."
    page.add(
        section(title, *parts, paragraph(note, kind="note"), key="curves"),
        section("Figures", table(COLUMNS, summary_rows(records)), key="figures"),
    )
    return page.write(path)


def _figure(records: Sequence[SearchRecord], what: str) -> Figure:
    """`what`: an attribute of the records."""
    import plotly.graph_objects as go

    figure = new_figure("new evaluations", what, height=440)
    strategies = list(dict.fromkeys(record.strategy for record in records))
    for index, strategy in enumerate(strategies):
        groups = {b: f for (s, b), f in _grouped(records).items() if s == strategy}
        values = {
            budget: [v for r in found if (v := getattr(r, what)) is not None]
            for budget, found in groups.items()
        }
        budgets = [budget for budget, found in values.items() if found]
        figure.add_trace(
            go.Scatter(
                name=plain(strategy),
                x=budgets,
                y=[fmean(values[budget]) for budget in budgets],
                error_y={
                    "array": [_half_width_95(values[budget]) for budget in budgets],
                    "thickness": 1,
                },
                mode="lines+markers",
                line={
                    "color": colour(index),
                    "width": 2.5,
                    "dash": "solid" if index < _NUM_COLOURS else "dash",
                },
                hovertemplate="%{x} evaluations: %{y:.4g}",
            )
        )
    return figure


def _grouped(records: Sequence[SearchRecord]) -> dict[tuple[str, int], list[SearchRecord]]:
    groups: dict[tuple[str, int], list[SearchRecord]] = {}
    for record in records:
        groups.setdefault((record.strategy, record.budget), []).append(record)
    return groups


def _difference(first: Sequence[SearchRecord], other: Sequence[SearchRecord]) -> str:
    """Of regrets, seed by seed; a dash for the first strategy itself and for fewer than two common seeds."""
    own = {record.seed: record.regret for record in first}
    pairs = [own[record.seed] - record.regret for record in other if record.seed in own]
    if len(pairs) < 2 or first[0].strategy == other[0].strategy:
        return "–"
    return f"{fmean(pairs):+.4g} ± {_half_width_95(pairs):.2g}"


def _std(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _half_width_95(values: Sequence[float]) -> float:
    """Of the 95 % interval of the mean (Student's t); 0 for a single value."""
    if len(values) < 2:
        return 0.0
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return float(quantile * stdev(values) / len(values) ** 0.5)
