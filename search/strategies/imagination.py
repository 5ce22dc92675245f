"""Scores imagined episodes: a surrogate's accuracy, a cost model's costs, and the preference of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import Choices
from envs import OWN_LIMITS, CostBounds
from evaluation import LedgerSession
from search.strategies.model_based_config import PPOConfig
from search.strategies.preference import Weights, preference_weights
from search.surrogates import AccuracySurrogate, CostCorrection

ACCURACY_ALONE = (1.0, 0.0, 0.0)
"""Preference weights of an episode under a limit."""
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
        bounds: say how cheap and how costly the space's networks are.
        session: gives expected costs and the objective.
        surrogate: gives accuracies; fitted before anything is scored.
        costs: what expected costs are wrong about.
        rng: draws preferences and optimism.

    Attributes:
        weights: (environments, 3) preference of each present episode: accuracy, latency, energy; they sum to 1.
        limits: (environments, `OWN_LIMITS`) of each present episode, infinite where there is none; None where no cost
            model says what would hold them.
        samples: all architectures scored since `forget`, each once.
    """

    def __init__(
        self,
        config: PPOConfig,
        bounds: CostBounds,
        session: LedgerSession,
        surrogate: AccuracySurrogate,
        costs: CostCorrection,
        rng: np.random.Generator,
    ) -> None:
        self._config = config
        self._bounds = bounds
        self._session = session
        self._surrogate = surrogate
        self._costs = costs
        self._rng = rng
        self.samples: dict[Choices, None] = {}
        self.weights, self.limits = self._drawn_preferences()

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
        costs = self._costs(batch, self._session.expected_costs(batch))
        rewards = self._rewards(accuracies, costs.mean)
        self.weights, self.limits = self._drawn_preferences()
        return [Imagined(float(reward)) for reward in rewards]

    def _rewards(
        self, accuracies: NDArray[np.float64], costs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Each by its own preference; what costs are unknown of counts as failed."""
        objective, step = self._session.objective, len(self._session.history)
        rewards = np.full(len(accuracies), np.nan)
        for row in np.unique(self.weights, axis=0):
            alike = (self.weights == row).all(axis=1)
            wanted = objective.reweighted(_triple(row))
            latencies, energies = costs[alike].T
            rewards[alike] = wanted.rewards(accuracies[alike], latencies, energies, step)
        return np.where(np.isnan(rewards), objective.failure_reward, rewards)

    def _drawn_preferences(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """Weights and limits: the objective's for most environments, random ones for `sampled_preferences` of them.

        Of the random ones, `sampled_limits` have a random limit on latency or energy and want accuracy alone.
        """
        count, front = self._config.imagined_envs, self._config.goal == "front"
        own = preference_weights(self._session.objective, len(self._session.history))
        random = self._rng.dirichlet(np.ones(3), size=count)
        if front or own[2] == 0:
            random[:, 2] = 0.0
        if not self._session.objective.needs_costs:
            random[:, 1:] = 0.0
        random /= random.sum(axis=1, keepdims=True)
        share = 1.0 if front else self._config.sampled_preferences
        sampled = round(share * count)
        weights = np.where((np.arange(count) < sampled)[:, None], random, np.asarray(own))
        ranges = limit_ranges(self._bounds)
        limited = round(self._config.sampled_limits * sampled)
        if ranges is None or limited == 0:
            return weights, None
        limits = np.full((count, len(OWN_LIMITS)), np.inf)
        which = self._rng.integers(len(OWN_LIMITS), size=limited)
        luck = self._rng.random(limited)
        limits[np.arange(limited), which] = ranges[which, 0] * np.power(
            ranges[which, 1] / ranges[which, 0], luck
        )
        weights[:limited] = ACCURACY_ALONE
        return weights, limits


def limits_to_json(limits: NDArray[np.float64] | None) -> list[list[float | None]] | None:
    """JSON has no infinity: None stands for it."""
    if limits is None:
        return None
    return [[float(x) if np.isfinite(x) else None for x in row] for row in limits]


def limits_from_json(rows: list[list[float | None]] | None) -> NDArray[np.float64] | None:
    """Inverse of `limits_to_json`."""
    if rows is None:
        return None
    return np.array([[np.inf if x is None else x for x in row] for row in rows])


def limit_ranges(bounds: CostBounds) -> NDArray[np.float64] | None:
    """Cost of the cheapest network, and of the costliest or the hard limit: (`OWN_LIMITS`, 2); None without a cost model."""
    terms = [term for term in bounds.terms if term.name in OWN_LIMITS]
    if not terms:
        return None
    found = [(max(bounds.bound(term, ()), 1e-12), term.scale) for term in terms]
    return np.array([(low, max(low, high)) for low, high in found])


def standardised(imagined: Sequence[Imagined]) -> NDArray[np.float64]:
    """Rewards of a batch with mean 0 and standard deviation 1, clipped."""
    rewards = np.array([each.reward for each in imagined])
    return np.asarray(np.clip((rewards - rewards.mean()) / (rewards.std() + 1e-8), -CLIP, CLIP))


def _triple(row: NDArray[np.float64]) -> Weights:
    return float(row[0]), float(row[1]), float(row[2])
