"""Bayesian optimisation with a Gaussian process over the objective: the peers that know no more than rewards.

`GPSearch`: expected improvement (Jones, Schonlau and Welch 1998) of the reward as one number, batches by the kriging
believer (Ginsbourger, Le Riche and Carraro 2010). `ParEGOSearch`: expected improvement of a random scalarisation a
pick (Knowles 2006, "ParEGO"). Both use the kernel and features of `AccuracySurrogate`; both learn cost and accuracy
together, from evaluated architectures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession
from search.strategies.model_based_config import GPConfig, ParEGOConfig
from search.strategies.ranked_search import RankedSearch
from search.surrogates import ArchitectureFeatures, Learner, Posterior

Floats = NDArray[np.float64]

_AUGMENTATION = 0.05
"""ParEGO's ρ (section III)."""


class _GaussianProcessSearch(RankedSearch):
    """Knows the features of architectures, literal ones too: rewards depend on costs."""

    def begin(self, session: LedgerSession) -> None:
        super().begin(session)
        self._features = ArchitectureFeatures(self.bounds.space, literal=True)
        self._learner = Learner(self.seed)


class GPSearch(_GaussianProcessSearch):
    """Expected improvement of the reward."""

    name: ClassVar[str] = "gp"

    def __init__(self, config: GPConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(config, bounds, seed, front=False)

    def choose(
        self,
        session: LedgerSession,
        children: Sequence[Evaluation],
        candidates: Sequence[Choices],
        count: int,
    ) -> list[int]:
        rewards = np.array([child.reward for child in children])
        known = self._features([child.architecture.choices for child in children])
        model = self._learner.fit(known, _standardised(rewards))
        posterior = model.predict(self._features(candidates))
        chosen: list[int] = []
        while len(chosen) < min(count, len(candidates)):
            chosen.append(_best(posterior, float(model.targets.max()), chosen))
            posterior.take(chosen[-1])
        return chosen


class ParEGOSearch(_GaussianProcessSearch):
    """Expected improvement of an augmented Tchebycheff scalarisation of accuracy and latency, a new one a pick."""

    name: ClassVar[str] = "parego"

    def __init__(self, config: ParEGOConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(config, bounds, seed, front=True)

    def choose(
        self,
        session: LedgerSession,
        children: Sequence[Evaluation],
        candidates: Sequence[Choices],
        count: int,
    ) -> list[int]:
        rows = [(c, -c.accuracy, c.costs.latency_ms.value) for c in children if c.ok and c.costs]
        if len(rows) < 2:
            return []
        losses = np.array([row[1:] for row in rows])
        scaled = (losses - losses.min(axis=0)) / np.maximum(np.ptp(losses, axis=0), 1e-12)
        known = self._features([child.architecture.choices for child, *_ in rows])
        features = self._features(candidates)
        chosen: list[int] = []
        for _ in range(min(count, len(candidates))):
            weight = self.rng.random()
            weighted = scaled * [weight, 1 - weight]
            scalar = weighted.max(axis=1) + _AUGMENTATION * weighted.sum(axis=1)
            model = self._learner.fit(known, _standardised(-scalar))
            chosen.append(_best(model.predict(features), float(model.targets.max()), chosen))
        return chosen


def expected_improvement(posterior: Posterior, best: float) -> Floats:
    """E[max(f − best, 0)] (Jones et al. 1998, equation 15): (m,)."""
    std = posterior.std
    z = (posterior.mean - best) / std
    return np.asarray(std * (z * norm.cdf(z) + norm.pdf(z)))


def _best(posterior: Posterior, best: float, taken: Sequence[int]) -> int:
    improvement = expected_improvement(posterior, best)
    improvement[list(taken)] = -np.inf
    return int(np.argmax(improvement))


def _standardised(values: Floats) -> Floats:
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-9))
