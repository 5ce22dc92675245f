"""What a JSON Schema cannot say about a network that comes from a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from archspace.network import INPUT, WEIGHTED, Layer, Network, Shape
from archspace.space import SchemaError

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_DEFAULTS = {
    "kernel": 1,
    "stride": 1,
    "padding": 0,
    "groups": 1,
    "bias": False,
    "norm": False,
    "activation": "none",
}
_WINDOW = {"kernel", "stride", "padding"}
_USED_FIELDS = {
    "conv": set(_DEFAULTS),
    "avg_pool": _WINDOW,
    "batch_norm": {"activation"},
    "add": {"activation"},
}


def check_network(network: Network) -> None:
    """Raises SchemaError with the JSON path of the first thing that does not fit together."""
    names = [layer.name for layer in network.layers]
    _unique("$.network.layers", [*names, INPUT])
    _unique("$.network.exits", [exit_.name for exit_ in network.exits])
    for i, layer in enumerate(network.layers):
        for problem in _layer_problems(layer):
            raise SchemaError(f"$.network.layers[{i}]: layer {layer.name}: {problem}")
    try:
        shapes = network.shapes
    except ValueError as error:
        raise SchemaError(f"$.network.layers: {error}") from error
    for i, layer in enumerate(network.layers):
        if layer.op == "linear" and shapes[layer.inputs[0]][1:] != (1, 1):
            raise SchemaError(
                f"$.network.layers[{i}]: layer {layer.name}: linear reads a pooled map (C, 1, 1), "
                f"got {tuple(shapes[layer.inputs[0]])}"
            )
    _check_heads(network)
    _check_all_needed(network)
    _check_blocks(network)


def _unique(path: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise SchemaError(f"{path}: the name {name!r} occurs twice; names must be unique")
        seen.add(name)


def _layer_problems(layer: Layer) -> Iterator[str]:
    if not _IDENTIFIER.fullmatch(layer.name):  # a schema's $ lets a trailing line break pass
        yield f"{layer.name!r} is not a name"
    if layer.op == "add" and len(layer.inputs) < 2:
        yield "add needs two or more inputs"
    if layer.op != "add" and len(layer.inputs) != 1:
        yield f"{layer.op} needs exactly one input, got {len(layer.inputs)}"
    if layer.op not in WEIGHTED and layer.in_channels != layer.out_channels:
        yield f"{layer.op} keeps its channels, but {layer.in_channels} → {layer.out_channels}"
    for field in _DEFAULTS.keys() - _USED_FIELDS.get(layer.op, set()):
        if getattr(layer, field) != _DEFAULTS[field]:
            yield f"{field} means nothing for {layer.op}: expected {_DEFAULTS[field]!r}"
    if layer.bits != 32 and layer.op not in WEIGHTED:
        yield f"bits means nothing for {layer.op}, which has no kernel or matrix: expected 32"
    if layer.op == "avg_pool" and 2 * layer.padding > layer.kernel:
        yield f"padding {layer.padding} is more than half the kernel {layer.kernel}"


def _check_heads(network: Network) -> None:
    layers = {layer.name: (i, layer) for i, layer in enumerate(network.layers)}
    paths = [f"$.network.exits[{i}].layer" for i in range(len(network.exits))]
    positions = []
    for path, name in zip([*paths, "$.network.output"], network.heads, strict=True):
        if name not in layers:
            raise SchemaError(f"{path}: there is no layer {name!r}")
        position, layer = layers[name]
        if layer.op != "linear" or layer.out_channels != network.num_classes:
            raise SchemaError(
                f"{path}: expected a linear layer with {network.num_classes} outputs, got "
                f"{layer.op} {name!r} with {layer.out_channels}"
            )
        positions.append(position)
    if positions != sorted(set(positions)):
        raise SchemaError("$.network.exits: heads must differ and stand in the order of the layers")


def _check_all_needed(network: Network) -> None:
    needed = set(network.heads)
    for layer in reversed(network.layers):
        if layer.name not in needed:
            raise SchemaError(f"$.network.layers: no head needs layer {layer.name!r}; remove it")
        needed.update(layer.inputs)


def _check_blocks(network: Network) -> None:
    block_of = {layer.name: layer.block for layer in network.layers}
    reads: dict[str, Shape] = {}
    for i, layer in enumerate(network.layers):
        for source in layer.inputs:
            shape = network.shapes[source]
            if (
                block_of.get(source) != layer.block
                and reads.setdefault(layer.block, shape) != shape
            ):
                raise SchemaError(
                    f"$.network.layers[{i}].block: block {layer.block!r} reads maps of two shapes, "
                    f"{tuple(reads[layer.block])} and {tuple(shape)}; use two labels"
                )
