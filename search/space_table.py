"""What a space offers before anything is trained: its smallest, middle and largest networks and their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from archspace import Architecture, Block, Network, SearchSpace
from child_models import count_macs, count_params
from evaluation import Costing, LimitsConfig, NetworkCosts
from latency_models import CostModel

MIDDLE_SAMPLES = 201


@dataclass(frozen=True, slots=True)
class SpaceRow:
    """One network of the table; `name` is smallest, middle or largest, by predicted latency."""

    name: str
    architecture: Architecture
    costs: NetworkCosts


@dataclass(frozen=True, slots=True)
class SpaceTable:
    """The table, and the least of each cost that any network of the space can have.

    `least` has the keys of `LimitsConfig`: latency_ms, energy_mj, size_bytes, num_params, macs.
    """

    smallest: SpaceRow
    middle: SpaceRow
    largest: SpaceRow
    least: dict[str, float]
    most_energy_mj: float

    @property
    def rows(self) -> tuple[SpaceRow, SpaceRow, SpaceRow]:
        return self.smallest, self.middle, self.largest


def tabulate_space(space: SearchSpace, cost_model: CostModel, costing: Costing) -> SpaceTable:
    """Predict the table. Smallest and largest are exact under the additive model; middle is the median of
    201 random networks (fixed seed)."""
    by_latency = cost_model.block_latency_ms
    by_energy = cost_model.block_energy_mj

    def row(name: str, choices: tuple[int, ...]) -> SpaceRow:
        return SpaceRow(name, space.architecture(choices), _costs(space, costing, choices))

    rng = np.random.default_rng(0)
    sampled = sorted(
        (row("middle", space.sample(rng)) for _ in range(MIDDLE_SAMPLES)),
        key=lambda r: (r.costs.latency_worst_ms.value, r.architecture.digest),
    )
    smallest = row("smallest", space.cheapest(by_latency))
    thrifty = _costs(space, costing, space.cheapest(by_energy))
    fewest = space.resolve(space.cheapest(lambda block: float(_params(block))))
    lightest = space.resolve(space.cheapest(lambda block: float(_macs(block))))
    return SpaceTable(
        smallest=smallest,
        middle=sampled[MIDDLE_SAMPLES // 2],
        largest=row("largest", space.cheapest(_negated(by_latency))),
        least={
            "latency_ms": smallest.costs.latency_worst_ms.value,
            "energy_mj": thrifty.energy_worst_mj.value,
            "num_params": float(count_params(fewest)),
            "size_bytes": 4.0 * count_params(fewest),
            "macs": float(count_macs(lightest)),
        },
        most_energy_mj=_costs(
            space, costing, space.cheapest(_negated(by_energy))
        ).energy_worst_mj.value,
    )


def impossible_limits(table: SpaceTable, limits: LimitsConfig) -> list[str]:
    """One line for each limit that no network of the space can meet."""
    faults = []
    for name, least in table.least.items():
        limit = getattr(limits, name)
        if limit is not None and limit < least:
            faults.append(
                f"limits.{name} = {limit:g}, but the smallest network of this space needs {least:.4g}"
            )
    return faults


def _costs(space: SearchSpace, costing: Costing, choices: tuple[int, ...]) -> NetworkCosts:
    architecture, network = space.architecture(choices), space.resolve(choices)
    costs = costing.costs(architecture, network, None)
    assert costs is not None, "a cost model predicts every network"
    return costs


def _negated(cost: Callable[[Block], float]) -> Callable[[Block], float]:
    return lambda block: -cost(block)


def _alone(block: Block) -> Network:
    return block.as_network()


def _params(block: Block) -> int:
    return count_params(_alone(block))


def _macs(block: Block) -> int:
    return count_macs(_alone(block))
