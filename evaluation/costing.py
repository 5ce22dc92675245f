"""What a network costs on the device, with its early exits accounted for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Choices, Network, SearchSpace
from child_models import count_bytes, count_macs, count_params
from evaluation.results import NetworkCosts
from latency_models import Cost, CostModel, CostSource, PrefixCosts

if TYPE_CHECKING:
    from latency_models import MeasuredTable

_REMEMBERED = 4096
_LEAST_SURE_FIRST: tuple[CostSource, ...] = ("estimated", "predicted", "measured")


def expected_cost(prefix_costs: Sequence[Cost], shares: Sequence[float]) -> Cost:
    """Σ share_e × prefix cost e: what a sample costs on average if exit e lets share e leave.

    The standard deviations are added with the same weights: prefixes of one network are predicted from the same
    blocks, so their errors go together. The source is the least sure one of those that count.

    Args:
        prefix_costs: one cost a head, the final head last.
        shares: one share a head, in [0, 1], summing to 1.

    Raises:
        ValueError: other lengths, or shares that do not sum to 1.
    """
    if len(prefix_costs) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(
            f"expected {len(prefix_costs)} shares that sum to 1, one a head, got {list(shares)}"
        )
    counting = [(s, cost) for s, cost in zip(shares, prefix_costs, strict=True) if s > 0]
    sources = {cost.source for _, cost in counting}
    return Cost(
        value=sum(share * cost.value for share, cost in counting),
        std=sum(share * cost.std for share, cost in counting),
        source=next(source for source in _LEAST_SURE_FIRST if source in sources),
    )


class _Counts(NamedTuple):
    """What a network costs on every device."""

    num_params: int
    macs: int
    size_bytes: int

    @classmethod
    def of(cls, network: Network) -> _Counts:
        return cls(count_params(network), count_macs(network), count_bytes(network))


class ExpectedCosts(Protocol):
    """What a searcher may ask about costs before it proposes; every `Costing` is one."""

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        """See `Costing.expected`."""


class Costing(ABC):
    """Gives networks their costs. Deterministic for one version of what it reads."""

    @property
    def version(self) -> int:
        """The `model_version` of the costs that it gives now."""
        return 0

    @abstractmethod
    def costs(
        self,
        architecture: Architecture,
        network: Network,
        exit_shares: Sequence[float] | None,
    ) -> NetworkCosts | None:
        """Expected and worst costs of one network; None where they are not known.

        Args:
            architecture: says which network it is.
            network: its layers.
            exit_shares: shares of samples that leave at each head, the final one last, as measured after
                training. None before training: each head is then taken to get an equal share.
        """

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        """Expected latency in ms and energy in mJ before training: (architectures, 2), NaN where unknown.

        What a searcher may look at for as many architectures as it likes: nothing is trained for it.
        """
        rows = []
        for choices in batch:
            costs = self.costs(space.architecture(choices), space.resolve(choices), None)
            rows.append(
                (costs.latency_ms.value, costs.energy_mj.value) if costs else (math.nan, math.nan)
            )
        return np.array(rows, dtype=np.float64).reshape(-1, 2)


class ModelCosting(Costing):
    """Costs that a cost model predicts."""

    def __init__(self, cost_model: CostModel) -> None:
        self._model = cost_model
        self._remembered: OrderedDict[tuple[str, int], tuple[PrefixCosts, _Counts]] = OrderedDict()

    @property
    def version(self) -> int:
        return self._model.version

    def use(self, cost_model: CostModel) -> None:
        """Predict with this model from now on; its `version` must be its own among those used here."""
        self._model = cost_model

    def costs(
        self,
        architecture: Architecture,
        network: Network,
        exit_shares: Sequence[float] | None,
    ) -> NetworkCosts:
        version = self.version
        prefixes, counts = self._predicted(architecture.digest, version, network)
        heads = len(prefixes.latency_ms)
        shares = [1 / heads] * heads if exit_shares is None else exit_shares
        return NetworkCosts(
            latency_ms=expected_cost(prefixes.latency_ms, shares),
            latency_worst_ms=prefixes.latency_ms[-1],
            energy_mj=expected_cost(prefixes.energy_mj, shares),
            energy_worst_mj=prefixes.energy_mj[-1],
            **counts._asdict(),
            model_version=version,
        )

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        rows = np.asarray(batch, dtype=np.intp).reshape(len(batch), len(space.decisions))
        if len(rows) == 0:
            return np.empty((0, 2))
        costs = self._model.predict_heads(space, rows)  # each head gets an equal share
        return np.stack([np.nanmean(each, axis=1) for each in costs], axis=1)

    def _predicted(
        self, digest: str, version: int, network: Network
    ) -> tuple[PrefixCosts, _Counts]:
        """Of one network, asked before and after its training; the last 4,096 are remembered."""
        key = (digest, version)
        if key not in self._remembered:
            (prefixes,) = self._model.predict([network])
            self._remembered[key] = (prefixes, _Counts.of(network))
            if len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return self._remembered[key]


class TableCosting(Costing):
    """Costs looked up in a table of measured results, by the architecture's label; no early exits.

    Args:
        table: the measured results.
        latency_column: milliseconds, > 0 (a cell of 0 was not measured); None where the table has
            none: no costs are known then.
        energy_column: millijoules; None where the table has none: energy is then estimated from what
            the network computes, and says so.
    """

    def __init__(
        self, table: MeasuredTable, latency_column: str | None, energy_column: str | None
    ) -> None:
        self._table = table
        self._latency_column = latency_column
        self._energy_column = energy_column

    def costs(
        self,
        architecture: Architecture,
        network: Network,
        exit_shares: Sequence[float] | None,
    ) -> NetworkCosts | None:
        latency_ms = self._measured(architecture, self._latency_column)
        if latency_ms is None:
            return None
        if self._energy_column is None:
            energy_mj: Cost | None = estimated_energy(network)
        else:
            energy_mj = self._measured(architecture, self._energy_column)
        if energy_mj is None:
            return None
        return costs_without_exits(network, latency_ms, energy_mj)

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> NDArray[np.float64]:
        if self._latency_column is None:
            return np.full((len(batch), 2), math.nan)
        if self._energy_column is None:
            return super().expected(space, batch)
        architectures = [space.architecture(choices) for choices in batch]
        columns = (self._latency_column, self._energy_column)
        rows = [[self._measured(each, column) for column in columns] for each in architectures]
        known = [all(costs) for costs in rows]
        return np.array(
            [
                [cost.value if ok and cost else math.nan for cost in costs]
                for ok, costs in zip(known, rows, strict=True)
            ]
        ).reshape(-1, 2)

    def _measured(self, architecture: Architecture, column: str | None) -> Cost | None:
        value = self._table.value(architecture.label, column) if column is not None else None
        return Cost(value, 0.0, "measured") if value is not None and value > 0 else None


def costs_without_exits(
    network: Network, latency_ms: Cost, energy_mj: Cost, model_version: int = 0
) -> NetworkCosts:
    """Where no sample leaves early: what is expected is the worst case."""
    return NetworkCosts(
        latency_ms=latency_ms,
        latency_worst_ms=latency_ms,
        energy_mj=energy_mj,
        energy_worst_mj=energy_mj,
        **_Counts.of(network)._asdict(),
        model_version=model_version,
    )


def estimated_energy(network: Network) -> Cost:
    """Energy in mJ of a call with one image, from published constants alone."""
    from latency_models.energy import EnergyModel, estimate_mj

    return EnergyModel().cost(0.0, estimate_mj(network))
