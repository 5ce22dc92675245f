"""Expected and worst costs of networks with early exits."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from archspace import Block, Network, StagedSpace
from child_models import count_macs, count_params
from evaluation import ModelCosting, expected_cost
from latency_models import Cost, CostModel, PrefixCosts


class StepCosts(CostModel):
    """Head number e costs (e + 1) ms and 10·(e + 1) mJ."""

    version = 3

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, networks: Sequence[Network]) -> list[PrefixCosts]:
        self.calls += 1
        return [
            PrefixCosts(
                latency_ms=tuple(Cost(e + 1.0, 0.1 * (e + 1), "predicted") for e in heads),
                energy_mj=tuple(Cost(10 * (e + 1.0), 1.0, "estimated") for e in heads),
            )
            for heads in (range(len(network.heads)) for network in networks)
        ]

    def block_latency_ms(self, block: Block) -> float:
        return 0.0

    def block_energy_mj(self, block: Block) -> float:
        return 0.0

    @property
    def latency_margin(self) -> float:
        return 0.0

    @property
    def additive_overhead_ms(self) -> float:
        return 0.0


def test_expected_cost_by_hand() -> None:
    costs = [Cost(1.0, 0.2, "measured"), Cost(3.0, 0.4, "predicted")]
    assert expected_cost(costs, (0.25, 0.75)) == Cost(
        pytest.approx(2.5), pytest.approx(0.35), "predicted"
    )
    assert expected_cost(costs, (1.0, 0.0)) == costs[0]  # what nobody uses does not count
    for shares in ((1.0,), (0.5, 0.6), ()):
        with pytest.raises(ValueError, match="one a head"):
            expected_cost(costs, shares)


def _with_exits(space: StagedSpace, exits: bool) -> tuple[int, ...]:
    position = next(i for i, d in enumerate(space.decisions) if d.name.endswith("exit"))

    def pick(prefix, valid):  # type: ignore[no-untyped-def]
        return int(valid[-1] if exits and len(prefix) == position else valid[0])

    return space.complete((), pick)


def test_model_costing_weighs_exits(space: StagedSpace) -> None:
    model = StepCosts()
    costing = ModelCosting(model)
    choices = _with_exits(space, True)
    architecture, network = space.architecture(choices), space.resolve(choices)
    assert len(network.exits) == 1
    before = costing.costs(architecture, network, None)
    assert before.latency_ms.value == pytest.approx(1.5)  # equal shares before training
    assert before.latency_worst_ms.value == 2.0
    after = costing.costs(architecture, network, (0.9, 0.1))
    assert after.latency_ms.value == pytest.approx(1.1)
    assert after.energy_mj.value == pytest.approx(11)
    assert after.latency_worst_ms == before.latency_worst_ms
    assert (after.num_params, after.macs) == (count_params(network), count_macs(network))
    assert after.model_version == 3
    assert model.calls == 1
    model.version = 4  # type: ignore[misc]
    assert costing.costs(architecture, network, None).model_version == 4
    assert model.calls == 2


def test_without_exits_expected_is_worst(space: StagedSpace) -> None:
    choices = _with_exits(space, False)
    costs = ModelCosting(StepCosts()).costs(
        space.architecture(choices), space.resolve(choices), (1.0,)
    )
    assert costs.latency_ms == costs.latency_worst_ms
    assert costs.energy_mj == costs.energy_worst_mj


def test_expected_costs_take_predicted_exit_shares(space: StagedSpace) -> None:
    costing = ModelCosting(StepCosts())
    batch = [_with_exits(space, True), _with_exits(space, False)]
    single = [costing.costs(space.architecture(c), space.resolve(c), None) for c in batch]
    expected = [[costs.latency_ms.value, costs.energy_mj.value] for costs in single]
    assert costing.expected(space, batch).tolist() == expected
    assert costing.expected(space, []).shape == (0, 2)
