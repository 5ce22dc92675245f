"""Proximal policy optimisation with action masks, on real rewards alone: what `PPOSearch` is compared with.

Schulman et al. 2017 (arXiv 1707.06347), masks as in Huang and Ontañón 2020 (arXiv 2006.14171), with
sb3-contrib's `MaskablePPO`. One episode is one architecture; γ = λ = 1, since only the last step is rewarded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO

from archspace import Choices
from envs import ArchitectureVecEnv, CostBounds
from evaluation import Evaluation, LedgerSession, Objective
from search.strategies.agent import AgentCheckpoints, make_agent, without_known
from search.strategies.keep_schedule import KeepSchedule
from search.strategies.plain_ppo_config import PlainPPOConfig
from search.strategies.ppo_checkpoint import capture, restore
from search.strategies.preference import preference_weights
from search.strategies.process_state import OutsideSession, SeparateState
from search.strategies.reward_scaling import RewardScaler
from search.strategy import Strategy

_log = logging.getLogger(__name__)

BOOST = 1.5
MOST_BOOSTS = 12


class PlainPPOSearch(Strategy):
    """Decides `num_envs` architectures in lockstep, evaluates them in one call, updates, and so on.

    Rewards are normalised by all rewards seen; the weights of the entropy and the learning rate go linearly
    from their start to their end with the share of the budget spent. A checkpoint is written before each
    rollout; `run` goes on from the latest usable one, the ledger's log answering for the open rollout.

    Args:
        config: see `PlainPPOConfig`.
        bounds: the space with its additive costs and hard limits.
        seed: of the agent.
        checkpoint_dir: where checkpoints go; without one, a stopped search is replayed from the start.
        objective: its weights are shown to the agent.
    """

    name: ClassVar[str] = "ppo-plain"

    def __init__(
        self,
        config: PlainPPOConfig,
        bounds: CostBounds,
        seed: int,
        checkpoint_dir: Path | None = None,
        objective: Objective | None = None,
    ) -> None:
        super().__init__(bounds, seed)
        self._config = config
        self._objective = objective
        self._length = len(self.space.decisions)
        self._checkpoints = AgentCheckpoints(checkpoint_dir, config, bounds, seed)
        self._keep = (
            KeepSchedule(config.keep_schedule, self.space.decisions)
            if config.keep_schedule
            else None
        )
        self._scaler = RewardScaler(config.reward_scaling)
        self._known: set[Choices] = set()
        self._weights = preference_weights(objective, 0)
        self._progress = 0.0

    def search(self, session: LedgerSession) -> None:
        state = SeparateState()
        with state.inside():
            env: ArchitectureVecEnv[Evaluation] = ArchitectureVecEnv(
                OutsideSession(session, state),
                self.bounds,
                self._config.num_envs,
                preference=lambda: self._weights,
                mask_filter=self._allowed,
                reward_rule=self._rewards,
            )
            model = self._model(env)
            self._resume(session, model, env)
            while True:
                self._begin_rollout(session, model, env)
                steps = self._config.num_envs * self._config.episodes * self._length
                model.learn(steps, reset_num_timesteps=False, log_interval=None)

    def _model(self, env: ArchitectureVecEnv[Evaluation]) -> MaskablePPO:
        config = self._config
        rollout = config.num_envs * config.episodes * self._length
        return make_agent(
            env,
            config,
            learning_rate=lambda _: _between(
                config.learning_rate, config.learning_rate_end, self._progress
            ),
            n_steps=config.episodes * self._length,
            batch_size=config.minibatch or rollout,
            seed=self.seed % 2**32,
        )

    def _resume(
        self, session: LedgerSession, model: MaskablePPO, env: ArchitectureVecEnv[Evaluation]
    ) -> None:
        self._scaler = RewardScaler(self._config.reward_scaling)
        self._known = set()
        self._weights = preference_weights(self._objective, 0)
        checkpoint = self._checkpoints.start(session)
        if checkpoint is not None:
            restore(checkpoint, model, env)
            seen = checkpoint.state["rewards"]
            self._scaler = RewardScaler(self._config.reward_scaling, seen)
            self._remember(session.history)

    def _begin_rollout(
        self, session: LedgerSession, model: MaskablePPO, env: ArchitectureVecEnv[Evaluation]
    ) -> None:
        config = self._config
        self._progress = session.spent / session.budget
        entropy = _between(config.entropy, config.entropy_end, self._progress)
        model.ent_coef = entropy * self._entropy_boost(session.history)
        self._checkpoints.save(
            lambda: capture(model, env, sequence=len(session.history), rewards=self._scaler.seen)
        )

    def _entropy_boost(self, history: Sequence[Evaluation]) -> float:
        """1.5 to the power of the number of latest batches in a row with less than half new proposals.

        A policy that has collapsed proposes what it knows; repeats are free, but teach nothing.
        """
        size, stale = self._config.num_envs * self._config.episodes, 0
        while (stale + 1) * size <= len(history) and stale < MOST_BOOSTS:
            end = len(history) - stale * size
            if sum(evaluation.is_new for evaluation in history[end - size : end]) * 2 >= size:
                break
            stale += 1
        return float(BOOST**stale)

    def _allowed(self, prefix: Choices, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self._keep:
            valid = self._keep.allowed(len(prefix), valid, self._progress)
        if not self._config.avoid_known or len(prefix) < self._length - 1:
            return valid
        return without_known(prefix, valid, self._known)

    def _rewards(self, evaluations: Sequence[Evaluation]) -> NDArray[np.float64]:
        self._remember(evaluations)
        return self._scaler.scale(
            [evaluation.reward for evaluation in evaluations],
            is_new=[evaluation.is_new for evaluation in evaluations],
        )

    def _remember(self, evaluations: Sequence[Evaluation]) -> None:
        if evaluations:
            self._known.update(evaluation.architecture.choices for evaluation in evaluations)
            self._weights = preference_weights(self._objective, evaluations[-1].sequence + 1)


def _between(start: float, end: float, progress: float) -> float:
    return start + (end - start) * min(max(progress, 0.0), 1.0)
