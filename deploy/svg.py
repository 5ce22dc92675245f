"""The few shapes that a drawing is made of, as SVG text. All text is escaped."""

from __future__ import annotations

from html import escape
from typing import Literal

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
INK = "#1f2933"
MUTED = "#6b7785"
LINE = "#9aa5b1"
CARD = "#f5f7fa"
CARD_EDGE = "#dfe5ec"

Anchor = Literal["start", "middle", "end"]


def number(value: float) -> str:
    """At most one decimal, no trailing zero."""
    return f"{value:.1f}".removesuffix(".0")


def text(
    x: float,
    y: float,
    content: str,
    *,
    size: float = 12,
    anchor: Anchor = "middle",
    colour: str = INK,
    bold: bool = False,
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{number(x)}" y="{number(y)}" font-size="{number(size)}" '
        f'text-anchor="{anchor}" fill="{colour}"{weight}>{escape(content)}</text>'
    )


def box(
    x: float,
    y: float,
    width: float,
    height: float,
    *,
    fill: str,
    edge: str,
    radius: float = 7,
    dashed: bool = False,
) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    return (
        f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" '
        f'height="{number(height)}" rx="{number(radius)}" fill="{fill}" stroke="{edge}"{dash}/>'
    )


def circle(x: float, y: float, radius: float, *, fill: str, edge: str) -> str:
    return (
        f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(radius)}" '
        f'fill="{fill}" stroke="{edge}"/>'
    )


def path(points: str, *, dashed: bool = False, arrow: bool = False) -> str:
    dash = ' stroke-dasharray="4 3"' if dashed else ""
    head = ' marker-end="url(#arrow)"' if arrow else ""
    return f'<path d="{points}" fill="none" stroke="{LINE}" stroke-width="1.6"{dash}{head}/>'


def document(width: float, height: float, title: str, body: list[str], *, key: str) -> str:
    """A whole SVG file on a white ground; `title` is what a screen reader says.

    `key` (letters and digits) makes its ids differ from those of other drawings on the same page.
    """
    size = f"{number(width)} {number(height)}"
    arrow = (
        f'<defs><marker id="arrow-{key}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        f'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>'
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" '
            f'width="{number(width)}" height="{number(height)}" '
            f'font-family="{FONT}" role="img" style="max-width:100%;height:auto">',
            f"<title>{escape(title)}</title>",
            arrow,
            f'<rect width="{number(width)}" height="{number(height)}" rx="10" fill="#ffffff"/>',
            *(line.replace("url(#arrow)", f"url(#arrow-{key})") for line in body),
            "</svg>",
            "",
        ]
    )
