"""The resolved network: explicit layers in topological order, nothing left to decide.

A `Network` is what gets built, counted, measured, drawn and exported. It holds primitive layers only, so
each consumer (torch module, ONNX graph, MAC counter, stand-alone ``model.py``) is one small interpreter.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

LayerOp = Literal[
    "conv", "batch_norm", "relu", "avg_pool", "add", "zeros", "global_avg_pool", "linear"
]
Activation = Literal["none", "relu"]

WEIGHTED: tuple[LayerOp, ...] = ("conv", "linear")
"""Layers with a kernel or a matrix."""

INT8_BITS = 8
"""Weights of at most so many bits can be executed by 8-bit kernels."""

INPUT = "input"
"""Name by which a layer refers to the image itself."""


class Shape(NamedTuple):
    """A feature map without its batch axis; after global pooling height = width = 1."""

    channels: int
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """One primitive operation.

    | op | inputs | meaning |
    |---|---|---|
    | conv | 1 | 2-d convolution, then BatchNorm if `norm`, then `activation` |
    | batch_norm | 1 | BatchNorm, then `activation` |
    | relu | 1 | max(x, 0) |
    | avg_pool | 1 | average pooling; padded cells are not counted |
    | add | ≥ 2 | element-wise sum, then `activation` |
    | zeros | 1 | x · 0, only where a network has no live path left |
    | global_avg_pool | 1 | mean over height and width → (C, 1, 1) |
    | linear | 1 | fully connected with bias, over a (C, 1, 1) map; gives logits |

    `padding` is symmetric. `bias` is for convolutions; a linear layer always has one. `bits` is what one number of a conv's
    or linear layer's weights takes when it is stored: 2-8, or 32. A float32 run time uses such weights as any others.
    """

    name: str
    op: LayerOp
    inputs: tuple[str, ...]
    block: str
    in_channels: int
    out_channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = False
    norm: bool = False
    activation: Activation = "none"
    bits: int = 32

    def to_dict(self) -> dict[str, Any]:
        """Field name → value; as `asdict`, which copies each value and takes ten times as long."""
        return {name: getattr(self, name) for name in _LAYER_FIELDS}


_LAYER_FIELDS = tuple(field.name for field in fields(Layer))


@dataclass(frozen=True, kw_only=True, slots=True)
class Exit:
    """An early exit: a sample leaves at `layer`'s logits if its normalised entropy is ≤ `threshold`.

    Normalised entropy is H(softmax(logits)) / log(num_classes), in [0, 1]. ``None`` means that the
    threshold has not been chosen yet (it is chosen on validation data after training).
    """

    name: str
    layer: str
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Block:
    """Layers that stand together: the unit of block-level measuring and of additive costs.

    Every block reads maps of one shape (`input_shape`); inside it, that map is called ``"input"``.
    Blocks with equal `signature` cost the same wherever they stand.
    """

    name: str
    layers: tuple[Layer, ...]
    input_shape: Shape

    @cached_property
    def signature(self) -> str:
        """Canonical text of what is computed; equal for blocks that differ in names only."""
        numbers = {layer.name: f"b{i}" for i, layer in enumerate(self.layers)}
        rows = []
        for layer in self.layers:
            row = layer.to_dict()
            del row["block"]
            row["name"] = numbers[layer.name]
            row["inputs"] = [numbers.get(source, INPUT) for source in layer.inputs]
            rows.append(row)
        return json.dumps([list(self.input_shape), rows], separators=(",", ":"))

    @property
    def is_int8(self) -> bool:
        """See `fits_int8`."""
        return fits_int8(self.layers)

    def with_bits(self, bits: int) -> Block:
        """The same block whose convolutions and linear layers have weights of `bits`."""
        return replace(self, layers=layers_with_bits(self.layers, bits))

    def as_network(self) -> Network:
        """The block alone, as a network whose output is the block's last layer."""
        own = {layer.name for layer in self.layers}
        layers = tuple(
            replace(layer, inputs=tuple(s if s in own else INPUT for s in layer.inputs))
            for layer in self.layers
        )
        return Network(
            input_shape=self.input_shape,
            num_classes=layers[-1].out_channels,
            layers=layers,
            output=layers[-1].name,
        )


@dataclass(frozen=True, kw_only=True)
class Network:
    """A complete network.

    Attributes:
        input_shape: (channels, height, width) of one image.
        num_classes: length of each head's logits.
        layers: topological order; a layer's inputs stand before it.
        exits: early exits in the order in which the forward pass reaches them; the final head is not one.
        output: name of the layer that gives the final logits.
    """

    input_shape: Shape
    num_classes: int
    layers: tuple[Layer, ...]
    output: str
    exits: tuple[Exit, ...] = ()

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Output shape of every layer, and of ``"input"``.

        Raises:
            ValueError: a layer's channels or inputs do not fit together; the message names the layer.
        """
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for layer in self.layers:
            shapes[layer.name] = _output_shape(layer, shapes)
        return shapes

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The layers grouped by their `block` label, in order of first appearance."""
        groups: dict[str, list[Layer]] = {}
        for layer in self.layers:
            groups.setdefault(layer.block, []).append(layer)
        return tuple(
            Block(name=name, layers=tuple(layers), input_shape=self._block_input(layers))
            for name, layers in groups.items()
        )

    def _block_input(self, layers: list[Layer]) -> Shape:
        own = {layer.name for layer in layers}
        shapes = {self.shapes[s] for layer in layers for s in layer.inputs if s not in own}
        assert len(shapes) == 1, f"block {layers[0].block} reads maps of several shapes: {shapes}"
        return shapes.pop()

    @cached_property
    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of what is built: layers and exits without thresholds."""
        content = {
            "input": list(self.input_shape),
            "num_classes": self.num_classes,
            "layers": [layer.to_dict() for layer in self.layers],
            "exits": [[exit_.name, exit_.layer] for exit_ in self.exits],
            "output": self.output,
        }
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def is_int8(self) -> bool:
        """See `fits_int8`."""
        return fits_int8(self.layers)

    def with_bits(self, bits: int) -> Network:
        """The same network whose convolutions and linear layers all have weights of `bits`."""
        return replace(self, layers=layers_with_bits(self.layers, bits))

    def with_thresholds(self, thresholds: tuple[float, ...]) -> Network:
        """The same network with its exits' thresholds set; one number an exit, in order."""
        if len(thresholds) != len(self.exits):
            raise ValueError(f"expected {len(self.exits)} thresholds, got {len(thresholds)}")
        exits = tuple(
            replace(exit_, threshold=value)
            for exit_, value in zip(self.exits, thresholds, strict=True)
        )
        return replace(self, exits=exits)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the layers that give logits: the exits' in order, then the final one."""
        return (*(exit_.layer for exit_ in self.exits), self.output)


def fits_int8(layers: Sequence[Layer]) -> bool:
    """Whether all weights have 8 bits or fewer, so that an INT8 run time can execute the layers; False without weights."""
    bits = [layer.bits for layer in layers if layer.op in WEIGHTED]
    return bool(bits) and max(bits) <= INT8_BITS


def layers_with_bits(layers: Sequence[Layer], bits: int) -> tuple[Layer, ...]:
    """`layers` with weights of `bits`."""
    return tuple(replace(n, bits=bits) if n.op in WEIGHTED else n for n in layers)


def _output_shape(layer: Layer, shapes: Mapping[str, Shape]) -> Shape:
    missing = [source for source in layer.inputs if source not in shapes]
    if missing or not layer.inputs:
        raise ValueError(f"layer {layer.name}: its inputs {missing or '()'} do not stand before it")
    sources = [shapes[source] for source in layer.inputs]
    if any(source != sources[0] for source in sources):
        raise ValueError(f"layer {layer.name}: inputs have different shapes {sources}")
    channels, height, width = sources[0]
    if layer.in_channels != channels:
        raise ValueError(
            f"layer {layer.name}: expects {layer.in_channels} channels, gets {channels}"
        )
    if layer.op in ("global_avg_pool", "linear"):
        return Shape(layer.out_channels, 1, 1)
    if layer.op in ("conv", "avg_pool"):
        if layer.op == "conv" and (channels % layer.groups or layer.out_channels % layer.groups):
            raise ValueError(
                f"layer {layer.name}: {layer.groups} groups do not divide its channels"
            )
        height, width = (
            (size + 2 * layer.padding - layer.kernel) // layer.stride + 1
            for size in (height, width)
        )
        if height < 1 or width < 1:
            raise ValueError(f"layer {layer.name}: its output would be {height}×{width} pixels")
    return Shape(layer.out_channels, height, width)


def network_from_dict(data: Mapping[str, Any]) -> Network:
    """Inverse of `network_to_dict`; the caller has validated `data` against the JSON Schema."""
    return Network(
        input_shape=Shape(*(data["input"][key] for key in ("channels", "height", "width"))),
        num_classes=data["num_classes"],
        layers=tuple(Layer(**{**row, "inputs": tuple(row["inputs"])}) for row in data["layers"]),
        exits=tuple(Exit(**row) for row in data["exits"]),
        output=data["output"],
    )


def network_to_dict(network: Network) -> dict[str, Any]:
    """JSON-ready form: every field of every layer, nothing implied."""
    return {
        "input": network.input_shape._asdict(),
        "num_classes": network.num_classes,
        "layers": [{**layer.to_dict(), "inputs": list(layer.inputs)} for layer in network.layers],
        "exits": [asdict(exit_) for exit_ in network.exits],
        "output": network.output,
    }
