"""What is known about a block without measuring it. All features are sums over layers, and ≥ 0."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, INT8_BITS, WEIGHTED, Block, Layer
from child_models import layer_counts

CONVOLUTIONS = ("conv", "conv_1x1", "conv_depthwise", "conv_grouped")
OTHERS = (
    "batch_norm",
    "relu",
    "avg_pool",
    "add",
    "zeros",
    "global_avg_pool",
    "linear",
)
INT8 = "_int8"
"""Ends the kinds of layers of blocks that run in INT8."""


def _names(ending: str) -> tuple[str, ...]:
    of_convolutions = ("layers", "mmacs", "kb", "weight_kb")
    return (
        *(f"{kind}{ending}.{what}" for kind in CONVOLUTIONS for what in of_convolutions),
        *(f"{kind}{ending}.{what}" for kind in OTHERS for what in ("layers", "kb")),
    )


FLOAT_FEATURES = ("blocks", *_names(""))
"""Those of blocks that run in float32."""
BLOCK_FEATURES = (*FLOAT_FEATURES, *_names(INT8))
"""Feature names: ``blocks`` is 1 for each block. By kind of layer: how many ``layers``; 10⁶ multiply-accumulates
(``mmacs``); kilobytes of maps read and written, for others than convolutions with their weights (``kb``);
kilobytes of weights (``weight_kb``). All for one image."""
_POSITION = {name: i for i, name in enumerate(BLOCK_FEATURES)}


def block_key(block: Block) -> Hashable:
    """Equal for blocks that cost the same: as their `signature`, but for bits that are executed alike; a few times faster
    to make."""
    bits = INT8_BITS if block.is_int8 else 32
    numbers = {layer.name: i for i, layer in enumerate(block.layers)}
    return (
        block.input_shape,
        tuple(
            (
                layer.op,
                tuple(numbers.get(source, INPUT) for source in layer.inputs),
                layer.in_channels,
                layer.out_channels,
                layer.kernel,
                layer.stride,
                layer.padding,
                layer.groups,
                layer.bias,
                layer.norm,
                layer.activation,
                bits if layer.op in WEIGHTED else 32,
            )
            for layer in block.layers
        ),
    )


def block_digest(block: Block) -> str:
    """16 hex digits of the block's key, for files."""
    return _digest(block_key(block))


@lru_cache(maxsize=65536)
def _digest(key: Hashable) -> str:
    return hashlib.sha256(json.dumps(key, separators=(",", ":")).encode()).hexdigest()[:16]


def block_features(block: Block) -> NDArray[np.float64]:
    """Values of `BLOCK_FEATURES`; float64, shape (len(BLOCK_FEATURES),)."""
    values = np.zeros(len(BLOCK_FEATURES))
    values[_POSITION["blocks"]] = 1.0
    counts = layer_counts(block.as_network())
    for layer, kind, count in zip(block.layers, layer_kinds(block), counts, strict=True):
        kb = (count.input_bytes + count.output_bytes) / 1e3
        values[_POSITION[f"{kind}.layers"]] += 1
        if layer.op == "conv":
            values[_POSITION[f"{kind}.mmacs"]] += count.macs / 1e6
            values[_POSITION[f"{kind}.weight_kb"]] += count.weight_bytes / 1e3
        else:
            kb += count.weight_bytes / 1e3
        values[_POSITION[f"{kind}.kb"]] += kb
    return values


def layer_kinds(block: Block) -> list[str]:
    """`layer_kind` of each layer, with `INT8` at the end where the block runs in INT8."""
    ending = INT8 if block.is_int8 else ""
    return [layer_kind(layer) + ending for layer in block.layers]


@lru_cache(maxsize=4096)
def layer_kind(layer: Layer) -> str:
    """The layer's operation; convolutions by how their channels mix."""
    if layer.op != "conv":
        return layer.op
    if layer.groups > 1:
        return "conv_depthwise" if layer.groups == layer.in_channels else "conv_grouped"
    return "conv_1x1" if layer.kernel == 1 else "conv"
