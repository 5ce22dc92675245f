"""Layers and blocks in a few words, for people."""

from __future__ import annotations

from archspace import Block, Layer, Shape
from latency_models.features import layer_kind


def describe_layer(layer: Layer, input_shape: Shape, output_shape: Shape) -> str:
    """``"conv_depthwise 3×3 /2, 8×8×8 → 8×4×4"``: ``/2`` is the stride, maps are channels × height × width."""
    return f"{_operation(layer)}, {_map(input_shape)} → {_map(output_shape)}"


def describe_block(block: Block) -> str:
    """``"8×8×8 in: conv_depthwise 3×3 /2 → 8, conv_1x1 → 24"``: what comes in, then each layer's output channels."""
    layers = ", ".join(f"{_operation(layer)} → {layer.out_channels}" for layer in block.layers)
    return f"{_map(block.input_shape)} in: {layers}"


def _operation(layer: Layer) -> str:
    parts = [layer_kind(layer)]
    if layer.kernel > 1:
        parts.append(f"{layer.kernel}×{layer.kernel}")
    if parts[0] == "conv_grouped":
        parts.append(f"in {layer.groups} groups")
    if layer.stride > 1:
        parts.append(f"/{layer.stride}")
    return " ".join(parts)


def _map(shape: Shape) -> str:
    return "×".join(map(str, shape))
