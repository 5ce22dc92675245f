"""`ppo` with replay of its past trials, to see whether that is worth anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from archspace import Choices
from envs import ObservationEncoder
from evaluation import Evaluation
from search.strategies.ppo import PPOSearch

STEPS = 4
"""Of the optimiser a batch; as many as PPO has passes over its imagined episodes."""


class ReplayingPPO(PPOSearch):
    """Before each batch the policy is made likelier to build, for each preference, the best trial so far.

    Priority queue training (Abolafia et al. 2018, "Neural Program Synthesis with Priority Queue Training", arXiv
    1801.03526, section 3.2): the likelihood of the best trials is maximised beside the policy's objective. Here the queue is
    one trial deep for each of the preferences that the imagined episodes have just then.
    """

    def candidates(self, children: Sequence[Evaluation]) -> list[Choices]:
        self._replay([child for child in children if child.ok])
        return super().candidates(children)

    def _replay(self, children: Sequence[Evaluation]) -> None:
        if not children:
            return
        weights = self._imagination.weights
        choices = np.array([child.architecture.choices for child in children])
        best = choices[[self._best(children, row) for row in weights]]
        encoder = ObservationEncoder(self.bounds)
        policy, num_actions = self._model.policy, int(self._model.action_space.n)
        for _ in range(STEPS):
            loss = torch.zeros(())
            for made in range(len(self.space.decisions)):
                prefixes = best[:, :made]
                valid = self.space.masks_within(prefixes, None)
                masks = np.zeros((len(best), num_actions), dtype=np.bool_)
                masks[:, : valid.shape[1]] = valid
                seen = torch.from_numpy(encoder.encode_many(prefixes, weights))
                decided = policy.get_distribution(seen, action_masks=masks)
                loss = loss - decided.log_prob(torch.from_numpy(best[:, made])).mean()
            policy.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), self._config.max_grad_norm)
            policy.optimizer.step()

    def _best(self, children: Sequence[Evaluation], weights: np.ndarray) -> int:
        session = self._imagination._session
        accuracy, latency, energy = (float(weight) for weight in weights)
        objective = session.objective.reweighted((accuracy, latency, energy))
        costs = [c.costs for c in children]
        latencies = np.array([c.latency_ms.value if c else np.nan for c in costs])
        energies = np.array([c.energy_mj.value if c else np.nan for c in costs])
        accuracies = np.array([c.accuracy for c in children])
        rewards = objective.rewards(accuracies, latencies, energies, len(session.history))
        return int(np.nanargmax(rewards))
