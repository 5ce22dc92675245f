"""How wide intervals must be, from held-out networks (split conformal prediction).

Source: Lei et al. 2018, "Distribution-Free Predictive Inference for Regression", section 2.2: the
⌈(n + 1)(1 − α)⌉-th smallest of n held-out scores covers a new one with probability at least 1 − α.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latency_models.cost import Cost

TWO_SIDED_90 = 1.645
"""Standard deviations of a normal distribution, either side, that hold 90 %."""
_WIDENED = 1.5
_LEAST_SCALE = 0.1


def conformal_quantile(scores: NDArray[np.float64], coverage: float) -> float:
    """The score that a new one stays below with probability ≥ `coverage`; the largest if scores are too few."""
    rank = min(len(scores), math.ceil((len(scores) + 1) * coverage))
    return float(np.sort(scores)[rank - 1])


def interval_scale(
    predicted: Sequence[Cost], measured_ms: Sequence[float], *, widened: bool
) -> float:
    """Factor on standard deviations after which ± 1.645 of them cover 90 % of held-out networks.

    Half as much again where `widened`, for a model that ranks worse than it should: then the held-out networks are
    a poor guide too.
    """
    scores = np.array(
        [abs(c.value - y) / c.std for c, y in zip(predicted, measured_ms, strict=True)]
    )
    scale = conformal_quantile(scores, 0.9) / TWO_SIDED_90
    return max(_LEAST_SCALE, scale) * (_WIDENED if widened else 1.0)


def interval_90(cost: Cost) -> tuple[float, float]:
    """(low, high) ≥ 0: value ± 1.645 standard deviations, which held 90 % of the held-out networks."""
    half = TWO_SIDED_90 * cost.std
    return max(0.0, cost.value - half), cost.value + half


def latency_margin(predicted: Sequence[Cost], measured_ms: Sequence[float]) -> float:
    """m ≥ 0 with measured ≤ predicted · (1 + m) for 95 % of held-out networks."""
    scores = np.array([y / c.value - 1 for c, y in zip(predicted, measured_ms, strict=True)])
    return max(0.0, conformal_quantile(scores, 0.95))
