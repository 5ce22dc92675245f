"""Scores at a rung: rewards as they are expected in full."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evaluation import (
    Evaluation,
    FailureReason,
    Fidelity,
    MinMaxConfig,
    ObjectiveBounds,
    make_objective,
)
from search.rung_scores import RungScores
from tests.search.run_samples import make_evaluation

LOW, FULL = Fidelity(name="low", epochs=1, cost=0.1), Fidelity(name="search", epochs=8)
OBJECTIVE = make_objective(
    MinMaxConfig(accuracy_weight=1, latency_weight=1, energy_weight=0, accuracy_floor=0),
    ObjectiveBounds(latency_min_ms=1, latency_max_ms=2, energy_min_mj=1, energy_max_mj=2),
)


def child(
    number: int, accuracy: float | None, fidelity: Fidelity | None = LOW, latency_ms: float = 1.5
) -> Evaluation:
    made = make_evaluation(
        number,
        accuracy,
        choices=(number,),
        latency_ms=latency_ms,
        failure=FailureReason.OOM if accuracy is None else None,
        reward=0.125,
    )
    return replace(made, fidelity=fidelity)


def test_before_anybody_climbed_accuracies_are_taken_as_they_are() -> None:
    scores = RungScores((LOW, FULL))
    assert not scores.add(child(0, 0.3))
    assert scores.score(child(1, 0.4), OBJECTIVE) == pytest.approx((0.9, 0.4))
    assert scores.score(child(1, 0.4, None), OBJECTIVE) == (0.125, 0.4), (
        "in full: the reward it had"
    )
    assert scores.score(child(1, None), OBJECTIVE) is None


def test_accuracies_that_lie_close_together_count_for_what_they_become_in_full() -> None:
    """Two points at the low rung are ten in full here: worth more than a twentieth of the latencies' range."""
    scores = RungScores((LOW, FULL))
    accurate, fast = child(100, 0.32, latency_ms=1.55), child(101, 0.30, latency_ms=1.50)
    assert scores.score(accurate, OBJECTIVE) < scores.score(fast, OBJECTIVE)  # type: ignore[operator]
    for number in range(6):
        scores.add(child(number, 0.30 + 0.01 * number))
    changed = [scores.add(child(number, 0.50 + 0.05 * number, None)) for number in range(6)]
    assert all(changed)
    assert scores.score(accurate, OBJECTIVE) == pytest.approx((0.60 + 0.45, 0.32))
    assert scores.score(fast, OBJECTIVE) == pytest.approx((0.50 + 0.50, 0.30))


def test_failures_teach_nothing_and_shares_end_at_one() -> None:
    scores = RungScores((LOW, FULL))
    assert not scores.add(child(0, None))
    assert not scores.add(child(0, 0.9, None))
    scores.add(child(1, 0.9))
    assert scores.add(child(1, 1.0, None))
    assert scores.score(child(2, 0.95), OBJECTIVE) == pytest.approx((1.5, 0.95))
