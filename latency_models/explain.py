"""Why a network costs what it costs: the prediction taken apart into overhead, blocks and layers.

    latency = overhead + Σ_blocks c(b),    c(b) = (a · t(b) + Σ_j w_j · feature_j(b)) · (1 + δ(b))

as in `correction`; t(b) is the block alone (`additive`). Nothing is measured here and nothing is fitted: the
shares are the model's own terms, and they add up to its prediction.

A block is the smallest thing that was measured, so the shares of its layers are a split, not a measurement. c(b) is
divided in proportion to Σ_j (a · u_j + w_j) · feature_j(layer), where u are the weights of the regression over lone
blocks: where t(b) is regressed these are the layers' own terms. What belongs to no layer (the price of a block as
such, δ, a measured block's distance from its regression) follows in the same proportion. A block whose layers all
have the weight 0 is divided into equal parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from archspace import Block, Network
from latency_models.cost import Cost
from latency_models.describe import describe_block, describe_layer
from latency_models.energy import estimate_block_mj
from latency_models.errors import DeviceFileError
from latency_models.features import BLOCK_FEATURES, block_features

if TYPE_CHECKING:
    from latency_models.device_file import DeviceFile

_OF_NO_LAYER = BLOCK_FEATURES.index("blocks")


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerShare:
    """A layer's part of its block: ms, mJ, and `share` of the whole network's latency, 0-1."""

    name: str
    what: str
    latency_ms: float
    energy_mj: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockShare:
    """A block's part of the network.

    Attributes:
        name: its name in the network.
        what: its layers in a few words.
        lone_ms: t(b), what it costs alone beyond a call; ≥ 0.
        lone_measured: whether t(b) was measured; else it comes from the regression.
        latency_ms, energy_mj: c(b), and the energy that goes with it.
        share: latency_ms over the network's latency, 0-1.
        layers: in the order of the network; their parts add up to the block's.
    """

    name: str
    what: str
    lone_ms: float
    lone_measured: bool
    latency_ms: float
    energy_mj: float
    share: float
    layers: tuple[LayerShare, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Remainder:
    """What is not listed block by block: the overhead of a call, or the blocks below a top N."""

    latency_ms: float
    energy_mj: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """A prediction and its parts: `overhead` + `blocks` + `others` = `latency_ms.value` (and the energy likewise).

    Attributes:
        latency_ms, energy_mj: as `ProfiledCostModel` predicts them: no early exit taken, all heads computed.
        scale: a of the file's head: how much of its lone time a block costs inside a network.
        overhead: what every network pays on top of its blocks.
        blocks: in the order of the network; those of `top` the most expensive first.
        num_others, others: blocks that `top` left out.
    """

    latency_ms: Cost
    energy_mj: Cost
    scale: float
    overhead: Remainder
    blocks: tuple[BlockShare, ...]
    num_others: int
    others: Remainder

    def top(self, count: int) -> Explanation:
        """The `count` ≥ 1 most expensive blocks, the most expensive first; the rest goes to `others`."""
        if count < 1:
            raise ValueError(f"expected at least 1 block, got {count}")
        ordered = sorted(self.blocks, key=lambda block: -block.latency_ms)  # stable
        rest = ordered[count:]
        return replace(
            self,
            blocks=tuple(ordered[:count]),
            num_others=self.num_others + len(rest),
            others=_total([self.others, *rest]),
        )


def explain_network(device_file: DeviceFile, network: Network) -> Explanation:
    """Take the prediction for `network` apart; see the file's head.

    Raises:
        DeviceFileError: a kind of layer was never measured, or the file predicts 0 ms.
    """
    (costs,) = device_file.cost_model().predict([network])
    latency, energy = costs.latency_ms[-1], costs.energy_mj[-1]
    if latency.value <= 0:
        raise DeviceFileError(
            "the device file predicts 0 ms for this network; measure the device again"
        )
    overhead_ms = device_file.correction.overhead_ms
    return Explanation(
        latency_ms=latency,
        energy_mj=energy,
        scale=device_file.correction.scale,
        overhead=Remainder(
            latency_ms=overhead_ms,
            energy_mj=device_file.energy_model.value(overhead_ms, 0.0),
            share=overhead_ms / latency.value,
        ),
        blocks=tuple(_explain_block(device_file, b, latency.value) for b in network.blocks),
        num_others=0,
        others=_total([]),
    )


def _explain_block(device_file: DeviceFile, block: Block, whole_ms: float) -> BlockShare:
    lone_ms, measured = device_file.additive.lone_ms(block)
    latency_ms = device_file.correction.block_ms(block, lone_ms)
    return BlockShare(
        name=block.name,
        what=describe_block(block),
        lone_ms=lone_ms,
        lone_measured=measured,
        latency_ms=latency_ms,
        energy_mj=_energy_mj(device_file, block, latency_ms),
        share=latency_ms / whole_ms,
        layers=_explain_layers(device_file, block, latency_ms, whole_ms),
    )


def _explain_layers(
    device_file: DeviceFile, block: Block, block_ms: float, whole_ms: float
) -> tuple[LayerShare, ...]:
    network = block.as_network()
    lone = [
        Block(name=layer.name, layers=(layer,), input_shape=network.shapes[layer.inputs[0]])
        for layer in network.layers
    ]
    shares = []
    for alone, part in zip(lone, block_ms * _parts(device_file, lone), strict=True):
        latency_ms = float(part)
        (layer,) = alone.layers
        shares.append(
            LayerShare(
                name=layer.name,
                what=describe_layer(layer, alone.input_shape, network.shapes[layer.name]),
                latency_ms=latency_ms,
                energy_mj=_energy_mj(device_file, alone, latency_ms),
                share=latency_ms / whole_ms,
            )
        )
    return tuple(shares)


def _parts(device_file: DeviceFile, layers: Sequence[Block]) -> NDArray[np.float64]:
    """Share of its block for each layer (given as a block of its own); ≥ 0, sum 1."""
    correction, alone = device_file.correction, device_file.additive.weights
    weights = np.array(
        [
            correction.scale * alone.get(n, 0.0) + correction.weights.get(n, 0.0)
            for n in BLOCK_FEATURES
        ]
    )
    weights[_OF_NO_LAYER] = 0.0
    scores = np.array([block_features(layer) for layer in layers]) @ weights
    total = float(scores.sum())
    return scores / total if total > 0 else np.full(len(layers), 1 / len(layers))


def _energy_mj(device_file: DeviceFile, block: Block, latency_ms: float) -> float:
    estimate = estimate_block_mj(block, device_file.device.batch_size)
    return device_file.energy_model.value(latency_ms, estimate)


def _total(parts: Sequence[BlockShare | Remainder]) -> Remainder:
    return Remainder(
        latency_ms=sum(part.latency_ms for part in parts),
        energy_mj=sum(part.energy_mj for part in parts),
        share=sum(part.share for part in parts),
    )
