"""How much evaluating an architecture promises: its reward, or what it adds to the front, by an optimist.

Costs are known beforehand (a cost model predicts them), accuracy is not: the surrogate's mean plus κ standard
deviations is taken for it. Each pick of a batch draws its own κ from an exponential distribution, so that a batch
holds cautious picks and daring ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evaluation import Evaluation, Objective
from search.surrogates import AccuracySurrogate, Posterior

Floats = NDArray[np.float64]


class Utility(Protocol):
    """What accuracies at given costs are worth."""

    def __call__(self, accuracies: Floats, costs: Floats) -> Floats:
        """(n,) from (n,) shares and (n, 2) expected latencies in ms and energies in mJ; NaN where unknown."""

    def take(self, accuracy: float, costs: Floats) -> None:
        """Count on an architecture with this accuracy and (2,) costs from now on."""


class RewardUtility:
    """The objective's reward."""

    def __init__(self, objective: Objective, step: int) -> None:
        self._objective = objective
        self._step = step

    def __call__(self, accuracies: Floats, costs: Floats) -> Floats:
        return self._objective.rewards(accuracies, costs[:, 0], costs[:, 1], self._step)

    def take(self, accuracy: float, costs: Floats) -> None:
        """Rewards do not depend on each other."""


class FrontUtility:
    """The hypervolume that an architecture adds to the front of accuracy and latency.

    Args:
        front: (k, 2) accuracies (shares) and latencies (ms) evaluated so far; dominated ones do no harm.
        reference: (accuracy, latency) that a network must beat in both to count.
    """

    def __init__(self, front: Floats, reference: tuple[float, float]) -> None:
        self._reference = reference
        self._points = np.asarray(front, dtype=np.float64).reshape(-1, 2)
        self._update()

    @classmethod
    def of(cls, evaluations: Sequence[Evaluation], objective: Objective) -> FrontUtility:
        """From what was evaluated; the reference is `front_reference`'s."""
        points = [(e.accuracy, e.costs.latency_ms.value) for e in evaluations if e.ok and e.costs]
        front = np.array(points, dtype=np.float64).reshape(-1, 2)
        return cls(front, front_reference(objective, front))

    def __call__(self, accuracies: Floats, costs: Floats) -> Floats:
        """Σ over the steps of the front: (accuracy above the step) · (part of it slower than the network)."""
        latency = costs[:, :1]
        width = np.clip(self._ends - np.maximum(self._starts, latency), 0.0, None)
        height = np.clip(accuracies[:, None] - self._levels, 0.0, None)
        added = np.asarray((width * height).sum(axis=1))
        return np.where(np.isnan(costs[:, 0]), np.nan, added)

    def take(self, accuracy: float, costs: Floats) -> None:
        self._points = np.vstack([self._points, [accuracy, costs[0]]])
        self._update()

    def _update(self) -> None:
        """The front as steps over latency: level `levels[j]` from `starts[j]` to `ends[j]`."""
        floor, slowest = self._reference
        inside = self._points[(self._points[:, 0] > floor) & (self._points[:, 1] < slowest)]
        inside = inside[np.argsort(inside[:, 1], kind="stable")]
        self._levels = np.concatenate([[floor], np.maximum.accumulate(inside[:, 0])])
        self._starts = np.concatenate([[0.0], inside[:, 1]])
        self._ends = np.concatenate([inside[:, 1], [slowest]])


def front_reference(objective: Objective, points: Floats) -> tuple[float, float]:
    """(accuracy, latency in ms) that the front is judged from.

    The objective's accuracy floor and largest latency, where it has them; else 0 and the slowest of `points`.
    """
    floor = float(getattr(getattr(objective, "config", None), "accuracy_floor", 0.0))
    bounds = getattr(objective, "bounds", None)
    if bounds is not None:
        return floor, float(bounds.latency_max_ms)
    return floor, float(points[:, 1].max()) if len(points) else 1.0


def picks(
    surrogate: AccuracySurrogate,
    posterior: Posterior,
    costs: Floats,
    utility: Utility,
    count: int,
    rng: np.random.Generator,
    *,
    optimism: float,
) -> list[int]:
    """Up to `count` candidates by number, the most promising first; fewer where the costs of the rest are unknown.

    `optimism`: mean of κ.
    """
    chosen: list[int] = []
    free = np.ones(len(costs), dtype=np.bool_)
    while len(chosen) < count:
        optimist = surrogate.accuracies(posterior.mean + rng.exponential(optimism) * posterior.std)
        scores = utility(optimist, costs)
        free &= ~np.isnan(scores)
        if not free.any():
            break
        best = int(np.argmax(np.where(free, scores, -np.inf)))
        if scores[best] <= 0 and isinstance(utility, FrontUtility):
            best = int(rng.choice(np.flatnonzero(free)))  # nothing adds to the front: look around
        chosen.append(best)
        free[best] = False
        expected = float(surrogate.accuracies(posterior.mean[best : best + 1])[0])
        utility.take(expected, costs[best])
        posterior.take(best)
    return chosen
