"""What expected costs were wrong about at the children evaluated so far, and so will be at others.

Of thousands of candidates, those that are ranked first are those whose costs were expected too low (the "optimiser's
curse": Smith and Winkler 2006): a search that trusts a cost model's errors spends its budget on them. What a child did
cost is known once it was evaluated, so a Gaussian process learns the logarithm of actual over expected costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import Choices, SearchSpace
from search.surrogates.accuracy import LEAST_CHILDREN
from search.surrogates.ensemble import Model, fitted_model
from search.surrogates.features import ArchitectureFeatures
from search.surrogates.gaussian_process import Learner, Posterior

Floats = NDArray[np.float64]

COSTS = ("latency", "energy")
_EXACT = 1e-6
"""Relative error of costs below which there is nothing to correct."""
_LEAST_EXPLAINED = 0.1
"""Share of the squared error that predictions of left-out children must do away with; chance does so with less."""


class CorrectedCosts:
    """Of n architectures, which may be taken as evaluated one after the other.

    Args:
        mean: (n, 2) latencies in ms and energies in mJ; NaN where unknown.
        corrections: for each of the two the posterior of their logarithm's error with its unit; None: costs are certain.

    Attributes:
        mean: as given.
    """

    def __init__(
        self, mean: Floats, corrections: Sequence[tuple[Posterior, float] | None] = (None, None)
    ) -> None:
        self.mean = mean
        self._corrections = corrections

    @property
    def log_std(self) -> Floats:
        """(n, 2) standard deviations of the costs' logarithms; 0 where expected costs have always been right."""
        certain = np.zeros(len(self.mean))
        columns = [each[0].std * each[1] if each else certain for each in self._corrections]
        return np.stack(columns, axis=1)

    def possible(self, nodes: Floats) -> list[Floats]:
        """(n, 2) for each node: so many standard deviations above the mean, in both costs alike."""
        log_std = self.log_std
        return [np.asarray(self.mean * np.exp(node * log_std)) for node in nodes]

    @property
    def certain(self) -> bool:
        """Whether there is nothing that was ever corrected."""
        return not any(self._corrections)

    def take(self, i: int) -> None:
        """Go on as if architecture `i` had been evaluated and had cost what is expected."""
        for each in self._corrections:
            if each:
                each[0].take(i)


class CostCorrection:
    """Learns from children what expected costs are wrong about; refit after each batch with `fit`.

    Used only while it validates: where predictions of left-out children are hardly better than expected costs as they
    are, those stay as they are.

    Args:
        space: whose architectures are asked for.
        seed: of subsamples.
        most_for_one_process: children above which an ensemble learns.
    """

    def __init__(self, space: SearchSpace, seed: int, *, most_for_one_process: int) -> None:
        self._space = space
        self._seed = seed
        self._most = most_for_one_process
        self._features: ArchitectureFeatures | None = None
        self._learners = [Learner(seed) for _ in COSTS]
        self._models: list[_LogRatio | None] = [None] * len(COSTS)

    def fit(self, choices: Sequence[Choices], expected: Floats, actual: Floats) -> None:
        """Learn from evaluated children, each once; nothing below 8.

        Args:
            expected, actual: (children, 2) costs; rows with a NaN, or a cost of 0, are left out.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.log(actual / expected)
        usable = np.isfinite(ratios).all(axis=1)
        ratios = ratios[usable]
        self._models = [None] * len(COSTS)
        if len(ratios) < LEAST_CHILDREN or _is_exact(ratios):
            return
        if self._features is None:
            # a device may charge for what computes nothing
            self._features = ArchitectureFeatures(self._space, literal=True)
        features = self._features(np.array(choices)[usable])
        self._models = [
            _LogRatio.fitted(features, column, learner, self._most, self._seed)
            for column, learner in zip(ratios.T, self._learners, strict=True)
        ]

    def __call__(self, choices: Sequence[Choices], expected: Floats) -> CorrectedCosts:
        """Of other architectures, whose (n, 2) costs are `expected` without the correction."""
        if self._features is None or not any(self._models):
            return CorrectedCosts(expected)
        features, mean = self._features(np.array(choices)), expected.copy()
        corrections: list[tuple[Posterior, float] | None] = []
        for column, model in zip(mean.T, self._models, strict=True):
            if model is None:
                corrections.append(None)
                continue
            posterior = model.model.predict(features)
            column *= np.exp(model.mean + model.std * posterior.mean)
            corrections.append((posterior, model.std))
        return CorrectedCosts(mean, corrections)

    @property
    def state(self) -> list[Any]:
        """What `restore` needs, as JSON: everything else is learnt again from the children."""
        return [learner.state for learner in self._learners]

    def restore(self, state: Sequence[Any]) -> None:
        """Inverse of `state`."""
        for learner, own in zip(self._learners, state, strict=True):
            learner.restore(own)


@dataclass(frozen=True, slots=True)
class _LogRatio:
    """A model of the standardised logarithm of actual over expected costs."""

    model: Model
    mean: float
    std: float

    @classmethod
    def fitted(
        cls,
        features: dict[str, Floats],
        ratios: Floats,
        learner: Learner,
        most_for_one_process: int,
        seed: int,
    ) -> _LogRatio | None:
        """None where there is nothing to correct, or left-out children are told hardly better than by 0."""
        if _is_exact(ratios):
            return None
        mean, std = float(ratios.mean()), max(float(ratios.std()), _EXACT)
        model = fitted_model(
            features,
            (ratios - mean) / std,
            learner=learner,
            most_for_one_process=most_for_one_process,
            seed=seed,
        )
        left_out = mean + std * model.left_out()[0]
        remaining = np.square(ratios - left_out).mean() / np.square(ratios).mean()
        if remaining > 1 - _LEAST_EXPLAINED:
            return None
        return cls(model, mean, std)


def _is_exact(ratios: Floats) -> bool:
    """Whether costs were right."""
    return bool((np.abs(ratios) < _EXACT).all())
