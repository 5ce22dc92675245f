"""Parameters, multiply-accumulates and bytes of a network, by formula. No torch.

| op | parameters | multiply-accumulates an image |
|---|---|---|
| conv | C_out · (C_in / groups) · k² (+ C_out with bias) (+ 2 · C_out with BatchNorm) | H_out · W_out · C_out · (C_in / groups) · k² |
| batch_norm | 2 · C | 0 |
| linear | C_in · C_out + C_out | C_in · C_out |
| others | 0 | 0 |

BatchNorm, ReLU, pooling and sums count no MACs: the usual convention (one multiply-accumulate = 1, biases
and element-wise work left out), so figures compare with published ones. Padded cells do count.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from archspace import Layer, Network, Shape
from child_models.layer_rules import parameter_shapes

BYTES_PER_NUMBER = 4
"""Everything is float32 until other bit widths are executed."""


class LayerCount(NamedTuple):
    """What one layer holds and does for one image.

    `input_bytes` sums over all inputs (a sum of two maps reads both); `output_bytes` is the map it writes;
    `weight_bytes` is 4 · `params` (BatchNorm's running statistics are folded into its scale and shift when
    a network runs, so they are not read on their own).
    """

    name: str
    params: int
    macs: int
    input_bytes: int
    output_bytes: int
    weight_bytes: int


def layer_counts(network: Network) -> tuple[LayerCount, ...]:
    """One entry a layer, in order. Raises ValueError where layers do not fit together."""
    shapes = network.shapes
    counts = []
    for layer in network.layers:
        params = sum(math.prod(shape) for shape in parameter_shapes(layer).values())
        counts.append(
            LayerCount(
                name=layer.name,
                params=params,
                macs=_macs(layer, shapes[layer.name]),
                input_bytes=sum(_map_bytes(shapes[source]) for source in layer.inputs),
                output_bytes=_map_bytes(shapes[layer.name]),
                weight_bytes=BYTES_PER_NUMBER * params,
            )
        )
    return tuple(counts)


def count_params(network: Network) -> int:
    """Learnable parameters, all heads included."""
    return sum(count.params for count in layer_counts(network))


def count_macs(network: Network) -> int:
    """Multiply-accumulates for one image that runs through the whole network, all heads included."""
    return sum(count.macs for count in layer_counts(network))


def _macs(layer: Layer, output: Shape) -> int:
    if layer.op == "linear":
        return layer.in_channels * layer.out_channels
    if layer.op != "conv":
        return 0
    return math.prod(output) * (layer.in_channels // layer.groups) * layer.kernel**2


def _map_bytes(shape: Shape) -> int:
    return BYTES_PER_NUMBER * math.prod(shape)
