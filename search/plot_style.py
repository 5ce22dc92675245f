"""What all figures share: colours that differ for colour-blind readers too, and a plain layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Okabe and Ito's palette, darkened where it is too pale on white.
COLOURS = ("#0b5cad", "#d9661f", "#0a8f6c", "#b0508f", "#8a6d00", "#4b5563", "#1893c4")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "triangle-down")
PICK_COLOUR = "#111827"
PICK_SYMBOLS = {"best": "star", "knee": "hexagon", "fastest": "triangle-right"}
MUTED = "#6b7280"
GRID = "#e5e9ef"


def colour(index: int) -> str:
    """Colour of the n-th strategy; they repeat after seven."""
    return COLOURS[index % len(COLOURS)]


def symbol(index: int) -> str:
    """Marker of the n-th strategy."""
    return SYMBOLS[index % len(SYMBOLS)]


def plain(text: str) -> str:
    """Text that plotly shows as it stands: it would take some tags for formatting."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def new_figure(x_title: str, y_title: str, **layout: Any) -> Figure:
    """An empty figure with named axes and the legend above."""
    from plotly.graph_objects import Figure

    figure = Figure()
    axis = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": MUTED,
        "ticks": "outside",
        "tickcolor": MUTED,
        "automargin": True,
    }
    figure.update_layout(
        template="none",
        font={"family": "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 62, "r": 16, "t": 12, "b": 52},
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        xaxis={**axis, "title": {"text": x_title}},
        yaxis={**axis, "title": {"text": y_title}},
        height=440,
        hovermode="closest",
    )
    figure.update_layout(**layout)
    return figure


def padded(values: Sequence[float], share: float = 0.06) -> tuple[float, float]:
    """A range around the values with a margin; never of zero width."""
    low, high = min(values), max(values)
    margin = (high - low) * share or abs(high) * share or 1.0
    return low - margin, high + margin
