"""Draws a network, top to bottom, as SVG: blocks as cards, skips as side lines, exits to the right."""

from __future__ import annotations

from dataclasses import dataclass

from archspace import Network, Shape
from child_models import layer_counts
from deploy import svg
from deploy.drawing_chips import CHIP_HEIGHT, CHIP_WIDTH, SUM_RADIUS, draw_chip, words
from deploy.drawing_layout import START, Item, Layout, layout
from deploy.drawing_units import Unit, picture

_MARGIN = 18.0
_TITLE = 24.0
_ROW = CHIP_HEIGHT + 20.0
_SUM_ROW = 2 * SUM_RADIUS + 20.0
_LINK = 40.0
_LANE = 30.0
_CARD_PADDING = 14.0
_EXIT_GAP = 26.0
_EXIT_HEIGHT = 66.0


def draw_architecture(network: Network) -> str:
    """An SVG document, the same for equal networks: light ground, no script, nothing loaded from elsewhere.

    Equal blocks in a row are drawn once with "×N". Each card says what share of the multiply-accumulates
    it has; the lines between cards say the shape of what flows, channels × height × width.
    """
    shown = picture(network)
    counts = layer_counts(network)
    drawing = _Drawing(network, {count.name: count.macs for count in counts})
    layouts = [layout(unit) for unit in shown.trunk]
    drawing.place_axis(layouts, has_exits=bool(shown.exits))
    drawing.start(sum(count.params for count in counts), sum(count.macs for count in counts))
    drawing.link(network.input_shape, [], shown.exit_units, after=-1, exits=shown.exits)
    for index, (unit, arranged) in enumerate(zip(shown.trunk, layouts, strict=True)):
        drawing.card(unit, arranged)
        if index < len(shown.trunk) - 1:
            shape = network.shapes[unit.last_output]
            drawing.link(shape, [], shown.exit_units, after=index, exits=shown.exits)
    return drawing.finish()
