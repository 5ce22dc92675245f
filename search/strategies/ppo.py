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
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO

from archspace import Choices
from envs import ArchitectureVecEnv, CostBounds
from evaluation import Evaluation, LedgerSession
from search.analysis import Belief, Learnt, Ranking
from search.strategies.agent import AgentCheckpoints, make_agent, without_known
from search.strategies.checkpoint_store import Checkpoint
from search.strategies.imagination import (
    ACCURACY_ALONE,
    Imagination,
    Imagined,
    limits_from_json,
    limits_to_json,
    standardised,
)
from search.strategies.keep_schedule import KeepSchedule
from search.strategies.model_based_config import PPOConfig
from search.strategies.policy_walk import policy_samples, policy_steps
from search.strategies.ppo_checkpoint import capture, restore
from search.strategies.preference import preference_weights
from search.strategies.ranked_search import scored_children
from search.strategies.reward_scaling import RewardScaler
from search.strategies.surrogate_search import SurrogateSearch

_log = logging.getLogger(__name__)

_BELIEVED = 64
_SUGGESTED = 512


@dataclass(frozen=True, slots=True)
class Suggestion:
    """An architecture that nobody trained: the accuracy that the surrogate expects, and one standard deviation below."""

    choices: Choices
    expected: float
    careful: float


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
        self._imagination = Imagination(
            config, self.bounds, session, self.surrogate, self.costs, self.rng
        )
        self._env: ArchitectureVecEnv[Imagined] = ArchitectureVecEnv(
            self._imagination,
            self.bounds,
            config.imagined_envs,
            preference=lambda: self._imagination.weights,
            own_limits=lambda: self._imagination.limits,
            mask_filter=self._allowed,
            reward_rule=standardised,
        )
        episodes = config.imagined_steps / (config.imagined_envs * len(self.space.decisions))
        self._model = self._make_model(self._env, max(1, round(episodes)), config.minibatch)
        checkpoint = self._checkpoints.start(session)
        self._has_learnt = checkpoint is not None
        if checkpoint is not None:
            restore(checkpoint, self._model, self._env)
            self._restore(checkpoint.state["search"], session)

    def advance(self, session: LedgerSession) -> None:
        self._checkpoints.save(lambda: self._taken(session))
        super().advance(session)

    def next_batch(self, session: LedgerSession) -> list[Choices]:
        self._progress = session.spent / session.budget
        self._imagination.forget()
        return super().next_batch(session)

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

    def without_surrogate(
        self, session: LedgerSession, children: Sequence[Evaluation]
    ) -> list[Choices]:
        """The policy decides a batch, evaluates it and learns from its rewards.

        Where it only proposes, there is no batch whose rewards it could wait for, and candidates are taken at random.
        """
        if self.proposes_only:
            return super().without_surrogate(session, children)
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
        return []

    def learnt(self, session: LedgerSession) -> Learnt:
        """With the policy's beliefs for the objective's weights, over 64 sampled networks."""
        weights = preference_weights(session.objective, len(session.history))
        rng = np.random.default_rng(self.seed)
        steps = policy_steps(self._model, self.bounds, weights, _BELIEVED, rng)
        beliefs = []
        for decision, step in zip(self.space.decisions, steps, strict=True):
            undecided = step.masks.sum(axis=1) > 1
            if undecided.any():
                means = step.probabilities[undecided].mean(axis=0).tolist()
                names = map(str, decision.choices)
                beliefs.append(Belief(decision.name, dict(zip(names, means, strict=True))))
        return replace(super().learnt(session), beliefs=tuple(beliefs))

    def suggest(
        self,
        session: LedgerSession,
        children: Sequence[Evaluation],
        own_limits: tuple[float, float],
    ) -> list[Suggestion]:
        """After a search: what the policy of the last checkpoint builds for accuracy alone within limits.

        Args:
            session: the search's own, nothing proposed yet; its checkpoint is looked for.
            children: all that was evaluated; the surrogate learns from them.
            own_limits: on latency in ms and energy in mJ, infinite where there is none.

        Returns:
            The most promising first, none of them evaluated before; none where there is no checkpoint, or where the
            surrogate does not validate.
        """
        with self._state.inside():
            self.begin(session)
            self._fit(scored_children(children))
            if not (self._has_learnt and self._validates):
                return []
            for child in children:
                self.known.add(child.architecture.choices)
            rng = np.random.default_rng(self.seed)
            samples = policy_samples(
                self._model, self.bounds, ACCURACY_ALONE, _SUGGESTED, rng, own_limits=own_limits
            )
            new = [choices for choices in samples if choices not in self.known]
            if not new:
                return []
            posterior = self.surrogate.predict(new)
        expected = self.surrogate.accuracies(posterior.mean)
        careful = self.surrogate.accuracies(posterior.mean - posterior.std)
        order = np.argsort(-careful, kind="stable")
        return [Suggestion(new[i], float(expected[i]), float(careful[i])) for i in order]

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
        own = {
            "rng": self.rng.bit_generator.state,
            "weights": self._imagination.weights.tolist(),
            "limits": limits_to_json(self._imagination.limits),
            "rankings": [astuple(ranking) for ranking in self.rankings],
            "known": sorted(list(choices) for choices in self.known),
            "accuracy": self.surrogate.learner.state,
            "costs": self.costs.state,
        }
        return replace(checkpoint, state={**checkpoint.state, "search": own})

    def _restore(self, state: Mapping[str, Any], session: LedgerSession) -> None:
        self.rng.bit_generator.state = state["rng"]
        self._imagination.weights = np.array(state["weights"])
        self._imagination.limits = limits_from_json(state["limits"])
        for evaluation in session.history:
            self.remember(evaluation.architecture.choices)
        self.known.update(tuple(choices) for choices in state["known"])
        self.rankings = [Ranking(*row) for row in state["rankings"]]
        self.surrogate.learner.restore(state["accuracy"])
        self.costs.restore(state["costs"])
