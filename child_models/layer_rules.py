"""What a network must fulfil to be built, and the arrays that it then holds. No torch.

The names are those of the torch module's state dict; every other form (ONNX graph, stand-alone ``model.py``,
safetensors file) uses the same ones.

ValueError
├── UnbuildableNetwork    a layer that cannot be executed
└── WeightMismatch        weights that do not belong to the network
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from archspace import INPUT, WEIGHTED, Layer, Network

BATCH_NORM_EPSILON = 1e-5
"""ε in γ·(x − μ)/√(σ² + ε) + β (Ioffe & Szegedy 2015, algorithm 1); the value torch uses."""

_BATCH_NORM_ARRAYS = ("weight", "bias", "running_mean", "running_var")


class UnbuildableNetwork(ValueError):
    """A network with a layer that cannot be executed; the message names the layer."""


class WeightMismatch(ValueError):
    """Weights with a missing array, or one of the wrong shape; the message names the array."""


def check_buildable(network: Network) -> None:
    """Check everything that building relies on.

    Raises:
        UnbuildableNetwork: names, shapes, bits, inputs or heads that do not fit; the message names the layer.
    """
    ops = {layer.name: layer.op for layer in network.layers}
    if len(ops) < len(network.layers):
        raise UnbuildableNetwork("two layers have the same name; give each its own")
    unknown = [name for name in network.heads if name not in ops]
    if unknown:
        raise UnbuildableNetwork(f"heads {unknown}: there are no such layers")
    for layer in network.layers:
        problem = _problem(layer, [ops.get(source, INPUT) for source in layer.inputs])
        if problem:
            raise UnbuildableNetwork(f"layer {layer.name}: {problem}")
    _check_shapes(network)


def _check_shapes(network: Network) -> None:
    try:
        shapes = network.shapes
    except ValueError as error:
        raise UnbuildableNetwork(str(error)) from error
    for layer in network.layers:
        source = shapes[layer.inputs[0]]
        if layer.op == "linear" and source[1:] != (1, 1):
            raise UnbuildableNetwork(
                f"layer {layer.name}: a linear layer reads 1×1 maps, this one gets {source}"
            )


def _problem(layer: Layer, source_ops: list[str]) -> str:
    """What is wrong with `layer`, or an empty text."""
    if (len(layer.inputs) < 2) if layer.op == "add" else (len(layer.inputs) != 1):
        return f"{layer.op} cannot have {len(layer.inputs)} inputs"
    if layer.bits != 32 and not (2 <= layer.bits <= 8 and layer.op in WEIGHTED):
        return (
            f"{layer.bits} bits; expected 32, or 2 to 8 for the weights of a conv or linear layer"
        )
    if not layer.name.isidentifier() or layer.name == INPUT:
        return "its name must be a plain identifier such as n0, and not 'input'"
    if layer.op not in WEIGHTED and layer.in_channels != layer.out_channels:
        return f"{layer.op} cannot turn {layer.in_channels} channels into {layer.out_channels}"
    if layer.op == "avg_pool" and 2 * layer.padding > layer.kernel:
        return f"padding {layer.padding} is more than half of the pooling kernel {layer.kernel}"
    if "linear" in source_ops and layer.op not in ("linear", "relu", "add"):
        return f"{layer.op} cannot read the logits of a linear layer"
    return ""


def parameter_shapes(layer: Layer) -> dict[str, tuple[int, ...]]:
    """Learnable arrays of `layer`, by their names inside it (``"conv.weight"``), in state-dict order."""
    channels = layer.out_channels
    shapes: dict[str, tuple[int, ...]] = {}
    if layer.op == "conv":
        kernel = (layer.kernel, layer.kernel)
        shapes["conv.weight"] = (channels, layer.in_channels // layer.groups, *kernel)
        if layer.bias:
            shapes["conv.bias"] = (channels,)
    if has_norm(layer):
        shapes |= {"norm.weight": (channels,), "norm.bias": (channels,)}
    if layer.op == "linear":
        shapes |= {"linear.weight": (channels, layer.in_channels), "linear.bias": (channels,)}
    return shapes


def has_norm(layer: Layer) -> bool:
    """Whether `layer` contains a BatchNorm."""
    return layer.op == "batch_norm" or (layer.op == "conv" and layer.norm)


def weight_shapes(network: Network) -> dict[str, tuple[int, ...]]:
    """Name → shape of every array that inference needs: parameters and BatchNorm's running statistics."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in network.layers:
        own = parameter_shapes(layer)
        if has_norm(layer):
            own |= {f"norm.{name}": (layer.out_channels,) for name in _BATCH_NORM_ARRAYS}
        shapes |= {f"layers.{layer.name}.{name}": shape for name, shape in own.items()}
    return shapes


def check_weights(network: Network, weights: Mapping[str, NDArray[Any]]) -> None:
    """Check that `weights` holds every array of `network`; further ones are ignored.

    Raises:
        WeightMismatch: an array is missing or has another shape.
    """
    for name, shape in weight_shapes(network).items():
        if name not in weights:
            raise WeightMismatch(
                f"weights: {name} {shape} is missing; are they of another architecture? "
                f"Here: {', '.join(list(weights)[:3]) or 'nothing'}, …"
            )
        if weights[name].shape != shape:
            raise WeightMismatch(f"weights: {name} should be {shape}, is {weights[name].shape}")
