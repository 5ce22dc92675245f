"""One architecture an episode, one decision a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from archspace import Choices
from envs.cost_bounds import CostBounds
from envs.limits_mask import LimitedSpace
from envs.observation import NUM_WEIGHTS, ObservationEncoder

DEFAULT_WEIGHTS = (0.6, 0.3, 0.1)


class ArchitectureEnv(gymnasium.Env[NDArray[np.float32], np.int64]):
    """Make the decisions of a search space in order; the finished architecture's score is the only reward.

    ## Action space
    `Discrete(n)`, n the largest number of choices of any decision: the index of the choice. `action_masks()`
    says which are valid now: those that the space allows and that can still hold the hard limits. An
    action that is not valid ends the episode with `invalid_reward` and ``info["invalid_action"]``.

    ## Observation space
    `Box`, float32, shape (C + D + 7,), for C choices in all and D decisions:

    | from | what | low | high |
    |---|---|---|---|
    | 0 | decisions so far: one-hot each, zeros where not made yet | 0 | 1 |
    | C | position: one-hot over decisions, zeros at the end | 0 | 1 |
    | C + D | least latency of any completion / limit (without a limit: / the space's largest) | 0 | 10 |
    | C + D + 1 | least energy, likewise | 0 | 10 |
    | C + D + 2 | least number of parameters, likewise | 0 | 10 |
    | C + D + 3 | least multiply-accumulates, likewise | 0 | 10 |
    | C + D + 4 | preference weights: accuracy, latency, energy | 0 | 1 |

    Costs are 0 where there is no cost model. In `ArchitectureVecEnv` an episode may have limits of its own.

    ## Rewards
    0 until the last decision, then `score(choices)`.

    ## Starting state and episode end
    No decision made. Terminates after D steps (earlier only at an invalid action); never truncates. Nothing
    is random, so the seed changes nothing.

    ## Info
    After the last step ``info["choices"]`` is the finished tuple of choices.

    Args:
        bounds: the space with its additive costs and hard limits.
        score: complete, valid choices → reward. For a session of the ledger:
            ``lambda choices: session.evaluate([choices])[0].reward``.
        weights: preference weights shown to the agent, each in [0, 1].
        invalid_reward: reward of an action that is not valid.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        *,
        bounds: CostBounds,
        score: Callable[[Choices], float],
        weights: Sequence[float] = DEFAULT_WEIGHTS,
        invalid_reward: float = -1.0,
    ) -> None:
        if len(weights) != NUM_WEIGHTS or not all(0 <= weight <= 1 for weight in weights):
            raise ValueError(
                f"expected {NUM_WEIGHTS} preference weights (accuracy, latency, energy) in [0, 1], "
                f"got {tuple(weights)}"
            )
        self.space = LimitedSpace(bounds)
        self._score = score
        self._weights = tuple(weights)
        self._invalid_reward = invalid_reward
        self._encoder = ObservationEncoder(bounds)
        self._prefix: Choices = ()
        self.observation_space = self._encoder.space
        self.action_space = spaces.Discrete(most_choices(self.space))

    def action_masks(self) -> NDArray[np.bool_]:
        """Valid actions now: bool, shape (n,). All False once the episode is over."""
        mask = np.zeros(int(self.action_space.n), dtype=np.bool_)  # type: ignore[attr-defined]
        if len(self._prefix) < len(self.space.decisions):
            valid = self.space.mask(self._prefix)
            mask[: len(valid)] = valid
        return mask

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._prefix = ()
        return self._encoder.encode(self._prefix, self._weights), {}

    def step(
        self, action: np.int64
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if len(self._prefix) == len(self.space.decisions):
            raise gymnasium.error.ResetNeeded("the episode is over: call reset() first")
        if not self.action_masks()[action]:
            observation = self._encoder.encode(self._prefix, self._weights)
            return observation, self._invalid_reward, True, False, {"invalid_action": True}
        self._prefix = (*self._prefix, int(action))
        observation = self._encoder.encode(self._prefix, self._weights)
        if len(self._prefix) < len(self.space.decisions):
            return observation, 0.0, False, False, {}
        reward = float(self._score(self._prefix))
        return observation, reward, True, False, {"choices": self._prefix}


def most_choices(space: LimitedSpace) -> int:
    """The largest number of choices of any decision."""
    return max(len(decision.choices) for decision in space.decisions)
