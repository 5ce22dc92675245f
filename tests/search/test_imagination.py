"""Imagined episodes: preferences, rewards, and what becomes of unknown costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs import CostBounds
from search.strategies import PPOConfig
from search.strategies.imagination import (
    Imagination,
    Imagined,
    limit_ranges,
    limits_from_json,
    limits_to_json,
    standardised,
)
from search.surrogates import AccuracySurrogate, CostCorrection
from tests.search.strategy_toys import toy_bounds, toy_session, toy_space

SPACE = toy_space()
BOUNDS = toy_bounds(SPACE)


def imagination(path: Path, config: PPOConfig) -> Imagination:
    session = toy_session(path, BOUNDS, budget=20, latency_weight=0.3)
    rng = np.random.default_rng(0)
    children = session.evaluate([SPACE.sample(rng) for _ in range(12)])
    surrogate = AccuracySurrogate(SPACE)
    surrogate.fit([e.architecture.choices for e in children], [e.accuracy for e in children])
    costs = CostCorrection(SPACE, 0, most_for_one_process=100)
    return Imagination(config, BOUNDS, session, surrogate, costs, np.random.default_rng(1))


@pytest.mark.parametrize(("share", "own"), [(0.0, 8), (0.25, 6), (1.0, 0)])
def test_so_many_episodes_have_random_preferences(tmp_path: Path, share: float, own: int) -> None:
    made = imagination(tmp_path / "l.db", PPOConfig(imagined_envs=8, sampled_preferences=share))
    is_own = np.isclose(made.weights, (1 / 1.3, 0.3 / 1.3, 0)).all(axis=1)
    assert is_own.sum() == own
    np.testing.assert_allclose(made.weights.sum(axis=1), 1)
    assert (made.weights >= 0).all()


@pytest.mark.parametrize(("share", "limited"), [(0.0, 0), (0.5, 4), (1.0, 8)])
def test_so_many_episodes_want_accuracy_alone_under_a_limit(
    tmp_path: Path, share: float, limited: int
) -> None:
    config = PPOConfig(imagined_envs=16, sampled_preferences=0.5, sampled_limits=share)
    made = imagination(tmp_path / "l.db", config)
    if not limited:
        assert made.limits is None
        return
    assert made.limits is not None
    is_limited = np.isfinite(made.limits).any(axis=1)
    assert is_limited.sum() == limited
    assert (np.isfinite(made.limits).sum(axis=1) <= 1).all()
    np.testing.assert_array_equal(made.weights[is_limited], [[1, 0, 0]] * limited)
    ranges = limit_ranges(BOUNDS)
    assert ranges is not None
    for limits, (low, high) in zip(made.limits.T, ranges, strict=True):
        known = limits[np.isfinite(limits)]
        assert ((low <= known) & (known <= high)).all()
    np.testing.assert_array_equal(limits_from_json(limits_to_json(made.limits)), made.limits)


def test_without_a_cost_model_there_are_no_limits(tmp_path: Path) -> None:
    assert limit_ranges(CostBounds(SPACE, None, BOUNDS.limits)) is None
    assert limits_from_json(limits_to_json(None)) is None


def test_for_the_front_all_preferences_are_random_and_energy_has_none(tmp_path: Path) -> None:
    config = PPOConfig(imagined_envs=8, goal="front", sampled_limits=0)
    made = imagination(tmp_path / "l.db", config)
    assert (made.weights[:, 2] == 0).all()
    assert len(np.unique(made.weights[:, 0])) == 8


def test_what_was_imagined_is_remembered_and_preferences_change(tmp_path: Path) -> None:
    made = imagination(tmp_path / "l.db", PPOConfig(imagined_envs=8))
    before = made.weights.copy()
    rng = np.random.default_rng(2)
    batch = [SPACE.sample(rng) for _ in range(8)]
    imagined = made.evaluate(batch)
    assert len(imagined) == 8
    assert all(np.isfinite(each.reward) for each in imagined)
    assert set(made.samples) == set(batch)
    assert not np.array_equal(made.weights, before)
    made.forget()
    assert made.samples == {}


def test_standardised_rewards() -> None:
    found = standardised([Imagined(value) for value in (1.0, 2.0, 3.0)])
    assert found.mean() == pytest.approx(0)
    assert found.std() == pytest.approx(1)
    assert standardised([Imagined(5.0)] * 4).tolist() == [0, 0, 0, 0]
    many = [Imagined(0.0)] * 99 + [Imagined(1000.0)]
    assert standardised(many).max() == 3
