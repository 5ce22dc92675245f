"""What a drawing shows: a network's layers gathered to units, equal neighbours counted, exits beside them.

A unit is drawn as one card. Its label is a block's label up to the second dot (``stage1.block0``,
``stage1.cell0``), so that a cell of many blocks is one card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from archspace import INPUT, Layer, Network

WHOLE = "network"


@dataclass(frozen=True, slots=True)
class Unit:
    """Layers that stand together.

    Attributes:
        label: of the first, where several equal units in a row are shown once.
        layers: in order.
        source: the one value from outside that they read: a layer's name or ``"input"``.
        output: the layer that others read, or that gives logits.
        last_output: the output of the last of the equal units.
        count: how many equal units this one stands for.
    """

    label: str
    layers: tuple[Layer, ...]
    source: str
    output: str
    last_output: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Picture:
    """Units from the image to the final logits; exits by the position of the unit that they follow."""

    trunk: tuple[Unit, ...]
    exits: Mapping[str, int]
    exit_units: Mapping[str, Unit]


def picture(network: Network) -> Picture:
    """`network` as units. One whose units read or give several values is shown as a single unit."""
    units = _units(network)
    if units is None:
        whole = Unit(WHOLE, network.layers, INPUT, network.output, network.output)
        return Picture((whole,), {}, {})
    by_output = {unit.output: unit for unit in units}
    trunk = [by_output[network.output]]
    while trunk[0].source != INPUT:
        trunk.insert(0, by_output[trunk[0].source])
    exit_units = {exit_.name: by_output[exit_.layer] for exit_ in network.exits}
    if len(trunk) + len(exit_units) < len(units):  # an exit of several units, say
        whole = Unit(WHOLE, network.layers, INPUT, network.output, network.output)
        return Picture((whole,), {}, {})
    followed = {unit.source for unit in exit_units.values()}
    merged = _merged(trunk, followed)
    places = {name: index for index, (_, names) in enumerate(merged) for name in names}
    exits = {name: places.get(unit.source, -1) for name, unit in exit_units.items()}
    return Picture(tuple(unit for unit, _ in merged), exits, exit_units)


def _units(network: Network) -> list[Unit] | None:
    """All units, or None if one of them reads or gives more than one value."""
    groups: dict[str, list[Layer]] = {}
    for layer in network.layers:
        groups.setdefault(".".join(layer.block.split(".")[:2]), []).append(layer)
    heads = set(network.heads)
    units = []
    for label, layers in groups.items():
        own = {layer.name for layer in layers}
        sources = {s for layer in layers for s in layer.inputs} - own
        read = {s for layer in network.layers if layer.name not in own for s in layer.inputs}
        outputs = own & (read | heads)
        if len(sources) != 1 or len(outputs) != 1:
            return None
        output = outputs.pop()
        units.append(Unit(label, tuple(layers), sources.pop(), output, output))
    return units


def _merged(trunk: list[Unit], followed: set[str]) -> list[tuple[Unit, list[str]]]:
    """Equal neighbours as one unit with a count, each with the outputs that it stands for."""
    merged: list[tuple[Unit, list[str]]] = []
    for unit in trunk:
        last = merged[-1] if merged else None
        if last and last[1][-1] not in followed and _content(last[0]) == _content(unit):
            again = replace(last[0], last_output=unit.output, count=last[0].count + 1)
            merged[-1] = (again, [*last[1], unit.output])
        else:
            merged.append((unit, [unit.output]))
    return merged


def _content(unit: Unit) -> list[dict[str, object]]:
    """What the unit computes, names left out."""
    numbers: dict[str, object] = {layer.name: i for i, layer in enumerate(unit.layers)}
    rows = []
    for layer in unit.layers:
        inputs = [numbers.get(source, INPUT) for source in layer.inputs]
        rows.append({**asdict(layer), "name": "", "block": "", "inputs": inputs})
    return rows
