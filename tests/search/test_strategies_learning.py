"""PPO learns: within a small budget it finds what random search does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from envs import CostBounds
from evaluation import Evaluation
from search.strategies import PlainPPOConfig, RandomConfig, StrategyConfig, make_strategy
from search.strategies.keep_schedule import KeepSchedule, KeepScheduleConfig
from tests.search.strategy_toys import toy_bounds, toy_session, toy_space

BUDGET = 96
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def bounds() -> CostBounds:
    return toy_bounds(toy_space(stages=3, layers=2, exits=False))


def search(
    config: StrategyConfig,
    bounds: CostBounds,
    folder: Path,
    seed: int = 0,
    *,
    budget: int = BUDGET,
) -> list[Evaluation]:
    session = toy_session(folder / f"{config.name}-{seed}.db", bounds, budget=budget)
    make_strategy(config, space=bounds.space, bounds=bounds, seed=seed).run(session)
    return session.history


@pytest.mark.slow
def test_ppo_beats_random_search_at_equal_budget(bounds: CostBounds, tmp_path: Path) -> None:
    ppo = [search(PlainPPOConfig(), bounds, tmp_path, seed) for seed in SEEDS]
    control = [search(RandomConfig(), bounds, tmp_path, seed) for seed in SEEDS]

    def best(histories: list[list[Evaluation]]) -> float:
        return float(np.mean([max(e.reward for e in history) for history in histories]))

    def late(histories: list[list[Evaluation]]) -> float:
        return float(np.mean([e.reward for h in histories for e in h[-BUDGET // 4 :]]))

    assert best(ppo) > 0.62
    assert best(ppo) > best(control) + 0.08
    assert late(ppo) > late(control) + 0.06


def test_the_keep_schedule_begins_with_wide_networks(bounds: CostBounds, tmp_path: Path) -> None:
    schedule = KeepScheduleConfig(start=0.8, end=0.3, steps=6, until=0.5)
    config = PlainPPOConfig(epochs=1, keep_schedule=schedule)
    budget = 40
    history = search(config, bounds, tmp_path, budget=budget)
    keeps = [i for i, d in enumerate(bounds.space.decisions) if d.name.endswith(".keep")]
    smallest = [
        min(bounds.space.decisions[i].choices[e.architecture.choices[i]] for i in keeps)
        for e in history
    ]
    rule = KeepSchedule(schedule, bounds.space.decisions)
    for evaluation, ratio in zip(history, smallest, strict=True):
        begun = sum(e.charged for e in history[: evaluation.sequence // 8 * 8])
        assert isinstance(ratio, float)
        assert ratio >= rule.threshold(begun / budget) - 1e-9
    assert min(smallest[:8]) == 1.0
    assert min(smallest) == 0.5
