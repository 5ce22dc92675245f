"""Figures over several runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from search.plot_style import PICK_COLOUR, PICK_SYMBOLS, colour, new_figure, plain, symbol
from search.report_plots import best_so_far, first_view, front_rows, scored
from search.summary import RunSummary, merged_picks

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_DASHES = ("solid", "dash", "dot", "dashdot")


def runs_figure(runs: Sequence[tuple[str, RunSummary, pd.DataFrame]]) -> Figure:
    """The front of each run's sessions (a colour a run, a dash a session), and the picks after full training."""
    import plotly.graph_objects as go

    figure = new_figure("latency (ms)", "accuracy (%)", height=520)
    for index, (title, summary, trials) in enumerate(runs):
        for number, name in enumerate(dict.fromkeys(trials["session"])):
            front = front_rows(scored(trials[trials["session"] == name]))
            figure.add_trace(
                go.Scatter(
                    name=plain(f"{title}: {name}"),
                    x=front["latency_ms"].tolist(),
                    y=(100 * front["accuracy"]).tolist(),
                    mode="lines+markers",
                    line={
                        "shape": "hv",
                        "color": colour(index),
                        "dash": _DASHES[number % len(_DASHES)],
                        "width": 2.5 if number == 0 else 1.2,
                    },
                    marker={"symbol": symbol(number), "size": 6},
                    hovertemplate="%{y:.2f} % (validation) at %{x:.4g} ms (predicted)",
                    visible=True if number == 0 or len(runs) <= 2 else "legendonly",
                )
            )
        picks = merged_picks(summary.picks)
        figure.add_trace(
            go.Scatter(
                name=plain(f"{title}: picks, fully trained"),
                x=[p.latency.value for p in picks],
                y=[
                    100 * (p.search_accuracy if p.test_accuracy is None else p.test_accuracy)
                    for p in picks
                ],
                text=[plain(p.pick) for p in picks],
                mode="markers",
                marker={
                    "symbol": [PICK_SYMBOLS.get(p.pick.split(" = ")[0], "circle") for p in picks],
                    "size": 15,
                    "color": colour(index),
                    "line": {"color": PICK_COLOUR, "width": 1.5},
                },
                hovertemplate="%{text}: %{y:.2f} % at %{x:.4g} ms",
                visible=True if picks else "legendonly",
                showlegend=bool(picks),
            )
        )
    return figure


def progress_figure(trials: Sequence[pd.DataFrame]) -> Figure:
    """Mean best reward so far by strategy over all its sessions, with one standard deviation each way."""
    import plotly.graph_objects as go

    figure = new_figure("new children paid for", "best reward so far", height=440)
    means: list[pd.Series[float]] = []
    for index, (strategy, curves) in enumerate(progress_by_strategy(trials).items()):
        mean, std = curves.mean(axis=1), curves.std(axis=1, ddof=1).fillna(0.0)
        paid = curves.index.tolist()
        means.append(mean)
        if curves.shape[1] > 1:
            figure.add_trace(
                go.Scatter(
                    x=[*paid, *reversed(paid)],
                    y=[*(mean + std).tolist(), *reversed((mean - std).tolist())],
                    mode="lines",
                    line={"width": 0},
                    fill="toself",
                    fillcolor=colour(index),
                    opacity=0.13,
                    hoverinfo="skip",
                    showlegend=False,
                )
            )
        figure.add_trace(
            go.Scatter(
                name=plain(f"{strategy} ({curves.shape[1]} runs)"),
                x=paid,
                y=mean.tolist(),
                mode="lines",
                line={"color": colour(index), "width": 2.5},
                hovertemplate="%{x:g} children: %{y:.4g}",
            )
        )
    figure.update_xaxes(rangemode="tozero")
    view = first_view(means)
    if view is not None:
        figure.update_yaxes(range=view)
    return figure


def progress_by_strategy(trials: Sequence[pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Best reward so far by strategy: a row a number of children paid for, a column a session.

    Only numbers that every session of the strategy reached, from where each has a scored child.
    """
    series: dict[str, list[pd.Series[float]]] = {}
    for frame in trials:
        for _, session in frame.groupby("session", sort=False):
            steps = best_so_far(session, "reward")
            if len(steps):
                series.setdefault(str(session["strategy"].iloc[0]), []).append(steps)
    curves = {}
    for strategy, found in series.items():
        merged = pd.concat(found, axis=1, keys=range(len(found))).sort_index()
        last = min(steps.index[-1] for steps in found)
        curves[strategy] = merged.ffill().loc[:last].dropna()
    return curves
