"""Many episodes in lockstep, all finished architectures scored in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from archspace import Choices
from envs.architecture_env import DEFAULT_WEIGHTS, most_choices
from envs.cost_bounds import CostBounds
from envs.limits_mask import LimitedSpace
from envs.observation import NUM_WEIGHTS, ObservationEncoder

StepReturn = tuple[
    NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]
]
Indices = None | int | Iterable[int]


class Scored(Protocol):
    """What became of one architecture: an `Evaluation`, or what a model imagines."""

    @property
    def reward(self) -> float:
        """The larger, the better."""


S = TypeVar("S", bound=Scored)


class Scorer(Protocol[S]):
    """What scores a batch: a session of the ledger, something around one, or a model."""

    def evaluate(self, batch: Sequence[Choices]) -> list[S]:
        """One evaluation a proposal, in order. May raise BudgetExhausted or SpaceExhausted."""


MaskFilter = Callable[[Choices, NDArray[np.bool_]], NDArray[np.bool_]]
"""(prefix, valid choices of the next decision) → those of them to allow, at least one."""


def raw_rewards(evaluations: Sequence[Scored]) -> NDArray[np.float64]:
    """The objective's values as they are."""
    return np.array([evaluation.reward for evaluation in evaluations], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class VecEnvState:
    """Where the episodes stand: the choices made so far, of equal length. There is no other state."""

    prefixes: tuple[Choices, ...]


class ArchitectureVecEnv(VecEnv, Generic[S]):
    """`num_envs` copies of `ArchitectureEnv` that make their k-th decision together.

    Observations, actions and masks are `ArchitectureEnv`'s. At the last step all finished architectures go to
    ``session.evaluate(batch)`` in one call, so that all workers have something to do. Every episode ends then,
    and the observations returned are the next episodes' first.

    What `session` raises (BudgetExhausted, SpaceExhausted) comes out of `step`.

    Args:
        session: gives the scores.
        bounds: the space with its additive costs and hard limits.
        num_envs: architectures a batch.
        preference: gives the preference weights to show to the agent, (3,) for all or (num_envs, 3); they may change
            between episodes.
        own_limits: gives each episode's own limits, (num_envs, `OWN_LIMITS`), infinite where there is none; they may
            change between episodes. The masks keep them as they keep hard limits.
        mask_filter: further restriction of the masks.
        reward_rule: the batch's evaluations → what the agent sees as their rewards, same order.
    """

    def __init__(
        self,
        session: Scorer[S],
        bounds: CostBounds,
        num_envs: int,
        *,
        preference: Callable[[], Sequence[float] | NDArray[np.float64]] = lambda: DEFAULT_WEIGHTS,
        own_limits: Callable[[], NDArray[np.float64] | None] = lambda: None,
        mask_filter: MaskFilter | None = None,
        reward_rule: Callable[[Sequence[S]], NDArray[np.float64]] = raw_rewards,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"expected at least 1 environment, got {num_envs}")
        self.space = LimitedSpace(bounds)
        self.render_mode = None
        self._session = session
        self._preference = preference
        self._own_limits = own_limits
        self._mask_filter = mask_filter
        self._reward_rule = reward_rule
        self._encoder = ObservationEncoder(bounds)
        self._num_actions = most_choices(self.space)
        self._prefixes: list[Choices] = [()] * num_envs
        self._actions: NDArray[np.intp] | None = None
        super().__init__(num_envs, self._encoder.space, spaces.Discrete(self._num_actions))

    def action_masks(self) -> NDArray[np.bool_]:
        """Valid actions of every environment: bool, shape (num_envs, n)."""
        masks = np.zeros((self.num_envs, self._num_actions), dtype=np.bool_)
        valid = self._valid()
        if self._mask_filter is not None:
            for i in np.flatnonzero(valid.sum(axis=1) > 1):
                valid[i] = self._mask_filter(self._prefixes[i], valid[i])
                assert valid[i].any(), f"the mask filter leaves no choice: {self._prefixes[i]}"
        masks[:, : valid.shape[1]] = valid
        return masks

    def _valid(self) -> NDArray[np.bool_]:
        """(environments, choices of the next decision), before `mask_filter`."""
        return self.space.masks_within(self._rows(), self._own_limits())

    def _rows(self) -> NDArray[np.intp]:
        """The prefixes: (environments, decisions made)."""
        return np.array(self._prefixes, dtype=np.intp).reshape(self.num_envs, -1)

    def reset(self) -> NDArray[np.float32]:
        self._prefixes = [()] * self.num_envs
        self._reset_seeds()
        self._reset_options()
        return self._observations()

    def step_async(self, actions: NDArray[Any]) -> None:
        self._actions = np.asarray(actions).reshape(self.num_envs)

    def step_wait(self) -> StepReturn:
        assert self._actions is not None, "step_wait without step_async"
        actions, self._actions = self._actions, None
        allowed = self._valid()
        assert allowed[np.arange(self.num_envs), actions].all(), "the agent ignored its mask"
        self._prefixes = [
            (*prefix, int(action)) for prefix, action in zip(self._prefixes, actions, strict=True)
        ]
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        rewards = np.zeros(self.num_envs, dtype=np.float32)
        finished = len(self._prefixes[0]) == len(self.space.decisions)
        if finished:
            rewards[:] = self._finish(infos)
        dones = np.full(self.num_envs, finished)
        return self._observations(), rewards, dones, infos

    def _finish(self, infos: list[dict[str, Any]]) -> NDArray[np.float64]:
        evaluations = self._session.evaluate(list(self._prefixes))
        assert len(evaluations) == self.num_envs, "the session returned another number of results"
        rewards = self._reward_rule(evaluations)
        last = self._observations()
        for i, info in enumerate(infos):
            info["terminal_observation"] = last[i]
            info["evaluation"] = evaluations[i]
            length = len(self.space.decisions)
            info["episode"] = {"r": evaluations[i].reward, "l": length, "t": 0.0}
        self._prefixes = [()] * self.num_envs
        return rewards

    def _observations(self) -> NDArray[np.float32]:
        weights = np.broadcast_to(np.asarray(self._preference()), (self.num_envs, NUM_WEIGHTS))
        return self._encoder.encode_many(self._rows(), weights, self._own_limits())

    def get_state(self) -> VecEnvState:
        """Where the episodes stand now; give it to `set_state` to go on from there."""
        return VecEnvState(tuple(self._prefixes))

    def set_state(self, state: VecEnvState) -> None:
        """Put the episodes where `get_state` found them."""
        lengths = {len(prefix) for prefix in state.prefixes}
        if len(state.prefixes) != self.num_envs or len(lengths) != 1:
            raise ValueError(
                f"expected {self.num_envs} prefixes of one length, got {len(state.prefixes)} "
                f"of lengths {sorted(lengths)}"
            )
        self._prefixes = list(state.prefixes)
        self._actions = None

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Indices = None) -> list[Any]:
        if attr_name == "action_masks":
            return [self.action_masks] * len(list(self._get_indices(indices)))
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Indices = None) -> None:
        raise AttributeError(f"the environments share everything: set {attr_name} on this object")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Indices = None, **method_kwargs: Any
    ) -> list[Any]:
        if method_name != "action_masks":
            raise AttributeError(f"no method {method_name!r}; there is 'action_masks'")
        masks = self.action_masks()
        return [masks[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Indices = None) -> list[bool]:
        return [False] * len(list(self._get_indices(indices)))
