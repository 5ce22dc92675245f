"""One surrogate for children trained at several fidelities: asked for accuracies in full, taught by all of them.

A straight line from each rung to the one above it, fitted to the children trained at both, brings all accuracies to the scale
of the full schedule (children that climbed are a chosen few, so the rungs' means and spreads say nothing). One group
of features more, the logarithm of a child's cost, then lets the Gaussian process learn how far to trust a rung: that
group's length scale says how much a child's results at two rungs have in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from archspace import Choices, SearchSpace
from search.surrogates.accuracy import (
    LEAST_CHILDREN,
    MOST_FOR_ONE_PROCESS,
    AccuracySurrogate,
    GapTransform,
)
from search.surrogates.gaussian_process import GaussianProcess, Posterior

Floats = NDArray[np.float64]

LEAST_FOR_SLOPE = 5
"""Children trained at two rungs below which the line's slope is taken to be 1."""
SLOPE_SPREAD = 0.5
"""Standard deviation, around 1, of the slopes that are expected before any are seen."""
GROUP = "fidelity"


@dataclass(frozen=True, slots=True)
class RungResult:
    """One child's accuracy (share 0-1) at one rung, 0 being the cheapest."""

    choices: Choices
    rung: int
    accuracy: float


class RungSurrogate(AccuracySurrogate):
    """See the file's head.

    Args:
        space: whose architectures are predicted.
        costs: of the rungs, growing; the last is the full fidelity's.
        seed: of subsamples.
        most_results: results that are learnt from; beyond, those of the lowest rungs give way, the oldest first.
    """

    def __init__(
        self,
        space: SearchSpace,
        costs: Sequence[float],
        seed: int = 0,
        *,
        most_results: int = MOST_FOR_ONE_PROCESS,
    ) -> None:
        super().__init__(space, seed)
        self._most_results = most_results
        self._process: GaussianProcess | None = None
        logs = np.log(np.asarray(costs, dtype=np.float64) / costs[-1])
        self._places = logs / max(-logs[0], 1e-12)  # (rungs,): -1 the cheapest … 0 in full
        self._results: list[RungResult] = []

    def fit_rungs(self, results: Sequence[RungResult]) -> None:
        """Learn from all results, each child once a rung, in order; no model below 8 children, or from equal ones."""
        results = self._results = self._kept(results)
        self._model = self._process = None
        if len({result.choices for result in results}) < LEAST_CHILDREN:
            return
        lines = lines_to_the_top(results, len(self._places))
        known = np.array([lines[r.rung](r.accuracy) for r in results])
        if np.ptp(known) < 1e-9:
            return
        self._transform = GapTransform.of(known)
        features = self.features(np.array([result.choices for result in results]))
        features[GROUP] = self._places[[result.rung for result in results]][:, None]
        self._model = self._process = self.learner.fit(features, self._transform.forward(known))

    def predict(self, choices: Sequence[Choices] | NDArray[np.integer]) -> Posterior:
        assert self._model is not None, "check `ready` first"
        features = self.features(np.asarray(choices))
        features[GROUP] = np.zeros((len(choices), 1))
        return self._model.predict(features)

    def rank_correlation(self) -> float:
        """As for one fidelity, of each child at the highest rung that it reached, all its own results left out."""
        if self._process is None:
            return 0.0
        names: dict[Choices, int] = {}
        groups = np.array([names.setdefault(r.choices, len(names)) for r in self._results])
        predicted = self._process.left_out_groups(groups)
        rungs = np.array([result.rung for result in self._results])
        highest = [
            max(np.flatnonzero(groups == g), key=lambda i: rungs[i]) for g in range(len(names))
        ]
        found = stats.spearmanr(predicted[highest], self._process.targets[highest]).statistic
        return float(found) if np.isfinite(found) else 0.0

    def _kept(self, results: Sequence[RungResult]) -> list[RungResult]:
        """At most `most_results`, in order."""
        by_worth = sorted(range(len(results)), key=lambda i: (results[i].rung, i), reverse=True)
        return [results[i] for i in sorted(by_worth[: self._most_results])]


@dataclass(frozen=True, slots=True)
class Line:
    """accuracy at a rung → accuracy in full."""

    slope: float
    offset: float

    def __call__(self, accuracy: float) -> float:
        return self.slope * accuracy + self.offset

    def after(self, first: Line) -> Line:
        """This one, applied to what `first` gives."""
        return Line(self.slope * first.slope, self.slope * first.offset + self.offset)


def lines_to_the_top(results: Sequence[RungResult], rungs: int) -> list[Line]:
    """For each rung, the line that brings its accuracies to those of the top rung.

    Fitted to the children trained at it and at the rung above it with which it has most children in common (the lowest of
    those); with none no change.
    """
    lines = {rungs - 1: Line(1.0, 0.0)}
    for rung in reversed(range(rungs - 1)):
        pairs = [(upper, _pairs(results, rung, upper)) for upper in range(rung + 1, rungs)]
        upper, (below, above) = max(pairs, key=lambda pair: len(pair[1][0]))
        lines[rung] = (
            lines[upper].after(fitted_line(below, above)) if len(below) else Line(1.0, 0.0)
        )
    return [lines[rung] for rung in range(rungs)]


def _pairs(results: Sequence[RungResult], lower: int, upper: int) -> tuple[Floats, Floats]:
    """Accuracies of the children trained at both rungs."""
    at = {(r.choices, r.rung): r.accuracy for r in results}
    both = [(a, at[c, upper]) for (c, rung), a in at.items() if rung == lower and (c, upper) in at]
    pairs = np.array(both, dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def fitted_line(below: Floats, above: Floats) -> Line:
    """Least squares over children at two rungs, the slope at least 0 and as near to 1 as its standard error leaves open.

    The slope is the mean of a normal distribution around 1 and of that around the fitted one, weighted by precision. With fewer
    than 5 children it is 1: the mean difference alone.
    """
    slope, count = 1.0, len(below)
    x, y = below - below.mean(), above - above.mean()
    if count >= LEAST_FOR_SLOPE and float(x @ x) > 1e-12:
        found = float(x @ y) / float(x @ x)
        error = float(np.sum((y - found * x) ** 2)) / (count - 2) / float(x @ x)  # squared
        slope = max(0.0, (found * SLOPE_SPREAD**2 + error) / (SLOPE_SPREAD**2 + error))
    return Line(slope, float(above.mean()) - slope * float(below.mean()))
