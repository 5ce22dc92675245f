"""The weights of a quantised network at the size that their bits make possible: ``model.packed.safetensors``.

BatchNorm is folded in, so a layer is weights and a bias. All arrays are one-dimensional or shaped as in PyTorch:

| array | of | what |
|---|---|---|
| ``<layer>.packed`` | conv, linear with fewer than 32 bits | uint8: what `pack` writes. Its numbers are scales, one an output channel, and its integers u stand for scale · (u − 2^(bits − 1) + 1); or centroids, and its integers say which |
| ``<layer>.scale`` | such a layer with a codebook and BatchNorm | float32, one an output channel: what its centroids are multiplied with |
| ``<layer>.weight`` | conv, linear with 32 bits | float32 |
| ``<layer>.bias`` | conv, linear | float32, one an output channel |
| ``<layer>.scale``, ``<layer>.shift`` | batch_norm | float32: x · scale + shift |

Which layers have a codebook, ``quantisation.json`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import WEIGHTED, Layer, Network
from child_models.folding import fold_batch_norm
from child_models.layer_rules import weight_shapes
from deploy.errors import BrokenExport
from deploy.packing import Packed, unpack

Arrays = Mapping[str, NDArray[Any]]


def folded_weights(network: Network, weights: Arrays) -> dict[str, NDArray[np.float32]]:
    """``<layer>.weight`` and ``<layer>.bias``, or ``<layer>.scale`` and ``<layer>.shift``, of all layers that have any."""
    arrays: dict[str, NDArray[np.float32]] = {}
    for layer in network.layers:
        if layer.op in WEIGHTED:
            folded = fold_batch_norm(layer, weights)
            own = weights[f"layers.{layer.name}.{layer.op}.weight"].astype(np.float64)
            spread = folded.scale.reshape(-1, *[1] * (own.ndim - 1))
            arrays[f"{layer.name}.weight"] = (own * spread).astype(np.float32)
            arrays[f"{layer.name}.bias"] = folded.bias.astype(np.float32)
        elif layer.op == "batch_norm":
            folded = fold_batch_norm(layer, weights)
            arrays[f"{layer.name}.scale"] = folded.scale.astype(np.float32)
            arrays[f"{layer.name}.shift"] = folded.bias.astype(np.float32)
    return arrays


def unpacked_weights(
    network: Network, arrays: Arrays, codebooks: frozenset[str]
) -> dict[str, NDArray[np.float32]]:
    """As `folded_weights`, from the arrays of the file.

    Args:
        codebooks: layers whose packed numbers are centroids.

    Raises:
        BrokenExport: an array that is missing, left over or of another length or shape; the message names it.
    """
    found = dict(arrays)
    result: dict[str, NDArray[np.float32]] = {}
    shapes = weight_shapes(network)
    for layer in network.layers:
        if layer.op == "batch_norm":
            for part in ("scale", "shift"):
                result[f"{layer.name}.{part}"] = _channels(found, layer, part)
        if layer.op not in WEIGHTED:
            continue
        result[f"{layer.name}.bias"] = _channels(found, layer, "bias")
        shape = shapes[f"layers.{layer.name}.{layer.op}.weight"]
        if layer.bits == 32:
            values = _taken(found, f"{layer.name}.weight")
        else:
            packed = unpack(_taken(found, f"{layer.name}.packed").tobytes())
            values = _numbers(packed, layer, layer.name in codebooks)
            if layer.name in codebooks and layer.norm:
                values = values * _channels(found, layer, "scale")[:, None]
        if values.size != np.prod(shape):
            raise BrokenExport(f"layer {layer.name}: expected weights of shape {shape}")
        result[f"{layer.name}.weight"] = values.reshape(shape)
    if found:
        raise BrokenExport(f"arrays {sorted(found)[:3]} belong to no layer")
    return result


def _numbers(packed: Packed, layer: Layer, codebook: bool) -> NDArray[np.float32]:
    """(out_channels, fan-in) what the integers stand for."""
    if packed.integers.size % layer.out_channels or not len(packed.numbers):
        raise BrokenExport(f"layer {layer.name}: its weights do not fit its channels")
    integers = packed.integers.reshape(layer.out_channels, -1)
    if codebook:
        if int(integers.max(initial=0)) >= len(packed.numbers):
            raise BrokenExport(f"layer {layer.name}: an integer names no centroid")
        return np.asarray(packed.numbers[integers])
    if len(packed.numbers) != layer.out_channels:
        raise BrokenExport(f"layer {layer.name}: expected a scale an output channel")
    steps = integers.astype(np.float32) - np.float32(2 ** (packed.bits - 1) - 1)
    return np.asarray(steps * packed.numbers[:, None])


def _channels(found: dict[str, NDArray[Any]], layer: Layer, part: str) -> NDArray[np.float32]:
    values = _taken(found, f"{layer.name}.{part}")
    if values.shape != (layer.out_channels,) or values.dtype != np.float32:
        raise BrokenExport(
            f"{layer.name}.{part}: expected {layer.out_channels} float32 numbers, got {values.dtype} {values.shape}"
        )
    return values


def _taken(found: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in found:
        raise BrokenExport(f"there is no array {name}")
    return found.pop(name)
