"""The cost model that a profile gives: additive over blocks, as corrected on whole networks."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace import Block, Network, SearchSpace
from latency_models.additive import AdditiveTable
from latency_models.correction import Correction, update_correction
from latency_models.cost import Cost, CostModel, HeadCosts, PrefixCosts
from latency_models.energy import EnergyModel, estimate_block_mj
from latency_models.features import block_key
from latency_models.prefix import prefix_blocks


class _BlockCost(NamedTuple):
    latency_ms: float
    extra_std_ms: float  # on top of the model's own error: 0 for blocks that were measured
    estimate_mj: float


class BatchCosts(NamedTuple):
    """Costs of many networks, no exit taken; each (architectures,), stds one standard deviation."""

    latency_ms: NDArray[np.float64]
    latency_std_ms: NDArray[np.float64]
    energy_mj: NDArray[np.float64]
    energy_std_mj: NDArray[np.float64]


class ProfiledCostModel(CostModel):
    """Predicts from a device's profile.

    | cost | value | standard deviation |
    |---|---|---|
    | latency | overhead + Σ_blocks c(b), see `correction` | `interval_scale` · √((relative_std · value)² + Σ over blocks not measured) |
    | energy | `EnergyModel` of that latency and of the blocks' estimates | relative |

    Each block's figures are computed once and kept.

    Args:
        additive, correction, energy: what was fitted.
        batch_size: images in a call.
        version: of the correction; 1 as profiled.
        interval_scale: makes ± 1.645 standard deviations hold 90 % of held-out networks.
        latency_margin: see `CostModel.latency_margin`.
    """

    def __init__(
        self,
        additive: AdditiveTable,
        correction: Correction,
        energy: EnergyModel,
        *,
        batch_size: int = 1,
        interval_scale: float = 1.0,
        latency_margin: float = 0.0,
        version: int = 1,
    ) -> None:
        self.version = version
        self._additive = additive
        self._correction = correction
        self._energy = energy
        self._batch_size = batch_size
        self._interval_scale = interval_scale
        self._latency_margin = latency_margin
        self._known: dict[Hashable, _BlockCost] = {}

    @property
    def correction(self) -> Correction:
        """What turns the costs of lone blocks into those of networks."""
        return self._correction

    def with_correction(self, correction: Correction, version: int) -> ProfiledCostModel:
        """The same model with another correction."""
        return ProfiledCostModel(
            self._additive,
            correction,
            self._energy,
            batch_size=self._batch_size,
            interval_scale=self._interval_scale,
            latency_margin=self._latency_margin,
            version=version,
        )

    def updated(
        self, networks: Sequence[Network], measured: Sequence[Cost], version: int
    ) -> ProfiledCostModel:
        """What the model becomes when `networks` (at least one) were measured; see `update_correction`."""
        correction = update_correction(
            self._correction,
            self._additive,
            networks,
            [cost.value for cost in measured],
            [cost.std for cost in measured],
        )
        return self.with_correction(correction, version)

    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        """Costs of each network.

        Raises:
            DeviceFileError: a network holds a kind of layer of which nothing was measured.
        """
        return [self._predict(network) for network in networks]

    def predict_choices(self, space: SearchSpace, choices: NDArray[np.integer]) -> BatchCosts:
        """The worst case (no exit taken) of many architectures at once, without resolving one of them.

        Args:
            space: whose choices these are.
            choices: (architectures, decisions) indices, complete and valid.

        Raises:
            DeviceFileError: as `predict`.
            InvalidChoices: choices that the space does not allow.
        """
        latency = self._correction.overhead_ms + space.total_costs(choices, self.block_latency_ms)
        variance = space.total_costs(choices, self._block_variance)
        variance += (self._correction.relative_std * latency) ** 2
        estimate = space.total_costs(choices, self._block_estimate)
        energy = self._energy.mj_per_ms * latency + self._energy.estimate_scale * estimate
        return BatchCosts(
            latency_ms=latency,
            latency_std_ms=self._interval_scale * np.sqrt(variance),
            energy_mj=energy,
            energy_std_mj=self._energy.relative_std * energy,
        )

    def predict_heads(self, space: SearchSpace, choices: NDArray[np.integer]) -> HeadCosts:
        overhead = self._correction.overhead_ms
        latency = overhead + space.head_costs(choices, self.block_latency_ms)
        estimate = space.head_costs(choices, self._block_estimate)
        energy = self._energy.mj_per_ms * latency + self._energy.estimate_scale * estimate
        return HeadCosts(latency, energy)

    def _block_variance(self, block: Block) -> float:
        return self._block(block).extra_std_ms ** 2

    def _block_estimate(self, block: Block) -> float:
        return self._block(block).estimate_mj

    def block_latency_ms(self, block: Block) -> float:
        return self._block(block).latency_ms

    def block_energy_mj(self, block: Block) -> float:
        cost = self._block(block)
        return self._energy.value(cost.latency_ms, cost.estimate_mj)

    @property
    def latency_margin(self) -> float:
        return self._latency_margin

    @property
    def additive_overhead_ms(self) -> float:
        return self._correction.overhead_ms

    def _predict(self, network: Network) -> PrefixCosts:
        latencies, energies = [], []
        for blocks in prefix_blocks(network):
            latency, energy = self._sum(self._block(block) for block in blocks)
            latencies.append(latency)
            energies.append(energy)
        return PrefixCosts(tuple(latencies), tuple(energies))

    def _sum(self, costs: Iterable[_BlockCost]) -> tuple[Cost, Cost]:
        latency_ms, estimate_mj, variance = self._correction.overhead_ms, 0.0, 0.0
        for cost in costs:
            latency_ms += cost.latency_ms
            estimate_mj += cost.estimate_mj
            variance += cost.extra_std_ms**2
        variance += (self._correction.relative_std * latency_ms) ** 2
        std = self._interval_scale * math.sqrt(variance)
        return Cost(latency_ms, std, "predicted"), self._energy.cost(latency_ms, estimate_mj)

    def _block(self, block: Block) -> _BlockCost:
        key = block_key(block)
        known = self._known.get(key)
        if known is None:
            lone_ms, measured = self._additive.lone_ms(block)
            extra = 0.0
            if not measured:
                # the regression's error is relative to the block's whole time, its call included
                alone_ms = self._additive.call_ms + lone_ms
                extra = self._correction.scale * self._additive.relative_std * alone_ms
            known = self._known[key] = _BlockCost(
                latency_ms=self._correction.block_ms(block, lone_ms),
                extra_std_ms=extra,
                estimate_mj=estimate_block_mj(block, self._batch_size),
            )
        return known
