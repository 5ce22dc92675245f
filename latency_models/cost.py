"""Costs with their uncertainty and where they come from, and the contract of what predicts them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from archspace import Block, Network

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


class CostModel(ABC):
    """Predicts what networks cost on one device."""

    version: int
    """Grows by one whenever the model learns from new measurements."""

    @abstractmethod
    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        """Costs of each network; vectorised, no measuring, deterministic."""

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
