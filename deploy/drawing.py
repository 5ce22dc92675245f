"""Draws a network, top to bottom, as SVG: blocks as cards, skips as side lines, exits to the right."""

from __future__ import annotations

from collections.abc import Sequence

from archspace import Exit, Network, Shape
from child_models import layer_counts
from deploy import svg
from deploy.drawing_card import LEFT_MINIMUM, RIGHT, Card, card_height, draw_card, left_extent
from deploy.drawing_chips import CHIP_WIDTH, words
from deploy.drawing_layout import layout
from deploy.drawing_units import Picture, Unit, picture

_MARGIN = 18.0
_LINK = 38.0
_EXIT_GAP = 24.0
_EXIT_WIDTH = 184.0
_EXIT_HEIGHT = 62.0
_EXIT_STEP = _EXIT_HEIGHT + 10.0


def draw_architecture(network: Network) -> str:
    """An SVG document, the same for equal networks: light ground, no script, nothing loaded from elsewhere.

    Equal blocks in a row are drawn once with "×N". A card says which share of the multiply-accumulates it
    has; the lines between cards say the shape that flows there, channels × height × width.

    Raises:
        ValueError: layers that do not fit together.
    """
    shown = picture(network)
    cards = _cards(network, shown)
    axis = _MARGIN + max(LEFT_MINIMUM, *(left_extent(card) for card in cards))
    body, y = _head(network, axis)
    for index in range(-1, len(cards)):
        if index >= 0:
            last = index == len(cards) - 1
            body += draw_card(cards[index], axis, y, left=_MARGIN, last=last)
            y += card_height(cards[index])
        exits = [exit_ for exit_ in network.exits if shown.exits.get(exit_.name) == index]
        if index < len(cards) - 1:
            shape = network.shapes[shown.trunk[index].last_output] if index >= 0 else None
            body, y = _link(body, axis, y, shape, exits, shown)
    width = axis + RIGHT + _MARGIN + (_EXIT_GAP + _EXIT_WIDTH if shown.exits else 0)
    title = f"Network for {_shape(network.input_shape)} images and {network.num_classes} classes"
    return svg.document(width, y + _MARGIN, title, body, key=network.digest)


def _cards(network: Network, shown: Picture) -> list[Card]:
    macs = {count.name: count.macs for count in layer_counts(network)}
    total = max(1, sum(macs.values()))
    shares = [
        sum(macs[layer.name] for layer in unit.layers) * unit.count / total for unit in shown.trunk
    ]
    return [
        Card(unit, layout(unit), share) for unit, share in zip(shown.trunk, shares, strict=True)
    ]


def _head(network: Network, axis: float) -> tuple[list[str], float]:
    """Counts in the first line, the image below; returns where the drawing goes on."""
    counts = layer_counts(network)
    params, macs = (
        sum(values) for values in zip(*((c.params, c.macs) for c in counts), strict=True)
    )
    figures = f"{params:,} parameters · {macs:,} multiply-accumulates an image"
    top, height = 38.0, 28.0
    return [
        svg.text(_MARGIN, 24, figures, size=11, anchor="start", colour=svg.MUTED),
        svg.box(axis - CHIP_WIDTH / 2, top, CHIP_WIDTH, height, fill="#ffffff", edge=svg.MUTED),
        svg.text(axis, top + 18, f"image {_shape(network.input_shape)}", size=12),
    ], top + height


def _link(
    body: list[str],
    axis: float,
    y: float,
    shape: Shape | None,
    exits: Sequence[Exit],
    shown: Picture,
) -> tuple[list[str], float]:
    """The arrow from one card to the next, with what leaves there."""
    height = max(_LINK, _EXIT_STEP * len(exits) - 24)
    body = [*body, svg.path(f"M{svg.number(axis)} {svg.number(y)}v{height - 1}", arrow=True)]
    middle = y + height / 2
    if shape is not None:
        body.append(
            svg.text(axis - 9, middle + 4, _shape(shape), size=11, anchor="end", colour=svg.MUTED)
        )
    for number, exit_ in enumerate(exits):
        at = middle + _EXIT_STEP * (number - (len(exits) - 1) / 2)
        body += _exit(exit_, shown.exit_units[exit_.name], axis, at)
    return body, y + height


def _exit(exit_: Exit, unit: Unit, axis: float, y: float) -> list[str]:
    """A dashed line to the right and the exit's card, centred at `y`."""
    left = axis + RIGHT + _EXIT_GAP
    middle = left + _EXIT_WIDTH / 2
    chips = [words(item) for item in layout(unit).items.values()]
    steps = " → ".join(chip.title for chip in chips)
    if exit_.threshold is None:
        rule = "threshold not chosen yet"
    elif exit_.threshold <= 0:
        rule = "switched off"
    else:
        rule = f"leave if entropy ≤ {exit_.threshold:.3g}"
    start = f"M{svg.number(axis)} {svg.number(y)}H{svg.number(left - 1)}"
    box = svg.box(
        left,
        y - _EXIT_HEIGHT / 2,
        _EXIT_WIDTH,
        _EXIT_HEIGHT,
        fill="#fdeeee",
        edge="#dd9a9a",
        radius=10,
    )
    return [
        svg.path(start, dashed=True, arrow=True),
        box,
        svg.text(middle, y - 13, exit_.name, size=12.5, bold=True),
        svg.text(middle, y + 4, steps if len(steps) <= 30 else f"{len(chips)} layers", size=11.5),
        svg.text(middle, y + 20, rule, size=10.5, colour=svg.MUTED),
    ]


def _shape(shape: Shape) -> str:
    return " × ".join(str(size) for size in shape)
