"""Rewards against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from evaluation import (
    InverseConfig,
    LimitsConfig,
    MinMaxConfig,
    MnasNetConfig,
    NetworkCosts,
    ObjectiveBounds,
    ObjectiveConfig,
    WeightSchedule,
    make_objective,
    violation,
)
from latency_models import Cost

BOUNDS = ObjectiveBounds(latency_min_ms=1, latency_max_ms=5, energy_min_mj=10, energy_max_mj=30)


def test_minmax_by_hand() -> None:
    objective = make_objective(MinMaxConfig(accuracy_floor=0.5), BOUNDS)
    # .6·(.9−.5)/.5 + .3·(5−2)/4 + .1·(30−25)/20
    assert objective.reward(0.9, 2, 25, 0) == pytest.approx(0.48 + 0.225 + 0.025)
    assert objective.reward(1.0, 1, 10, 0) == pytest.approx(1.0)
    assert objective.reward(0.5, 5, 30, 0) == pytest.approx(0.0)
    assert objective.reward(0.4, 5, 30, 0) == pytest.approx(-0.12)  # below the floor
    # exits can make a network cheaper than the smallest one without them
    assert objective.reward(0.5, 0.5, 30, 0) == pytest.approx(0.3 * 4.5 / 4)
    # far above the bounds: −0.25 and no less
    assert objective.reward(0.5, 1000, 30, 0) == pytest.approx(-0.075)


@pytest.mark.parametrize(
    "config",
    [
        MinMaxConfig(accuracy_floor=0.5),
        InverseConfig(accuracy_floor=0.5),
        MnasNetConfig(target_latency_ms=2.0),
        MinMaxConfig(accuracy_weight=WeightSchedule(start=0.2, step=0.1, every=2, end=0.8)),
    ],
    ids=lambda config: config.kind,
)
def test_many_rewards_are_the_single_ones(config: ObjectiveConfig) -> None:
    objective = make_objective(config, BOUNDS)
    rows = [(0.9, 2.0, 25.0), (0.4, 5.0, 30.0), (0.7, 100.0, 11.0), (0.8, math.nan, 12.0)]
    accuracies, latencies, energies = np.array(rows).T
    found = objective.rewards(accuracies, latencies, energies, 5)
    assert found[:3] == pytest.approx([objective.reward(*row, 5) for row in rows[:3]])
    assert math.isnan(found[3])


def test_rewards_without_costs_need_none() -> None:
    objective = make_objective(
        MinMaxConfig(accuracy_weight=1.0, latency_weight=0.0, energy_weight=0.0), None
    )
    unknown = np.full(2, math.nan)
    assert objective.rewards(np.array([0.2, 0.9]), unknown, unknown, 0) == pytest.approx([0.2, 0.9])


def test_another_preference() -> None:
    weights = (0.1, 0.7, 0.2)
    named = dict(zip(("accuracy_weight", "latency_weight", "energy_weight"), weights, strict=True))
    for config in (MinMaxConfig(accuracy_floor=0.5), InverseConfig(accuracy_floor=0.5)):
        changed = make_objective(config, BOUNDS).reweighted(weights)
        expected = make_objective(config.model_copy(update=named), BOUNDS)
        assert changed.reward(0.9, 2, 25, 0) == expected.reward(0.9, 2, 25, 0)
    without = make_objective(MnasNetConfig(target_latency_ms=2.0), None)
    assert without.reweighted(weights) is without


def test_minmax_ceiling() -> None:
    objective = make_objective(
        MinMaxConfig(
            accuracy_floor=0.8, accuracy_ceiling=0.9, latency_weight=0.0, energy_weight=0.0
        ),
        None,
    )
    assert objective.reward(0.85, None, None, 0) == pytest.approx(0.3)
    assert not objective.needs_costs


def test_inverse_by_hand() -> None:
    config = InverseConfig(accuracy_floor=0.5, latency_reference_ms=2, energy_reference_mj=20)
    objective = make_objective(config, None)
    assert objective.reward(0.8, 4, 40, 0) == pytest.approx(0.48 + 0.15 + 0.05)
    assert objective.reward(0.8, 2, 20, 0) == pytest.approx(0.48 + 0.3 + 0.1)
    assert objective.reward(0.8, 0.001, 0.001, 0) == pytest.approx(0.48 + 0.45 + 0.15)  # clipped
    assert objective.reward(0.49, 0.001, 0.001, 0) == pytest.approx(-0.006)  # below the floor
    from_bounds = make_objective(InverseConfig(accuracy_floor=0.5), BOUNDS)
    expected = 0.48 + 0.3 * math.sqrt(5) / 5 + 0.1 * math.sqrt(300) / 30
    assert from_bounds.reward(0.8, 5, 30, 0) == pytest.approx(expected)


def test_inverse_needs_a_floor() -> None:
    with pytest.raises(ValidationError, match="accuracy_floor"):
        InverseConfig.model_validate({"kind": "inverse"})


def test_mnasnet_by_hand() -> None:
    soft = make_objective(MnasNetConfig(target_latency_ms=2), None)
    assert soft.reward(0.8, 2, None, 0) == pytest.approx(0.8)
    assert soft.reward(0.8, 4, None, 0) == pytest.approx(0.8 * 2**-0.07)
    assert soft.reward(0.8, 1, None, 0) == pytest.approx(0.8 * 2**0.07)
    hard = make_objective(MnasNetConfig(target_latency_ms=2, mode="hard"), None)
    assert hard.reward(0.8, 1, None, 0) == pytest.approx(0.8)
    assert hard.reward(0.8, 4, None, 0) == pytest.approx(0.4)


def test_weight_schedule_of_the_issue() -> None:
    schedule = WeightSchedule(start=0.1, step=0.05, every=1000, end=0.3)
    at = {0: 0.1, 999: 0.1, 1000: 0.15, 2500: 0.2, 3999: 0.25, 4000: 0.3, 10_000: 0.3}
    assert {step: pytest.approx(schedule.at(step)) for step in at} == at
    falling = WeightSchedule(start=0.3, step=-0.1, every=10, end=0.1)
    assert [round(falling.at(step), 6) for step in (0, 10, 20, 30)] == [0.3, 0.2, 0.1, 0.1]
    objective = make_objective(MinMaxConfig(latency_weight=schedule), BOUNDS)
    assert objective.reward(0.0, 1, 30, 0) == pytest.approx(0.1)
    assert objective.reward(0.0, 1, 30, 4000) == pytest.approx(0.3)


def test_schedules_that_never_arrive_are_refused() -> None:
    with pytest.raises(ValidationError, match="never reaches"):
        WeightSchedule(start=0.1, step=-0.05, every=10, end=0.3)
    with pytest.raises(ValidationError, match="never reaches"):
        WeightSchedule(start=0.1, step=0, every=10, end=0.3)
    assert WeightSchedule(start=0.1, step=0, every=1, end=0.1).at(5) == 0.1


OBJECTIVES = [
    make_objective(MinMaxConfig(), BOUNDS),
    make_objective(MinMaxConfig(accuracy_floor=0.8), BOUNDS),
    make_objective(
        MinMaxConfig(latency_weight=WeightSchedule(start=0, step=1, every=2, end=3)), BOUNDS
    ),
    make_objective(InverseConfig(accuracy_floor=0.3), BOUNDS),
    make_objective(MnasNetConfig(target_latency_ms=2), None),
    make_objective(MnasNetConfig(target_latency_ms=2, mode="hard"), None),
]
positive = st.floats(1e-6, 1e6)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
@given(st.floats(0, 1), positive, positive, st.integers(0, 10**6))
def test_failure_is_below_every_real_reward(objective, accuracy, latency, energy, step) -> None:  # type: ignore[no-untyped-def]
    assert math.isfinite(objective.failure_reward)
    assert objective.failure_reward < objective.reward(accuracy, latency, energy, step)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
@given(st.floats(0, 0.99), positive, positive, st.integers(0, 100))
def test_better_is_never_worse(objective, accuracy, latency, energy, step) -> None:  # type: ignore[no-untyped-def]
    reward = objective.reward(accuracy, latency, energy, step)
    assert objective.reward(accuracy + 0.01, latency, energy, step) >= reward
    assert objective.reward(accuracy, latency / 2, energy, step) >= reward - 1e-12
    assert objective.reward(accuracy, latency, energy / 2, step) >= reward - 1e-12


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_impossible_numbers_are_refused(objective) -> None:  # type: ignore[no-untyped-def]
    for accuracy in (-0.1, 1.1, 93.0, float("nan")):
        with pytest.raises(ValueError, match="share"):
            objective.reward(accuracy, 1, 1, 5)
    for latency in (0.0, -1.0, float("nan"), float("inf"), None):
        with pytest.raises(ValueError, match="latency_ms"):
            objective.reward(0.9, latency, 1, 5)


def test_bounds_are_checked() -> None:
    with pytest.raises(ValueError, match="latency_ms: expected 0 < min < max"):
        ObjectiveBounds(latency_min_ms=5, latency_max_ms=5, energy_min_mj=1, energy_max_mj=2)
    with pytest.raises(ValueError, match="bounds"):
        make_objective(MinMaxConfig(), None)
    with pytest.raises(ValueError, match="latency_reference_ms"):
        make_objective(InverseConfig(accuracy_floor=0.5), None)


def test_configs_are_told_apart_and_strict() -> None:
    parse = TypeAdapter(ObjectiveConfig).validate_python
    assert isinstance(parse({"kind": "minmax"}), MinMaxConfig)
    scheduled = parse(
        {
            "kind": "minmax",
            "latency_weight": {"start": 0.1, "step": 0.05, "every": 1000, "end": 0.3},
        }
    )
    assert isinstance(scheduled, MinMaxConfig)
    assert isinstance(scheduled.latency_weight, WeightSchedule)
    for bad in (
        {"kind": "minmax", "alpha": 1},
        {"kind": "maximin"},
        {"kind": "minmax", "accuracy_floor": 1},
        {"kind": "minmax", "accuracy_floor": 0.9, "accuracy_ceiling": 0.9},
        {"kind": "minmax", "accuracy_weight": 0, "latency_weight": 0, "energy_weight": 0},
        {"kind": "minmax", "latency_weight": float("nan")},
        {"kind": "mnasnet"},
    ):
        with pytest.raises(ValidationError):
            parse(bad)


def test_limits_name_what_is_broken() -> None:
    fast, slow = Cost(1.0, 0.1, "predicted"), Cost(3.1, 0.1, "predicted")
    costs = NetworkCosts(
        latency_ms=fast,
        latency_worst_ms=slow,
        energy_mj=fast,
        energy_worst_mj=slow,
        num_params=1000,
        macs=5000,
        size_bytes=4000,
    )
    assert violation(costs, LimitsConfig()) == ""
    assert violation(costs, LimitsConfig(latency_ms=2)) == "latency_ms 3.1 > 2"  # the worst case
    assert violation(costs, LimitsConfig(latency_ms=3.1)) == ""
    assert violation(costs, LimitsConfig(energy_mj=2)) == "energy_mj 3.1 > 2"
    assert violation(costs, LimitsConfig(size_bytes=3999)) == "size_bytes 4000 > 3999"
    assert violation(costs, LimitsConfig(num_params=999)) == "num_params 1000 > 999"
    assert violation(costs, LimitsConfig(macs=4999)) == "macs 5000 > 4999"
    assert not LimitsConfig().any
    assert LimitsConfig(macs=1).any
    with pytest.raises(ValidationError):
        LimitsConfig(latency_ms=0)
