"""Costs of networks whose latency is predicted from choices."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from archspace import NasBench201Space, NasBench201SpaceConfig, Shape, StagedSpace
from child_models import count_macs, count_params
from evaluation import ChoicesCosting
from latency_models import Cost
from latency_models.energy import estimate_mj

SPACE = NasBench201Space(
    NasBench201SpaceConfig(channels=4, cells_per_stage=1), input_shape=Shape(1, 8, 8)
)
CHOICES = (3, 0, 1, 4, 2, 3)


class SumModel:
    """Predicts 1 ms and the sum of the choices, ± a tenth of that."""

    def __init__(self) -> None:
        self.calls = 0

    def predict(self, choices: np.ndarray) -> np.ndarray:
        return 1.0 + choices.sum(axis=1)

    def predict_with_std(self, choices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        return self.predict(choices), 0.1 * self.predict(choices)


def costing_of(model: SumModel) -> ChoicesCosting:
    return ChoicesCosting(cast(Any, model))


def test_latency_is_predicted_and_energy_estimated() -> None:
    network = SPACE.resolve(CHOICES)
    costs = costing_of(SumModel()).costs(SPACE.architecture(CHOICES), network, None)
    energy = estimate_mj(network)
    assert costs.latency_ms == Cost(14.0, pytest.approx(1.4), "predicted")
    assert costs.energy_mj == Cost(energy, 0.5 * energy, "estimated")
    assert costs.latency_worst_ms == costs.latency_ms
    assert costs.energy_worst_mj == costs.energy_mj
    assert (costs.num_params, costs.macs) == (count_params(network), count_macs(network))
    assert costs.model_version == 1


def test_what_was_asked_before_training_is_known_after_it() -> None:
    model = SumModel()
    costing = costing_of(model)
    network, architecture = SPACE.resolve(CHOICES), SPACE.architecture(CHOICES)
    before = costing.costs(architecture, network, None)
    assert costing.costs(architecture, network, (1.0,)) == before
    assert model.calls == 1
    other = (0, 0, 0, 0, 0, 1)
    later = costing.costs(SPACE.architecture(other), SPACE.resolve(other), None)
    assert later.latency_ms.value == 2.0
    assert model.calls == 2


def test_early_exits_are_not_guessed(space: StagedSpace) -> None:
    rng = np.random.default_rng(0)
    choices = next(c for _ in range(1000) if space.resolve(c := space.sample(rng)).exits)
    with pytest.raises(ValueError, match="1 early exits; the model predicts whole networks only"):
        costing_of(SumModel()).costs(space.architecture(choices), space.resolve(choices), None)


def test_energies_of_blocks_add_up_to_the_network_s() -> None:
    (total,) = SPACE.total_costs(np.array([CHOICES]), ChoicesCosting.block_energy_mj)
    assert total == pytest.approx(estimate_mj(SPACE.resolve(CHOICES)))


def test_thousands_at_once() -> None:
    rows = np.array([CHOICES, (0,) * 6])
    assert costing_of(SumModel()).latencies_ms(rows).tolist() == [14.0, 1.0]
