"""The report's figures: Pareto front, best so far, and predicted against measured latency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from search.pareto import Point, nondominated
from search.plot_style import (
    MUTED,
    PICK_COLOUR,
    PICK_SYMBOLS,
    colour,
    new_figure,
    padded,
    plain,
    symbol,
)
from search.summary import PickSummary, merged_picks

if TYPE_CHECKING:
    from plotly.graph_objects import Figure, Scatter

BAND = 0.10
"""Half width of the band around a perfect prediction."""


class LatencyPair(NamedTuple):
    """A held-out network of the profile: what the model said and what was measured, in milliseconds."""

    predicted_ms: float
    measured_ms: float


class ParetoFigure(NamedTuple):
    """The figure, and how many children lie below its first view (`floor`, a share)."""

    figure: Figure
    hidden: int
    floor: float


def scored(trials: pd.DataFrame) -> pd.DataFrame:
    """New proposals, trained in full, that have an accuracy and a latency."""
    known = (trials["status"] == "ok") & trials["latency_ms"].notna()
    return trials[known & trials["is_new"] & trials["is_full"]]


def front_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of `scored` that no other dominates in accuracy and latency (energy left out), fastest first."""
    points = [
        Point(accuracy, latency, 0.0)
        for accuracy, latency in zip(frame["accuracy"], frame["latency_ms"], strict=True)
    ]
    return frame.iloc[nondominated(points)]


def pareto_figure(
    trials: pd.DataFrame,
    session: str,
    picks: Sequence[PickSummary],
    *,
    latency_limit_ms: float | None = None,
) -> ParetoFigure:
    """Accuracy against latency: every child, the main session's front as a line, the picks marked."""
    import plotly.graph_objects as go

    figure = new_figure("predicted latency (ms)", "validation accuracy (%)")
    children = scored(trials)
    names = list(dict.fromkeys(trials["session"]))
    for index, name in reversed(list(enumerate(names))):  # the main session is drawn last, on top
        own = children[children["session"] == name]
        main = name == session
        figure.add_trace(
            go.Scatter(
                name=plain(name),
                x=own["latency_ms"].tolist(),
                y=(100 * own["accuracy"]).tolist(),
                mode="markers",
                marker={
                    "color": colour(index),
                    "symbol": symbol(index),
                    "size": 8 if main else 7,
                    "opacity": 0.75 if main else 0.5,
                },
                customdata=_hover_data(own),
                hovertemplate=_HOVER,
            )
        )
    own = children[children["session"] == session]
    front = front_rows(own)
    if len(front):
        figure.add_trace(_front_line(front, colour(names.index(session))))
    for pick in merged_picks(picks):
        figure.add_trace(_pick_mark(pick, pick.latency_predicted.value, pick.search_accuracy * 100))
    if latency_limit_ms is not None:
        figure.add_vline(
            x=latency_limit_ms, line={"color": MUTED, "dash": "dot"}, annotation_text="limit"
        )
    figure.update_layout(legend={"traceorder": "reversed"})
    floor = _first_view_floor(children, front)
    top = children["accuracy"].max() if len(children) else 1.0
    hidden = int((children["accuracy"] < floor).sum())
    if hidden:
        low, high = padded([100 * floor, 100 * top])
        figure.update_yaxes(range=[low, min(high, 101.0)])
    return ParetoFigure(figure, hidden, floor)


def best_so_far_figure(trials: pd.DataFrame, column: str) -> Figure:
    """Best value of `column` (reward or accuracy) of each session against what it had paid by then."""
    import plotly.graph_objects as go

    scale = 100 if column == "accuracy" else 1
    title = "best validation accuracy so far (%)" if column == "accuracy" else "best reward so far"
    figure = new_figure("new children paid for", title, height=400)
    names = list(dict.fromkeys(trials["session"]))
    curves = [best_so_far(trials[trials["session"] == name], column) for name in names]
    for index, (name, steps) in enumerate(zip(names, curves, strict=True)):
        figure.add_trace(
            go.Scatter(
                name=plain(name),
                x=steps.index.tolist(),
                y=(scale * steps).tolist(),
                mode="lines",
                line={
                    "shape": "hv",
                    "width": 3 if index == 0 else 2,
                    "color": colour(index),
                    "dash": "solid" if index == 0 else "dash",
                },
                hovertemplate="%{x:g} children: %{y:.4g}",
            )
        )
    figure.update_xaxes(rangemode="tozero")
    view = first_view([scale * steps for steps in curves])
    if view is not None:
        figure.update_yaxes(range=view)
    return figure


def first_view(curves: Sequence[pd.Series[float]]) -> tuple[float, float] | None:
    """Range of values from where a tenth of the children is paid: the first few would flatten all the rest."""
    shown = [steps[steps.index >= 0.1 * steps.index[-1]] for steps in curves if len(steps)]
    if not shown:
        return None
    return padded([float(steps.min()) for steps in shown] + [float(s.max()) for s in shown])


def best_so_far(session: pd.DataFrame, column: str) -> pd.Series[float]:
    """Best value so far by the number of children paid for; starts at the first child with a value."""
    counts = (session["status"] == "ok") & session["is_full"]
    values = session[column].where(counts).cummax().ffill()
    frame = pd.DataFrame({"paid": session["charged"].cumsum(), "best": values}).dropna()
    return frame.groupby("paid")["best"].max()


def latency_figure(held_out: Sequence[LatencyPair], picks: Sequence[PickSummary]) -> Figure:
    """Predicted against measured latency: both axes of one scale, the diagonal, and ±10 % around it."""
    import plotly.graph_objects as go

    figure = new_figure("measured latency (ms)", "predicted latency (ms)", height=520)
    measured_picks = [p for p in merged_picks(picks) if p.latency_worst_measured is not None]
    low, high = _latency_range(held_out, measured_picks)
    ends = [low, high]
    figure.add_trace(
        go.Scatter(
            name="±10 %",
            x=[low, high, high, low],
            y=[low * (1 - BAND), high * (1 - BAND), high * (1 + BAND), low * (1 + BAND)],
            mode="lines",
            line={"width": 0},
            fill="toself",
            fillcolor="rgba(11,92,173,0.12)",
            hoverinfo="skip",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=ends,
            y=ends,
            mode="lines",
            line={"color": MUTED, "dash": "dot", "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
    )
    figure.add_trace(
        go.Scatter(
            name="held-out networks of the profile",
            x=[pair.measured_ms for pair in held_out],
            y=[pair.predicted_ms for pair in held_out],
            mode="markers",
            marker={"color": colour(0), "size": 8, "opacity": 0.7},
            hovertemplate="measured %{x:.4g} ms<br>predicted %{y:.4g} ms<extra></extra>",
        )
    )
    for pick in measured_picks:
        assert pick.latency_worst_measured is not None
        figure.add_trace(
            _pick_mark(pick, pick.latency_worst_measured.value, pick.latency_worst_predicted.value)
        )
    figure.update_xaxes(range=ends, constrain="domain")
    figure.update_yaxes(range=ends, scaleanchor="x", constrain="domain")
    return figure


def _front_line(front: pd.DataFrame, line_colour: str) -> Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        name="Pareto front",
        x=front["latency_ms"].tolist(),
        y=(100 * front["accuracy"]).tolist(),
        mode="lines",
        line={"shape": "hv", "color": line_colour, "width": 2},
        hoverinfo="skip",
    )


def _pick_mark(pick: PickSummary, x: float, y: float) -> Scatter:
    import plotly.graph_objects as go

    first = pick.pick.split(" = ")[0]
    return go.Scatter(
        name=plain(pick.pick),
        x=[x],
        y=[y],
        mode="markers",
        marker={
            "symbol": PICK_SYMBOLS.get(first, "circle-open"),
            "size": 17,
            "color": "rgba(255,255,255,0.85)",
            "line": {"color": PICK_COLOUR, "width": 2.2},
        },
        hovertemplate="%{x:.4g} · %{y:.4g}",
    )


_HOVER = (
    "%{customdata[0]}<br>%{y:.2f} % at %{x:.4g} ± %{customdata[1]:.2g} ms"
    "<br>%{customdata[2]:,} parameters · reward %{customdata[3]:.4g}"
)


def _hover_data(own: pd.DataFrame) -> list[list[object]]:
    labels = [plain(label) for label in own["label"]]
    params = [None if pd.isna(n) else int(n) for n in own["num_params"]]
    columns = labels, own["latency_std_ms"].tolist(), params, own["reward"].tolist()
    return [list(row) for row in zip(*columns, strict=True)]


def _first_view_floor(children: pd.DataFrame, front: pd.DataFrame) -> float:
    """Accuracy (share) above which the first view begins: a few bad children must not flatten the front."""
    if not len(children):
        return 0.0
    lowest = float(children["accuracy"].min())
    low = float(children["accuracy"].quantile(0.05))
    if len(front):
        low = min(low, float(front["accuracy"].min()))
    top = float(children["accuracy"].max())
    return low if top - lowest > 2 * (top - low) else lowest


def _latency_range(
    held_out: Sequence[LatencyPair], picks: Sequence[PickSummary]
) -> tuple[float, float]:
    values = [value for pair in held_out for value in pair]
    for pick in picks:
        assert pick.latency_worst_measured is not None
        values += [pick.latency_worst_measured.value, pick.latency_worst_predicted.value]
    low, high = padded(values or [0.0, 1.0])
    return max(0.0, low), high
