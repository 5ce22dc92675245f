"""Proximal policy optimisation over a surrogate of accuracy: the project's own searcher.

After DyNA-PPO (Angermueller et al., "Model-based reinforcement learning for biological sequence design", ICLR 2020):
the policy learns on imagined episodes, scored by the surrogate and the cost model, and its samples are ranked with
mutants of the best and random architectures; the most promising are evaluated. Where the surrogate does not
validate, the policy decides alone and learns from real rewards.

PPO: Schulman et al. 2017 (arXiv 1707.06347), masks as in Huang and Ontañón 2020 (arXiv 2006.14171), with
sb3-contrib's `MaskablePPO`. One episode is one architecture; γ = λ = 1, since only the last step is rewarded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO

from archspace import Choices
from envs import ArchitectureVecEnv, CostBounds, ObservationEncoder
from evaluation import Evaluation, LedgerSession
from search.analysis import Belief, Learnt, Ranking
from search.strategies.agent import AgentCheckpoints, make_agent, without_known
from search.strategies.checkpoint_store import Checkpoint
from search.strategies.imagination import Imagination, Imagined, standardised
from search.strategies.keep_schedule import KeepSchedule
from search.strategies.model_based_config import PPOConfig
from search.strategies.ppo_checkpoint import capture, restore
from search.strategies.preference import preference_weights
from search.strategies.reward_scaling import RewardScaler
from search.strategies.surrogate_search import SurrogateSearch
from search.surrogates import Hyperparameters

_log = logging.getLogger(__name__)

_BELIEVED = 64


class PPOSearch(SurrogateSearch):
    """See the file's head.

    The policy is shown preference weights and learns for the objective's and for random ones, so that one policy
    serves every trade-off. It stays warm from batch to batch; its entropy is kept high, for a policy that has
    collapsed proposes what is known. A checkpoint is written before each batch; `run` goes on from the latest usable
    one, the ledger's log answering for the open batch.

    Args:
        config: see `PPOConfig`.
        bounds: the space with its additive costs and hard limits.
        seed: of all random numbers.
        checkpoint_dir: where checkpoints go; without one, a stopped search is replayed from the start.
    """

    name: ClassVar[str] = "ppo"

    def __init__(
        self,
        config: PPOConfig,
        bounds: CostBounds,
        seed: int,
        checkpoint_dir: Path | None = None,
    ) -> None:
        super().__init__(config, bounds, seed)
        self._config = config
        self._checkpoints = AgentCheckpoints(checkpoint_dir, config, bounds, seed)
        self._keep = (
            KeepSchedule(config.keep_schedule, self.space.decisions)
            if config.keep_schedule
            else None
        )
        self._progress = 0.0

    def begin(self, session: LedgerSession) -> None:
        super().begin(session)
        config = self._config
        self._imagination = Imagination(config, session, self.surrogate, self.rng)
        self._env: ArchitectureVecEnv[Imagined] = ArchitectureVecEnv(
            self._imagination,
            self.bounds,
            config.imagined_envs,
            preference=lambda: self._imagination.weights,
            mask_filter=self._allowed,
            reward_rule=standardised,
        )
        episodes = config.imagined_steps / (config.imagined_envs * len(self.space.decisions))
        self._model = self._make_model(self._env, max(1, round(episodes)), config.minibatch)
        checkpoint = self._checkpoints.start(session)
        if checkpoint is not None:
            restore(checkpoint, self._model, self._env)
            self._restore(checkpoint.state["search"], session)

    def advance(self, session: LedgerSession) -> None:
        self._progress = session.spent / session.budget
        self._checkpoints.save(lambda: self._taken(session))
        self._imagination.forget()
        super().advance(session)

    def candidates(self, children: Sequence[Evaluation]) -> list[Choices]:
        """Those of `SurrogateSearch`, and what the policy decides while it learns on imagined episodes."""
        self._model.learn(
            self._model.n_steps * self._config.imagined_envs,
            reset_num_timesteps=False,
            log_interval=None,
        )
        samples = self._imagination.samples
        _log.debug("ppo/distinct_samples %d", len(samples))
        own = [choices for choices in samples if choices not in self.known]
        found = dict.fromkeys([*own, *super().candidates(children)])
        return [choices for choices in found if self._keep is None or self._scheduled(choices)]

    def without_surrogate(self, session: LedgerSession, children: Sequence[Evaluation]) -> None:
        """The policy decides a batch and learns from its rewards."""
        scaler = RewardScaler("rank", [child.reward for child in children])
        env: ArchitectureVecEnv[Evaluation] = ArchitectureVecEnv(
            self.outside(session),
            self.bounds,
            self._config.batch_size,
            preference=lambda: preference_weights(session.objective, len(session.history)),
            mask_filter=self._allowed,
            reward_rule=lambda batch: scaler.scale(
                [e.reward for e in batch], is_new=[e.is_new for e in batch]
            ),
        )
        model = self._make_model(env, 1, env.num_envs * len(self.space.decisions))
        model.policy = self._model.policy
        first = len(session.history)
        try:
            model.learn(model.n_steps * env.num_envs, log_interval=None)
        finally:
            for evaluation in session.history[first:]:
                self.remember(evaluation.architecture.choices)

    def learnt(self, session: LedgerSession) -> Learnt:
        """With the policy's beliefs for the objective's weights, over 64 sampled networks."""
        encoder, rng = ObservationEncoder(self.bounds), np.random.default_rng(self.seed)
        weights = preference_weights(session.objective, len(session.history))
        prefixes: list[Choices] = [()] * _BELIEVED
        beliefs = []
        for decision in self.space.decisions:
            observations = np.stack([encoder.encode(prefix, weights) for prefix in prefixes])
            masks = np.zeros((_BELIEVED, int(self._env.action_space.n)), dtype=np.bool_)  # type: ignore[attr-defined]
            for row, prefix in zip(masks, prefixes, strict=True):
                row[: len(decision.choices)] = self.space.mask(prefix)
            with torch.no_grad():
                policy = self._model.policy.get_distribution(
                    torch.from_numpy(observations), action_masks=masks
                )
            probabilities = policy.distribution.probs.double().numpy()
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            prefixes = [
                (*prefix, int(rng.choice(len(row), p=row)))
                for prefix, row in zip(prefixes, probabilities, strict=True)
            ]
            open_ones = masks.sum(axis=1) > 1
            if open_ones.any():
                means = probabilities[open_ones].mean(axis=0).tolist()
                names = map(str, decision.choices)
                beliefs.append(Belief(decision.name, dict(zip(names, means, strict=False))))
        return replace(super().learnt(session), beliefs=tuple(beliefs))

    def _scheduled(self, choices: Choices) -> bool:
        """Whether the keep schedule allows these now."""
        assert self._keep is not None
        return all(
            self._keep.allowed(i, self.space.mask(choices[:i]), self._progress)[choice]
            for i, choice in enumerate(choices)
        )

    def _allowed(self, prefix: Choices, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if self._keep:
            valid = self._keep.allowed(len(prefix), valid, self._progress)
        if len(prefix) < len(self.space.decisions) - 1:
            return valid
        return without_known(prefix, valid, self.known)

    def _make_model(
        self, env: ArchitectureVecEnv[Any], episodes: int, minibatch: int
    ) -> MaskablePPO:
        config = self._config
        steps = episodes * len(self.space.decisions)
        return make_agent(
            env,
            config,
            learning_rate=config.learning_rate,
            n_steps=steps,
            batch_size=min(minibatch, steps * env.num_envs),
            seed=int(self.rng.integers(2**32)),
        )

    def _taken(self, session: LedgerSession) -> Checkpoint:
        checkpoint = capture(self._model, self._env, sequence=len(session.history), rewards=())
        learnt = self.surrogate.learner.hyperparameters
        own = {
            "rng": self.rng.bit_generator.state,
            "weights": self._imagination.weights.tolist(),
            "rankings": [astuple(ranking) for ranking in self.rankings],
            "known": sorted(list(choices) for choices in self.known),
            "learnt_at": self.surrogate.learner.learnt_at,
            "learnt": learnt and [dict(learnt.log_weights), learnt.log_signal, learnt.log_noise],
        }
        return replace(checkpoint, state={**checkpoint.state, "search": own})

    def _restore(self, state: Mapping[str, Any], session: LedgerSession) -> None:
        self.rng.bit_generator.state = state["rng"]
        self._imagination.weights = np.array(state["weights"])
        for evaluation in session.history:
            self.remember(evaluation.architecture.choices)
        self.known.update(tuple(choices) for choices in state["known"])
        self.rankings = [Ranking(*row) for row in state["rankings"]]
        self.surrogate.learner.learnt_at = state["learnt_at"]
        self.surrogate.learner.hyperparameters = (
            Hyperparameters(*state["learnt"]) if state["learnt"] else None
        )
