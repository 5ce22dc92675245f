"""How much evaluating an architecture promises: how far it is expected to improve the best reward, or the front.

Costs are known beforehand (a cost model predicts them), accuracy is not: the surrogate gives its distribution. The
promise of an architecture is the expectation of what it would add, over that distribution: expected improvement (Jones,
Schonlau and Welch 1998) of the objective's reward, or of the hypervolume (Emmerich, Giannakoglou and Naujoks 2006). It is
computed by Gauss-Hermite quadrature, since neither reward nor hypervolume is linear in what the surrogate predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray

from evaluation import Evaluation, Objective
from search.surrogates import AccuracySurrogate, CorrectedCosts, Posterior

Floats = NDArray[np.float64]

NODES = 10
"""Of the quadrature; exact for polynomials of degree 19."""
OPTIMISM = 2.0
"""Standard deviations that are added where no candidate promises anything: the mean of an exponential distribution."""


def _quadrature(nodes: int) -> tuple[Floats, Floats]:
    """Nodes in standard deviations, and their weights, which sum to 1."""
    places, weights = hermegauss(nodes)
    return places, weights / weights.sum()


_NODES, _WEIGHTS = _quadrature(NODES)
_COST_NODES, _SURE = _quadrature(3), _quadrature(1)


class Utility(Protocol):
    """What accuracies at given costs would add to what is known."""

    def __call__(self, accuracies: Floats, costs: Floats) -> Floats:
        """(n,), ≥ 0, from (n,) shares and (n, 2) expected latencies in ms and energies in mJ; NaN where unknown."""

    def margin(self, accuracies: Floats, costs: Floats) -> Floats:
        """(n,): how far above what is known, negative: how far below; any unit that orders candidates."""

    def take(self, accuracy: float, costs: Floats) -> None:
        """Count on an architecture with this accuracy and (2,) costs from now on."""


class RewardUtility:
    """How far the objective's reward exceeds the best so far.

    Args:
        objective: gives the reward.
        step: the proposal's place in its session.
        best: the best reward so far; the objective's failure reward where there is none.
    """

    def __init__(self, objective: Objective, step: int, best: float) -> None:
        self._objective = objective
        self._step = step
        self._best = best

    @classmethod
    def of(
        cls, evaluations: Sequence[Evaluation], objective: Objective, step: int
    ) -> RewardUtility:
        """From what was evaluated, rewarded as it would be now (weights may follow a schedule)."""
        scored = [e for e in evaluations if e.ok]
        accuracies = np.array([e.accuracy for e in scored])
        costs = np.array(
            [
                (e.costs.latency_ms.value, e.costs.energy_mj.value) if e.costs else (np.nan, np.nan)
                for e in scored
            ]
        ).reshape(-1, 2)
        rewards = objective.rewards(accuracies, costs[:, 0], costs[:, 1], step)
        known = rewards[~np.isnan(rewards)]
        return cls(objective, step, float(known.max(initial=objective.failure_reward)))

    def __call__(self, accuracies: Floats, costs: Floats) -> Floats:
        return np.asarray(np.maximum(self.margin(accuracies, costs), 0.0))

    def margin(self, accuracies: Floats, costs: Floats) -> Floats:
        rewards = self._objective.rewards(accuracies, costs[:, 0], costs[:, 1], self._step)
        return np.asarray(rewards - self._best)

    def take(self, accuracy: float, costs: Floats) -> None:
        """The best stays what was seen, for what is taken may disappoint."""


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

    def margin(self, accuracies: Floats, costs: Floats) -> Floats:
        """In accuracy, to the front's step at the network's latency; slower than the reference comes last."""
        latency = costs[:, 0]
        step = np.searchsorted(self._starts, latency, side="right") - 1
        slow = np.where(latency < self._reference[1], 0.0, 2.0)
        return np.where(np.isnan(latency), np.nan, accuracies - self._levels[step] - slow)

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


def expected_gain(
    surrogate: AccuracySurrogate, posterior: Posterior, costs: CorrectedCosts, utility: Utility
) -> Floats:
    """Expectation of `utility` over the accuracies and costs that are thought possible: (n,), NaN where costs are unknown."""
    gain = np.zeros(len(costs.mean))
    nodes, weights = _SURE if costs.certain else _COST_NODES
    for possible, cost_weight in zip(costs.possible(nodes), weights, strict=True):
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            accuracies = surrogate.accuracies(posterior.mean + node * posterior.std)
            gain += cost_weight * weight * utility(accuracies, possible)
    return gain


def picks(
    surrogate: AccuracySurrogate,
    posterior: Posterior,
    costs: CorrectedCosts,
    utility: Utility,
    count: int,
    rng: np.random.Generator,
) -> list[int]:
    """Up to `count` candidates by number, the most promising first; fewer where the costs of the rest are unknown.

    Each pick counts for the next one as evaluated, with the accuracy expected of it. Where nothing promises anything (a
    surrogate that is sure of itself leaves no chance to any), the pick is what an optimist puts closest to what is known:
    random picks would end the search there, and a surrogate is seldom as right as it is sure.
    """
    chosen: list[int] = []
    free = np.ones(len(costs.mean), dtype=np.bool_)
    while len(chosen) < count:
        gain = expected_gain(surrogate, posterior, costs, utility)
        free &= ~np.isnan(gain)
        if not free.any():
            break
        best = int(np.argmax(np.where(free, gain, -np.inf)))
        if gain[best] <= 0:
            optimistic = posterior.mean + rng.exponential(OPTIMISM) * posterior.std
            margin = utility.margin(surrogate.accuracies(optimistic), costs.mean)
            best = int(np.argmax(np.where(free, margin, -np.inf)))
        chosen.append(best)
        free[best] = False
        expected = float(surrogate.accuracies(posterior.mean[best : best + 1])[0])
        utility.take(expected, costs.mean[best])
        posterior.take(best)
        costs.take(best)
    return chosen
