"""Scores imagined episodes: a surrogate's accuracy, a cost model's costs, and the preference of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import Choices
from evaluation import LedgerSession
from search.strategies.acquisition import RewardUtility
from search.strategies.model_based_config import PPOConfig
from search.strategies.preference import Weights, preference_weights
from search.surrogates import AccuracySurrogate

CLIP = 3.0
"""Standardised rewards lie in [-3, 3]."""


@dataclass(frozen=True, slots=True)
class Imagined:
    """An architecture that nobody trained, and the reward that an optimist expects of it."""

    reward: float


class Imagination:
    """What the policy's imagined environments ask.

    Args:
        config: number of environments, and how preferences are drawn.
        session: gives costs and the objective.
        surrogate: gives accuracies; fitted before anything is scored.
        rng: draws preferences and optimism.

    Attributes:
        weights: (environments, 3) preference of each present episode: accuracy, latency, energy; they sum to 1.
        samples: all architectures scored since `forget`, each once.
    """

    def __init__(
        self,
        config: PPOConfig,
        session: LedgerSession,
        surrogate: AccuracySurrogate,
        rng: np.random.Generator,
    ) -> None:
        self._config = config
        self._session = session
        self._surrogate = surrogate
        self._rng = rng
        self.samples: dict[Choices, None] = {}
        self.weights = self._drawn_weights()

    def forget(self) -> None:
        """Begin a new list of samples."""
        self.samples = {}

    def evaluate(self, batch: Sequence[Choices]) -> list[Imagined]:
        """What an optimist expects: mean + κ standard deviations, one κ a batch. Then draws new preferences."""
        self.samples |= dict.fromkeys(batch)
        posterior = self._surrogate.predict(batch)
        accuracies = self._surrogate.accuracies(
            posterior.mean + self._rng.exponential(self._config.optimism) * posterior.std
        )
        rewards = self._rewards(accuracies, self._session.expected_costs(batch))
        self.weights = self._drawn_weights()
        return [Imagined(float(reward)) for reward in rewards]

    def _rewards(
        self, accuracies: NDArray[np.float64], costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each by its own preference; what costs are unknown of counts as failed."""
        objective, step = self._session.objective, len(self._session.history)
        rewards = np.full(len(accuracies), np.nan)
        for row in np.unique(self.weights, axis=0):
            alike = (self.weights == row).all(axis=1)
            utility = RewardUtility(objective.reweighted(_triple(row)), step)
            rewards[alike] = utility(accuracies[alike], costs[alike])
        return np.where(np.isnan(rewards), objective.failure_reward, rewards)

    def _drawn_weights(self) -> NDArray[np.float64]:
        """The objective's for most environments, random ones for `sampled_preferences` of them."""
        count, front = self._config.imagined_envs, self._config.goal == "front"
        own = preference_weights(self._session.objective, len(self._session.history))
        random = self._rng.dirichlet(np.ones(3), size=count)
        if front or own[2] == 0:
            random[:, 2] = 0.0
        if not self._session.objective.needs_costs:
            random[:, 1:] = 0.0
        random /= random.sum(axis=1, keepdims=True)
        share = 1.0 if front else self._config.sampled_preferences
        drawn = np.arange(count) < round(share * count)
        return np.where(drawn[:, None], random, np.asarray(own))


def standardised(imagined: Sequence[Imagined]) -> NDArray[np.float64]:
    """Rewards of a batch with mean 0 and standard deviation 1, clipped."""
    rewards = np.array([each.reward for each in imagined])
    return np.asarray(np.clip((rewards - rewards.mean()) / (rewards.std() + 1e-8), -CLIP, CLIP))


def _triple(row: NDArray[np.float64]) -> Weights:
    return float(row[0]), float(row[1]), float(row[2])
