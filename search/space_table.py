"""What a space offers before anything is trained: its smallest, middle and largest networks and their costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from archspace import Architecture, Block, BlockCost, Choices, SearchSpace
from child_models import count_bytes, count_macs, count_params
from envs.cost_bounds import block_bytes, block_macs, block_params
from evaluation import ChoicesCosting, Costing, LimitsConfig, NetworkCosts
from latency_models import CostModel
from search.latency_extremes import latency_extremes

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

    `least` has the keys of `LimitsConfig`: latency_ms, energy_mj, size_bytes, num_params, macs. `drawn`: 0 where it is
    exact; else latencies are those of the fastest and slowest networks found after drawing so many.
    """

    smallest: SpaceRow
    middle: SpaceRow
    largest: SpaceRow
    least: dict[str, float]
    most_energy_mj: float
    drawn: int = 0

    @property
    def rows(self) -> tuple[SpaceRow, SpaceRow, SpaceRow]:
        return self.smallest, self.middle, self.largest


def tabulate_space(space: SearchSpace, cost_model: CostModel, costing: Costing) -> SpaceTable:
    """Predict the table. Smallest and largest are exact under the additive model; middle is the median of
    201 random networks (fixed seed)."""
    by_latency = cost_model.block_latency_ms
    rng = np.random.default_rng(0)
    sampled = sorted(
        (_row("middle", space, costing, space.sample(rng)) for _ in range(MIDDLE_SAMPLES)),
        key=lambda r: (r.costs.latency_worst_ms.value, r.architecture.digest),
    )
    return _table(
        space,
        costing,
        smallest=space.cheapest(by_latency),
        middle=sampled[MIDDLE_SAMPLES // 2].architecture.choices,
        largest=space.cheapest(_negated(by_latency)),
        by_energy=cost_model.block_energy_mj,
    )


def tabulate_choices(space: SearchSpace, costing: ChoicesCosting) -> SpaceTable:
    """Predict the table where latency is no sum over blocks; see `latency_extremes` for how exact that is. All other
    costs are sums, and exact."""
    found = latency_extremes(space, costing.latencies_ms)
    return _table(
        space,
        costing,
        smallest=found.fastest,
        middle=found.middle,
        largest=found.slowest,
        by_energy=costing.block_energy_mj,
        drawn=found.drawn,
    )


def _table(
    space: SearchSpace,
    costing: Costing,
    *,
    smallest: Choices,
    middle: Choices,
    largest: Choices,
    by_energy: BlockCost,
    drawn: int = 0,
) -> SpaceTable:
    """The table of three networks, with the ends of the additive costs."""
    fastest = _row("smallest", space, costing, smallest)
    thrifty = _costs(space, costing, space.cheapest(by_energy))
    hungry = _costs(space, costing, space.cheapest(_negated(by_energy)))
    fewest = space.resolve(space.cheapest(block_params))
    smallest_file = space.resolve(space.cheapest(block_bytes))
    lightest = space.resolve(space.cheapest(block_macs))
    return SpaceTable(
        smallest=fastest,
        middle=_row("middle", space, costing, middle),
        largest=_row("largest", space, costing, largest),
        least={
            "latency_ms": fastest.costs.latency_worst_ms.value,
            "energy_mj": thrifty.energy_worst_mj.value,
            "num_params": float(count_params(fewest)),
            "size_bytes": float(count_bytes(smallest_file)),
            "macs": float(count_macs(lightest)),
        },
        most_energy_mj=hungry.energy_worst_mj.value,
        drawn=drawn,
    )


def impossible_limits(table: SpaceTable, limits: LimitsConfig) -> list[str]:
    """One line for each limit that no network of the space can meet."""
    faults = []
    for name, least in table.least.items():
        limit = getattr(limits, name)
        if limit is not None and limit < least:
            smallest = "the smallest network of this space"
            if name == "latency_ms" and table.drawn:
                smallest = (
                    f"the fastest one found after drawing {table.drawn:,} networks of this space"
                )
            faults.append(f"limits.{name} = {limit:g}, but {smallest} needs {least:.4g}")
    return faults


def _row(name: str, space: SearchSpace, costing: Costing, choices: Choices) -> SpaceRow:
    return SpaceRow(name, space.architecture(choices), _costs(space, costing, choices))


def _costs(space: SearchSpace, costing: Costing, choices: Choices) -> NetworkCosts:
    architecture, network = space.architecture(choices), space.resolve(choices)
    costs = costing.costs(architecture, network, None)
    assert costs is not None, "a cost model predicts every network"
    return costs


def _negated(cost: Callable[[Block], float]) -> Callable[[Block], float]:
    return lambda block: -cost(block)
