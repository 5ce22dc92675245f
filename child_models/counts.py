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

from archspace import INT8_BITS, WEIGHTED, Layer, Network, Shape
from child_models.layer_rules import parameter_shapes

BYTES_PER_NUMBER = 4
"""Of float32. In INT8, maps and weights take 1, the numbers beside the weights (biases, scales) 4."""


class LayerCount(NamedTuple):
    """What one layer holds and does for one image.

    `input_bytes` sums over all inputs (a sum of two maps reads both); `output_bytes` is the map it writes;
    `weight_bytes` is 4 · `params` (BatchNorm's running statistics are folded into its scale and shift when
    a network runs, so they are not read on their own). Where all weights of the network have 8 bits or fewer, all three are
    those of INT8 execution, which holds 2-bit weights in a byte each, too.
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
    int8 = network.is_int8
    per_number = 1 if int8 else BYTES_PER_NUMBER
    counts = []
    for layer in network.layers:
        params, weights = _numbers(layer)
        counts.append(
            LayerCount(
                name=layer.name,
                params=params,
                macs=_macs(layer, shapes[layer.name]),
                input_bytes=per_number * sum(math.prod(shapes[s]) for s in layer.inputs),
                output_bytes=per_number * math.prod(shapes[layer.name]),
                weight_bytes=per_number * weights + BYTES_PER_NUMBER * (params - weights),
            )
        )
    return tuple(counts)


def count_params(network: Network) -> int:
    """Learnable parameters, all heads included."""
    return sum(count.params for count in layer_counts(network))


def count_macs(network: Network) -> int:
    """Multiply-accumulates for one image that runs through the whole network, all heads included."""
    return sum(count.macs for count in layer_counts(network))


def count_bytes(network: Network) -> int:
    """Bytes of the weights as they are stored: 4 a parameter; where a layer has fewer bits, ⌈bits · weights / 8⌉ and 8 an
    output channel, for its bias and scale (BatchNorm is folded into both)."""
    return sum(_stored_bytes(layer) for layer in network.layers)


def _stored_bytes(layer: Layer) -> int:
    params, weights = _numbers(layer)
    if layer.bits > INT8_BITS:
        return BYTES_PER_NUMBER * params
    return math.ceil(layer.bits * weights / 8) + 2 * BYTES_PER_NUMBER * layer.out_channels


def _numbers(layer: Layer) -> tuple[int, int]:
    """(learnable parameters, those of them in the kernel or matrix)."""
    shapes = parameter_shapes(layer)
    weights = math.prod(shapes[f"{layer.op}.weight"]) if layer.op in WEIGHTED else 0
    return sum(math.prod(shape) for shape in shapes.values()), weights


def _macs(layer: Layer, output: Shape) -> int:
    if layer.op == "linear":
        return layer.in_channels * layer.out_channels
    if layer.op != "conv":
        return 0
    return math.prod(output) * (layer.in_channels // layer.groups) * layer.kernel**2
