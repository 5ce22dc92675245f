"""What evaluating an architecture promises: rewards, and what it adds to the front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import MinMaxConfig, ObjectiveBounds, make_objective
from search import hypervolume_2d
from search.strategies.acquisition import FrontUtility, RewardUtility, front_reference

BOUNDS = ObjectiveBounds(
    latency_min_ms=1.0, latency_max_ms=9.0, energy_min_mj=2.0, energy_max_mj=4.0
)
points = st.lists(st.tuples(st.floats(0.1, 0.99), st.floats(0.5, 12.0)), max_size=8)


@given(points, st.floats(0.1, 0.99), st.floats(0.5, 12.0))
def test_front_utility_is_the_hypervolume_added(
    front: list[tuple[float, float]], accuracy: float, latency: float
) -> None:
    reference = (0.4, 9.0)
    utility = FrontUtility(np.array(front).reshape(-1, 2), reference)
    (added,) = utility(np.array([accuracy]), np.array([[latency, 1.0]]))
    before, after = (hypervolume_2d(f, reference) for f in (front, [*front, (accuracy, latency)]))
    assert added == pytest.approx(after - before, abs=1e-9)
    utility.take(accuracy, np.array([latency, 1.0]))
    (again,) = utility(np.array([accuracy]), np.array([[latency, 1.0]]))
    assert again == pytest.approx(0, abs=1e-9)


def test_unknown_latency_is_no_number() -> None:
    utility = FrontUtility(np.empty((0, 2)), (0.0, 10.0))
    assert np.isnan(utility(np.array([0.5]), np.array([[np.nan, 1.0]]))).all()


def test_reward_utility_is_the_objective() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    accuracies, costs = np.array([0.9, 0.4]), np.array([[2.0, 3.0], [20.0, 2.5]])
    expected = [
        objective.reward(a, latency, energy, 0)
        for a, (latency, energy) in zip(accuracies.tolist(), costs.tolist(), strict=True)
    ]
    assert RewardUtility(objective, 0)(accuracies, costs) == pytest.approx(expected)


def test_the_front_is_judged_from_the_objectives_floor_and_slowest_network() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    assert front_reference(objective, np.empty((0, 2))) == (0.5, 9.0)
