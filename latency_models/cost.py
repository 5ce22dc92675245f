"""Costs with their uncertainty and where they come from, and the contract of what predicts them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace import Block, Network, SearchSpace

CostSource = Literal["measured", "predicted", "estimated"]


@dataclass(frozen=True, slots=True)
class Cost:
    """A latency (ms) or an energy (mJ).

    `std` is one standard deviation in the same unit (0 where it is a table's value). `source`:
    ``measured`` on the device, ``predicted`` by a model fitted to measurements, or ``estimated`` from
    published constants.
    """

    value: float
    std: float
    source: CostSource


class PrefixCosts(NamedTuple):
    """Costs of running a network up to each of its heads; one entry a head, the final head last.

    The last entry is the whole network with every exit head computed: the worst case.
    """

    latency_ms: tuple[Cost, ...]
    energy_mj: tuple[Cost, ...]


class HeadCosts(NamedTuple):
    """Costs of many networks up to each of their heads, the final head last: (networks, heads).

    NaN where a network has fewer heads.
    """

    latency_ms: NDArray[np.float64]
    energy_mj: NDArray[np.float64]


class CostModel(ABC):
    """Predicts what networks cost on one device."""

    version: int
    """Grows by one whenever the model learns from new measurements."""

    @abstractmethod
    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        """Costs of each network; vectorised, no measuring, deterministic."""

    def predict_heads(self, space: SearchSpace, choices: NDArray[np.integer]) -> HeadCosts:
        """What many architectures cost up to each of their heads, without the uncertainty.

        Args:
            space: whose choices these are.
            choices: (architectures, decisions) indices, complete and valid.
        """
        costs = self.predict([space.resolve(row) for row in choices.tolist()])
        shape = (len(costs), max((len(each.latency_ms) for each in costs), default=1))
        latency, energy = np.full(shape, math.nan), np.full(shape, math.nan)
        for i, each in enumerate(costs):
            latency[i, : len(each.latency_ms)] = [cost.value for cost in each.latency_ms]
            energy[i, : len(each.energy_mj)] = [cost.value for cost in each.energy_mj]
        return HeadCosts(latency, energy)

    @abstractmethod
    def block_latency_ms(self, block: Block) -> float:
        """The additive model's share of one block in milliseconds, ≥ 0."""

    @abstractmethod
    def block_energy_mj(self, block: Block) -> float:
        """The additive model's share of one block in millijoules, ≥ 0."""

    @property
    @abstractmethod
    def latency_margin(self) -> float:
        """m such that the additive bound, times (1 + m), covers 95 % of measured networks."""

    @property
    @abstractmethod
    def additive_overhead_ms(self) -> float:
        """What every network pays on top of its blocks (call overhead), in milliseconds."""
