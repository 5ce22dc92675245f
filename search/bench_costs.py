"""What searchers are told of costs in a bench where they may not look them up in the table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archspace import Choices, SearchSpace
from latency_models import ChoiceModel, fit_choice_model

FITTED_ROWS = 100
_POOL = 2000

Floats = NDArray[np.float64]


class FittedCosts:
    """Predictions of models that have seen 100 rows; to be asked beforehand, not to judge by.

    Args:
        latency, energy: models of the space's choices, in ms and mJ; without one of energy, latency stands in.
    """

    def __init__(self, latency: ChoiceModel, energy: ChoiceModel | None) -> None:
        self._latency, self._energy = latency, energy

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        choices: NDArray[np.integer],
        columns: Sequence[Floats],
        rows: NDArray[np.intp],
    ) -> FittedCosts:
        """Fit to the first 100 of `rows`; `columns` hold latency and, if there is one, energy."""
        chosen, pool = rows[:FITTED_ROWS], choices[rows[:_POOL]]
        models = [
            fit_choice_model(space, choices[chosen], column[chosen], pool=pool)
            for column in columns
        ]
        return cls(models[0], models[1] if len(models) > 1 else None)

    def expected(self, space: SearchSpace, batch: Sequence[Choices]) -> Floats:
        """See `Costing.expected`; all are known."""
        choices = np.asarray(batch, dtype=np.intp)
        latency = self._latency.predict(choices)
        energy = self._energy.predict(choices) if self._energy else latency
        return np.stack([latency, energy], axis=1)
