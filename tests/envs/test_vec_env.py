"""Many episodes in lockstep are the same episodes, scored in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported

import envs
from archspace import Choices
from envs import ArchitectureEnv, ArchitectureVecEnv, VecEnvState
from evaluation import BudgetExhausted, Evaluation
from tests.search.strategy_toys import ToyCostModel, toy_bounds, toy_space

SPACE = toy_space()
BOUNDS = toy_bounds(SPACE, latency_ms=0.15)
LENGTH = len(SPACE.decisions)


class Recorder:
    """Scores the sum of the choices and keeps what it was asked."""

    def __init__(self, budget: int = 10**6) -> None:
        self.batches: list[list[Choices]] = []
        self._budget = budget

    def evaluate(self, batch: Sequence[Choices]) -> list[Evaluation]:
        if sum(map(len, self.batches)) + len(batch) > self._budget:
            raise BudgetExhausted("spent")
        self.batches.append(list(batch))
        return [
            Evaluation(
                sequence=i,
                architecture=SPACE.architecture(choices),
                result=None,
                costs=None,
                reward=float(sum(choices)),
                charged=1.0,
                is_new=True,
            )
            for i, choices in enumerate(batch)
        ]


def random_actions(env: ArchitectureVecEnv, rng: np.random.Generator) -> NDArray[np.intp]:
    return np.array([rng.choice(np.flatnonzero(mask)) for mask in get_action_masks(env)])


def test_equals_single_environments() -> None:
    recorder = Recorder()
    env = ArchitectureVecEnv(recorder, BOUNDS, 3)
    singles = [ArchitectureEnv(bounds=BOUNDS, score=lambda c: float(sum(c))) for _ in range(3)]
    observations: NDArray[Any] = env.reset()
    expected = np.stack([single.reset()[0] for single in singles])
    rng = np.random.default_rng(0)
    for _ in range(LENGTH):
        np.testing.assert_array_equal(observations, expected)
        np.testing.assert_array_equal(
            get_action_masks(env), [single.action_masks() for single in singles]
        )
        actions = random_actions(env, rng)
        kept = observations.copy()
        previous = observations
        env.step_async(actions)
        observations, rewards, dones, infos = env.step_wait()
        np.testing.assert_array_equal(previous, kept, "observations handed out must not change")
        steps = [single.step(a) for single, a in zip(singles, actions, strict=True)]
        expected = np.stack([s[0] for s in steps])
        assert rewards.tolist() == [s[1] for s in steps]
        assert dones.tolist() == [s[2] for s in steps]
    assert dones.all()
    terminal = np.stack([info["terminal_observation"] for info in infos])
    np.testing.assert_array_equal(terminal, expected)
    np.testing.assert_array_equal(observations, env.reset())
    assert infos[0]["episode"]["l"] == LENGTH


def test_all_finished_architectures_go_out_in_one_call() -> None:
    recorder = Recorder()
    env = ArchitectureVecEnv(recorder, BOUNDS, 5)
    env.reset()
    rng = np.random.default_rng(1)
    for _ in range(2 * LENGTH):
        env.step(random_actions(env, rng))
    assert [len(batch) for batch in recorder.batches] == [5, 5]
    for choices in recorder.batches[0] + recorder.batches[1]:
        SPACE.check(choices)


def test_the_state_can_be_put_back() -> None:
    env = ArchitectureVecEnv(Recorder(), BOUNDS, 3)
    env.reset()
    rng = np.random.default_rng(2)
    for _ in range(4):
        env.step(random_actions(env, rng))
    state = env.get_state()
    masks = env.action_masks()
    observations = env.step(random_actions(env, np.random.default_rng(3)))[0]
    other = ArchitectureVecEnv(Recorder(), BOUNDS, 3)
    other.reset()
    other.set_state(state)
    np.testing.assert_array_equal(other.action_masks(), masks)
    again = other.step(random_actions(other, np.random.default_rng(3)))[0]
    np.testing.assert_array_equal(again, observations)


@pytest.mark.parametrize("prefixes", [((), ()), ((), (0,), ())])
def test_a_state_that_does_not_fit_is_refused(prefixes: tuple[Choices, ...]) -> None:
    env = ArchitectureVecEnv(Recorder(), BOUNDS, 3)
    with pytest.raises(ValueError, match="expected 3 prefixes of one length"):
        env.set_state(VecEnvState(prefixes))


def test_filters_rewards_and_preferences_are_used() -> None:
    weights = [(1.0, 0.0, 0.0)]
    env = ArchitectureVecEnv(
        Recorder(),
        toy_bounds(SPACE),
        2,
        preference=lambda: weights[0],
        mask_filter=lambda prefix, valid: np.arange(len(valid)) == np.flatnonzero(valid)[-1],
        reward_rule=lambda evaluations: np.array([1.5, -2.5]),
    )
    assert env.reset()[0, -3:].tolist() == [1.0, 0.0, 0.0]
    weights[0] = (0.0, 0.0, 1.0)
    for _ in range(LENGTH):
        masks = env.action_masks()
        assert (masks.sum(axis=1) == 1).all()
        env.step_async(masks.argmax(axis=1))
        observations, rewards, *_ = env.step_wait()
    assert rewards.tolist() == [1.5, -2.5]
    assert observations[0, -3:].tolist() == [0.0, 0.0, 1.0]


def test_the_end_of_the_budget_comes_through() -> None:
    env = ArchitectureVecEnv(Recorder(budget=1), BOUNDS, 2)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(LENGTH - 1):
        env.step(random_actions(env, rng))
    with pytest.raises(BudgetExhausted):
        env.step(random_actions(env, rng))


def test_what_stable_baselines_asks_of_a_vec_env() -> None:
    env = ArchitectureVecEnv(Recorder(), BOUNDS, 2)
    assert is_masking_supported(env)
    assert not env.has_attr("no_such_attribute")
    assert env.env_is_wrapped(object) == [False, False]
    assert env.seed(3) == [3, 4]
    with pytest.raises(AttributeError, match="action_masks"):
        env.env_method("render")
    env.close()
    with pytest.raises(ValueError, match="at least 1"):
        ArchitectureVecEnv(Recorder(), BOUNDS, 0)


def test_the_public_face_is_complete_and_sorted() -> None:
    assert sorted(envs.__all__, key=lambda name: (not name.isupper(), name)) == envs.__all__
    for name in envs.__all__:
        assert getattr(envs, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(envs, "no_such" + "_name")


def test_episodes_keep_limits_of_their_own() -> None:
    bounds = toy_bounds(SPACE)
    costs = ToyCostModel()
    own = np.array([[0.15, np.inf], [np.inf, 0.1], [np.inf, np.inf], [1e-9, np.inf]])
    recorder = Recorder()
    env = ArchitectureVecEnv(recorder, bounds, 4, own_limits=lambda: own)
    rng = np.random.default_rng(0)
    first = env.reset()
    unlimited = ArchitectureVecEnv(recorder, bounds, 4).reset()
    np.testing.assert_array_equal(first[2], unlimited[2])
    assert (first[:2] != unlimited[:2]).any(axis=1).all(), "the agent is shown its limit"
    for _ in range(20 * LENGTH):
        env.step(random_actions(env, rng))
    assert len(recorder.batches) == 20
    for fast, thrifty, _, least in recorder.batches:
        assert costs.predict([SPACE.resolve(fast)])[0].latency_ms[-1].value <= 0.15
        assert costs.predict([SPACE.resolve(thrifty)])[0].energy_mj[-1].value <= 0.1
        assert least == SPACE.cheapest(costs.block_latency_ms), "nothing fits: the cheapest stays"
    assert len({free for _, _, free, _ in recorder.batches}) > 10
