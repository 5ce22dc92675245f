"""Accuracy of unseen architectures, with its uncertainty, from the children evaluated so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from archspace import Choices, SearchSpace
from search.surrogates.ensemble import Model, fitted_model
from search.surrogates.features import ArchitectureFeatures
from search.surrogates.gaussian_process import Learner, Posterior

Floats = NDArray[np.float64]

LEAST_CHILDREN = 8
"""Evaluated children below which nothing is fitted."""
MOST_FOR_ONE_PROCESS = 2000
"""Evaluated children above which an ensemble learns, where nothing else is asked for."""


@dataclass(frozen=True)
class GapTransform:
    """t(a) = −log((top − a) / spread): differences between the best architectures count most.

    `top` lies a tenth of `spread` above the best accuracy; `spread` is the best over the median one.
    """

    top: float
    spread: float
    mean: float
    std: float

    @classmethod
    def of(cls, accuracies: Floats) -> GapTransform:
        best, median = float(accuracies.max()), float(np.median(accuracies))
        spread = max(best - median, 1e-4)
        top = best + 0.1 * spread
        values = -np.log((top - accuracies) / spread)
        return cls(top, spread, float(values.mean()), max(float(values.std()), 1e-6))

    def forward(self, accuracies: Floats) -> Floats:
        """Standardised t."""
        return (-np.log((self.top - accuracies) / self.spread) - self.mean) / self.std

    def backward(self, values: Floats) -> Floats:
        """Inverse of `forward`: accuracies below `top`."""
        return self.top - self.spread * np.exp(-(self.mean + self.std * values))


class AccuracySurrogate:
    """Learns accuracies; refit after each batch with `fit`.

    One Gaussian process while it is cheap (its time grows with n³), an `Ensemble` beyond. Both depend on the data, the
    seed and the learner's hyperparameters alone.

    Args:
        space: whose architectures are predicted.
        seed: of subsamples.
        most_for_one_process: children above which the ensemble learns.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int = 0,
        *,
        most_for_one_process: int = MOST_FOR_ONE_PROCESS,
    ) -> None:
        self.features = ArchitectureFeatures(space)
        self.learner = Learner(seed)
        self._seed = seed
        self._most_for_one_process = most_for_one_process
        self._model: Model | None = None
        self._transform: GapTransform | None = None

    def fit(self, choices: Sequence[Choices], accuracies: Sequence[float]) -> None:
        """Learn from all evaluated children, each once; `accuracies` are shares 0-1.

        With fewer than 8 children, or children all alike, there is no model.
        """
        known = np.asarray(accuracies, dtype=np.float64)
        self._model = None
        if len(known) < LEAST_CHILDREN or known.max() - known.min() < 1e-9:
            return
        self._transform = GapTransform.of(known)
        features, targets = self.features(np.array(choices)), self._transform.forward(known)
        self._model = fitted_model(
            features,
            targets,
            learner=self.learner,
            most_for_one_process=self._most_for_one_process,
            seed=self._seed,
        )

    @property
    def ready(self) -> bool:
        """Whether there is a model."""
        return self._model is not None

    def rank_correlation(self) -> float:
        """Spearman correlation of each child's accuracy with its prediction from all others; 0 without a model."""
        if self._model is None:
            return 0.0
        predicted, _ = self._model.left_out()
        found = float(stats.spearmanr(predicted, self._model.targets).statistic)
        return found if np.isfinite(found) else 0.0

    def predict(self, choices: Sequence[Choices] | NDArray[np.integer]) -> Posterior:
        """Of the transformed accuracies; see `accuracies`."""
        assert self._model is not None, "check `ready` first"
        return self._model.predict(self.features(np.asarray(choices)))

    def accuracies(self, transformed: Floats) -> Floats:
        """Shares 0-1 (n,) from transformed values, such as mean + optimism · standard deviation."""
        assert self._transform is not None, "check `ready` first"
        return np.clip(self._transform.backward(transformed), 0.0, 1.0)
