"""One unit as a card: its chips in rows and columns, and the lines between them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from deploy import svg
from deploy.drawing_chips import CHIP_HEIGHT, CHIP_WIDTH, SUM_RADIUS, draw_chip
from deploy.drawing_layout import START, Item, Layout
from deploy.drawing_units import Unit

_TITLE = 36.0
_BOTTOM = 12.0
_GAP = 20.0
_LANE = 30.0
_COLUMN_GAP = 12.0
_PADDING = 14.0
_CORNER = 7.0
RIGHT = CHIP_WIDTH / 2 + _PADDING
"""From the axis to a card's right edge."""
LEFT_MINIMUM = CHIP_WIDTH / 2 + _PADDING + 36.0
"""From the axis to the left edge at least, so that titles have room."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Card:
    """What is drawn: a unit, its arrangement, and its share (0-1) of the network's MACs."""

    unit: Unit
    layout: Layout
    mac_share: float


def left_extent(card: Card) -> float:
    """From the axis to where the card must begin."""
    return -_columns(card.layout)[-1] + _PADDING


def card_height(card: Card) -> float:
    rows = _rows(card.layout)
    last_is_sum = _row_is_sum(card.layout, card.layout.rows)
    return rows[-1] + (SUM_RADIUS if last_is_sum else CHIP_HEIGHT / 2) + _BOTTOM


def draw_card(card: Card, axis: float, y: float, *, left: float, last: bool) -> list[str]:
    """The card with its top edge at `y`; what flows in, and out unless it is the `last`, is on the axis."""
    height = card_height(card)
    columns = [axis + offset for offset in _columns(card.layout)]
    rows = [y + offset for offset in _rows(card.layout)]
    items = card.layout.items
    shapes = [
        svg.box(left, y, axis + RIGHT - left, height, fill=svg.CARD, edge=svg.CARD_EDGE, radius=9),
        *_titles(card, axis, y, left),
    ]
    for item in items.values():
        for source, column in item.lines:
            start = (columns[0], y) if source == START else _bottom(items[source], columns, rows)
            turn = y + _TITLE - 10 if source == START else start[1] + _GAP / 2
            shapes.append(_line(start, turn, item, column, columns, rows))
    if not last:
        x, bottom = _bottom(items[card.unit.output], columns, rows)
        shapes.append(svg.path(f"M{svg.number(x)} {svg.number(bottom)}V{svg.number(y + height)}"))
    for item in items.values():
        shapes += draw_chip(item, columns[item.column], rows[item.row])
    return shapes


def _titles(card: Card, axis: float, y: float, left: float) -> list[str]:
    times = f"  ×{card.unit.count}" if card.unit.count > 1 else ""
    share = f"{card.mac_share:.0%} of MACs" if card.mac_share >= 0.005 else ""
    right = axis + RIGHT - 10
    return [
        svg.text(left + 11, y + 17, card.unit.label + times, size=11.5, anchor="start", bold=True),
        svg.text(right, y + 17, share, size=10, anchor="end", colour=svg.MUTED),
    ]


def _columns(arranged: Layout) -> list[float]:
    """Offset of each column's centre from the axis, ≤ 0; one more entry: the left edge of the last."""
    centres, edge = [0.0], -CHIP_WIDTH / 2
    for column in range(1, arranged.columns):
        width = CHIP_WIDTH + _COLUMN_GAP if column in arranged.wide else _LANE
        centres.append(edge - width / 2 - (_COLUMN_GAP / 2 if column in arranged.wide else 0))
        edge -= width
    return [*centres, edge]


def _rows(arranged: Layout) -> list[float]:
    """Offset of each row's centre from the card's top; row 0 is the top edge."""
    centres, bottom = [0.0], _TITLE - _GAP / 2
    for row in range(1, arranged.rows + 1):
        half = SUM_RADIUS if _row_is_sum(arranged, row) else CHIP_HEIGHT / 2
        centres.append(bottom + _GAP / 2 + half)
        bottom = centres[-1] + half + _GAP / 2
    return centres


def _row_is_sum(arranged: Layout, row: int) -> bool:
    return all(i.layer.op == "add" for i in arranged.items.values() if i.row == row)


def _half(item: Item) -> float:
    return SUM_RADIUS if item.layer.op == "add" else CHIP_HEIGHT / 2


def _bottom(item: Item, columns: list[float], rows: list[float]) -> Point:
    return columns[item.column], rows[item.row] + _half(item)


def _line(
    start: Point, turn: float, item: Item, column: int, columns: list[float], rows: list[float]
) -> str:
    """From `start` over `column` to the item: into a sum from its side, into a chip from above."""
    x, y, lane = columns[item.column], rows[item.row], columns[column]
    if lane == start[0] == x:
        return _rounded([start, (x, y - _half(item))], arrow=False)
    out = [start, (start[0], turn), (lane, turn)]
    if item.layer.op == "add" and lane != x:
        side = x - SUM_RADIUS if lane < x else x + SUM_RADIUS
        return _rounded([*out, (lane, y), (side, y)], arrow=True)
    above = y - _half(item) - _GAP / 2
    return _rounded([*out, (lane, above), (x, above), (x, y - _half(item))], arrow=True)


def _rounded(points: list[Point], *, arrow: bool) -> str:
    """A path of horizontal and vertical pieces with round corners."""
    kept = [points[0]]
    kept += [b for a, b in pairwise(points) if a != b]
    n = svg.number
    commands = [f"M{n(kept[0][0])} {n(kept[0][1])}"]
    for before, corner, after in zip(kept, kept[1:], kept[2:], strict=False):
        enter, leave = _toward(corner, before), _toward(corner, after)
        commands.append(f"L{n(enter[0])} {n(enter[1])}")
        commands.append(f"Q{n(corner[0])} {n(corner[1])} {n(leave[0])} {n(leave[1])}")
    commands.append(f"L{n(kept[-1][0])} {n(kept[-1][1])}")
    return svg.path("".join(commands), arrow=arrow)


def _toward(corner: Point, other: Point) -> Point:
    """The point near `corner` on the way to `other`: where the bend begins."""
    dx, dy = other[0] - corner[0], other[1] - corner[1]
    length = abs(dx) + abs(dy)  # one of them is 0
    reach = min(_CORNER, length / 2) / length
    return corner[0] + dx * reach, corner[1] + dy * reach
