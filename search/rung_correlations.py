"""What cheap training said about thorough training: how children that climbed ranked at both rungs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from evaluation import Evaluation, Fidelity

LEAST_CHILDREN = 3
"""Children at both rungs below which no correlation is given."""


@dataclass(frozen=True, slots=True)
class RungCount:
    """What was trained at one rung: `children` of them, `failed` ones included, for `charged` of the budget."""

    name: str
    cost: float
    children: int
    failed: int
    charged: float


@dataclass(frozen=True, slots=True)
class RungCorrelation:
    """Spearman correlation of accuracies of the `children` trained at both rungs; None below 3, or where all tie.

    Only promoted children are trained at both: the correlation over all children would be higher.
    """

    lower: str
    upper: str
    children: int
    spearman: float | None


def rung_counts(
    evaluations: Sequence[Evaluation], rungs: Sequence[Fidelity]
) -> tuple[RungCount, ...]:
    """One a rung, cheapest first; `rungs` has the full fidelity last."""
    counts = []
    for rung, at_rung in zip(rungs, _by_rung(evaluations, rungs), strict=True):
        failed = sum(not e.ok for e in at_rung)
        charged = sum(e.charged for e in at_rung)
        counts.append(RungCount(rung.name, rung.cost, len(at_rung), failed, charged))
    return tuple(counts)


def rung_correlations(
    evaluations: Sequence[Evaluation], rungs: Sequence[Fidelity]
) -> tuple[RungCorrelation, ...]:
    """One a pair of rungs, as `rungs` orders them, the full fidelity last."""
    accuracies = [
        {e.architecture.digest: e.accuracy for e in at_rung if e.ok}
        for at_rung in _by_rung(evaluations, rungs)
    ]
    found = []
    for (lower, below), (upper, above) in combinations(zip(rungs, accuracies, strict=True), 2):
        both = sorted(below.keys() & above.keys())
        ranked = spearman([below[d] for d in both], [above[d] for d in both])
        found.append(RungCorrelation(lower.name, upper.name, len(both), ranked))
    return tuple(found)


def _by_rung(
    evaluations: Sequence[Evaluation], rungs: Sequence[Fidelity]
) -> list[list[Evaluation]]:
    """New children with a result of each rung."""
    new = [e for e in evaluations if e.is_new and e.result is not None]
    return [[e for e in new if (e.fidelity or rungs[-1]) == rung] for rung in rungs]


def spearman(
    below: Sequence[float] | NDArray[np.float64], above: Sequence[float] | NDArray[np.float64]
) -> float | None:
    """Rank correlation; None below 3 children, or where all of one side tie."""
    if len(below) < LEAST_CHILDREN or np.ptp(below) == 0 or np.ptp(above) == 0:
        return None
    return float(stats.spearmanr(below, above).statistic)
