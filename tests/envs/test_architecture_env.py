"""The environment keeps Gymnasium's and Stable-Baselines3's contracts, and shows what its table says."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from archspace import Choices, NasBench201Space
from envs import ENV_ID, ArchitectureEnv, CostBounds
from evaluation import LimitsConfig
from tests.search.strategy_toys import toy_bounds, toy_space

SPACE = toy_space()
BOUNDS = toy_bounds(SPACE, latency_ms=0.2)


def score(choices: Choices) -> float:
    return float(sum(choices))


def make(bounds: CostBounds = BOUNDS) -> ArchitectureEnv:
    return ArchitectureEnv(bounds=bounds, score=score)


NB201 = CostBounds(NasBench201Space(), None, LimitsConfig())


@pytest.mark.parametrize("bounds", [BOUNDS, NB201], ids=["staged", "nasbench201"])
def test_passes_both_checkers(bounds: CostBounds) -> None:
    check_env(make(bounds), skip_render_check=True)
    sb3_check_env(make(bounds))


def test_is_registered() -> None:
    env = gymnasium.make(ENV_ID, bounds=BOUNDS, score=score)
    assert isinstance(env.unwrapped, ArchitectureEnv)
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert info == {}


def test_an_episode_makes_every_decision_once_and_is_scored_at_the_end() -> None:
    env = make()
    env.reset()
    rng = np.random.default_rng(0)
    choices: list[int] = []
    for position in range(len(SPACE.decisions)):
        action = int(rng.choice(np.flatnonzero(env.action_masks())))
        choices.append(action)
        _, reward, terminated, truncated, info = env.step(np.int64(action))
        is_last = position == len(SPACE.decisions) - 1
        assert (terminated, truncated) == (is_last, False)
        assert reward == (sum(choices) if is_last else 0)
    assert info["choices"] == tuple(choices)
    assert SPACE.check(choices) == tuple(choices)
    assert not env.action_masks().any()
    with pytest.raises(gymnasium.error.ResetNeeded, match="reset"):
        env.step(np.int64(0))


def test_an_invalid_action_ends_the_episode_unscored() -> None:
    env = ArchitectureEnv(bounds=BOUNDS, score=score, invalid_reward=-7.0)
    env.reset()
    mask = env.action_masks()
    while mask.all():
        env.step(np.int64(0))
        mask = env.action_masks()
    _, reward, terminated, _, info = env.step(np.int64(np.flatnonzero(~mask)[0]))
    assert (reward, terminated, info) == (-7.0, True, {"invalid_action": True})


def test_the_observation_is_what_the_table_says() -> None:
    env = ArchitectureEnv(bounds=BOUNDS, score=score, weights=(0.5, 0.4, 0.1))
    sizes = [len(decision.choices) for decision in SPACE.decisions]
    num_choices, num_decisions = sum(sizes), len(sizes)
    first, _ = env.reset()
    assert first.shape == (num_choices + num_decisions + 7,)
    assert not first[:num_choices].any()
    action = int(np.flatnonzero(env.action_masks())[-1])
    second, *_ = env.step(np.int64(action))
    assert np.flatnonzero(second[:num_choices]).tolist() == [action]
    position = second[num_choices : num_choices + num_decisions]
    assert np.flatnonzero(position).tolist() == [1]
    costs = second[num_choices + num_decisions : -3]
    np.testing.assert_allclose(costs, BOUNDS.features(np.array([[action]]))[0])
    np.testing.assert_allclose(second[-3:], [0.5, 0.4, 0.1])
    assert not first[:num_choices].any(), "an observation handed out must not change"


def test_masks_are_those_of_the_limits() -> None:
    tight = make(toy_bounds(SPACE, latency_ms=1e-6))
    tight.reset()
    for _ in SPACE.decisions:
        assert tight.action_masks().sum() == 1
        tight.step(np.int64(np.flatnonzero(tight.action_masks())[0]))


@pytest.mark.parametrize("weights", [(1.0, 0.0), (2.0, 0.0, 0.0), (-0.1, 0.5, 0.6)])
def test_wrong_weights_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="3 preference weights"):
        ArchitectureEnv(bounds=BOUNDS, score=score, weights=weights)
