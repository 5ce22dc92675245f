"""What evaluating an architecture promises: rewards, and what it adds to the front."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import FailureReason, MinMaxConfig, ObjectiveBounds, make_objective
from search import hypervolume_2d
from search.strategies.acquisition import (
    FrontUtility,
    RewardUtility,
    expected_gain,
    front_reference,
    picks,
)
from search.strategies.gaussian_process_search import expected_improvement
from search.surrogates import CorrectedCosts, Posterior
from tests.search.run_samples import make_evaluation

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


def test_reward_utility_is_what_the_objective_gains() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    accuracies, costs = np.array([0.9, 0.4]), np.array([[2.0, 3.0], [20.0, 2.5]])
    rewards = [
        objective.reward(a, latency, energy, 0)
        for a, (latency, energy) in zip(accuracies.tolist(), costs.tolist(), strict=True)
    ]
    gains = RewardUtility(objective, 0, rewards[0] - 0.1)(accuracies, costs)
    assert gains == pytest.approx([0.1, 0.0])


def test_reward_utility_of_what_was_evaluated_counts_from_its_best() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    children = [
        make_evaluation(0, accuracy=0.7, latency_ms=3.0, energy_mj=3.0),
        make_evaluation(1, accuracy=0.9, latency_ms=3.0, energy_mj=3.0),
        make_evaluation(2, accuracy=None, failure=FailureReason.OOM),
    ]
    utility = RewardUtility.of(children, objective, 0)
    same, more = utility(np.array([0.9, 0.95]), np.array([[3.0, 3.0], [3.0, 3.0]]))
    assert same == pytest.approx(0)
    assert more == pytest.approx(
        objective.reward(0.95, 3.0, 3.0, 0) - objective.reward(0.9, 3.0, 3.0, 0)
    )
    nothing = RewardUtility.of([], objective, 0)
    assert (nothing(np.array([0.1]), np.array([[9.0, 4.0]])) > 0).all()


class Linear:
    """Stands for a surrogate whose transform changes nothing."""

    def accuracies(self, transformed: np.ndarray) -> np.ndarray:
        return transformed


def posterior(mean: list[float], std: list[float]) -> Posterior:
    """Of independent candidates."""
    return Posterior(
        mean=np.array(mean),
        variance=np.array(std) ** 2,
        noise=1e-6,
        covariance_with=lambda i: np.eye(len(mean))[i] * std[i] ** 2,
    )


class Above:
    """max(accuracy − 0.6, 0); the cost is known where it is not NaN."""

    def __call__(self, accuracies: np.ndarray, costs: np.ndarray) -> np.ndarray:
        return np.maximum(self.margin(accuracies, costs), 0)

    def margin(self, accuracies: np.ndarray, costs: np.ndarray) -> np.ndarray:
        return np.where(np.isnan(costs[:, 0]), np.nan, accuracies - 0.6)

    def take(self, accuracy: float, costs: np.ndarray) -> None:
        pass


@given(st.floats(0.3, 0.9), st.floats(0.05, 0.3))
def test_expected_gain_is_expected_improvement(mean: float, std: float) -> None:
    found = expected_gain(
        Linear(), posterior([mean], [std]), CorrectedCosts(np.ones((1, 2))), Above()
    )  # type: ignore[arg-type]
    expected = expected_improvement(posterior([mean], [std]), 0.6)
    # the kink of max(·, 0) is what ten nodes see least of
    assert found == pytest.approx(expected, abs=0.07 * std)


class Cheap:
    """Latency squared, whatever the accuracy."""

    def __call__(self, accuracies: np.ndarray, costs: np.ndarray) -> np.ndarray:
        return np.asarray(costs[:, 0] ** 2)

    margin = __call__

    def take(self, accuracy: float, costs: np.ndarray) -> None:
        pass


def test_expected_gain_counts_what_costs_may_be() -> None:
    latencies = (posterior([0, 0], [1, 1e-9]), 0.2)
    costs = CorrectedCosts(np.array([[2.0, 1.0], [2.0, 1.0]]), (latencies, None))
    unsure, known = expected_gain(Linear(), posterior([0, 0], [1, 1]), costs, Cheap())  # type: ignore[arg-type]
    assert known == pytest.approx(4.0)
    # the mean of a log-normal's square; three nodes are exact up to the fifth power of 0.2 standard deviations
    assert unsure == pytest.approx(4.0 * np.exp(2 * 0.2**2), rel=1e-4)


def test_a_pick_leaves_less_to_learn_of_its_cost() -> None:
    """Of two equal candidates of unknown cost and one that is sure to be a little better, the second is another one."""
    alike = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1e-12]])
    errors = Posterior(
        mean=np.zeros(3),
        variance=np.diag(alike),
        noise=1e-6,
        covariance_with=lambda i: alike[i],
    )
    costs = CorrectedCosts(np.array([[2.0, 1.0], [2.0, 1.0], [2.1, 1.0]]), ((errors, 0.4), None))
    rng = np.random.default_rng(0)
    found = picks(Linear(), posterior([0] * 3, [1] * 3), costs, Cheap(), 2, rng)  # type: ignore[arg-type]
    assert sorted(found) in ([0, 2], [1, 2])


def test_picks_are_the_most_promising_whose_costs_are_known() -> None:
    costs = np.ones((5, 2))
    costs[0] = np.nan
    made = posterior([0.9, 0.5, 0.8, 0.1, 0.1], [0.1, 0.3, 0.1, 1e-6, 1e-6])
    rng = np.random.default_rng(0)
    assert picks(Linear(), made, CorrectedCosts(costs), Above(), 2, rng) == [2, 1]  # type: ignore[arg-type]
    made = posterior([0.9, 0.5, 0.8, 0.1, 0.2], [0.1, 0.3, 0.1, 1e-6, 1e-6])
    everything = picks(Linear(), made, CorrectedCosts(costs), Above(), 9, rng)  # type: ignore[arg-type]
    assert everything == [2, 1, 4, 3], "those that promise nothing come last, the closest first"


def test_margin_to_the_front_is_in_accuracy_at_the_same_latency() -> None:
    utility = FrontUtility(np.array([[0.7, 2.0], [0.9, 5.0], [0.6, 3.0]]), (0.5, 9.0))
    latencies = np.array([1.0, 2.0, 4.0, 5.0, 9.5, np.nan])
    costs = np.column_stack([latencies, np.ones(6)])
    margin = utility.margin(np.full(6, 0.8), costs)
    assert margin[:4] == pytest.approx([0.3, 0.1, 0.1, -0.1])
    assert margin[4] < -1, "slower than the reference: after all others"
    assert np.isnan(margin[5])


def test_the_front_is_judged_from_the_objectives_floor_and_slowest_network() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    assert front_reference(objective, np.empty((0, 2))) == (0.5, 9.0)
