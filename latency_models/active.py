"""Choosing what to measure by how much it would teach a Gaussian linear model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def informative_order(
    design: Floats, count: int, noise_variance: float, *, first: Sequence[int] = ()
) -> list[int]:
    """Rows of `design` in the order in which they should be measured.

    The next row is the one whose measurement would lower the mean variance of all rows' predictions most (integrated
    variance reduction: Cohn, Ghahramani & Jordan 1996, "Active Learning with Statistical Models", section 3). The
    variances depend on what is measured, not on what comes out, so the order is known beforehand, and every beginning of
    it is a good choice by itself.

    Args:
        design: (rows, features), scaled so that each weight has prior variance 1.
        count: how many to choose, `first` included; at most the number of rows.
        noise_variance: of one measurement, in the prediction's units squared.
        first: rows that come first in any case.
    """
    if count > len(design):
        raise ValueError(f"expected at most {len(design)} rows to choose, got {count}")
    moment = design.T @ design / len(design)
    spread = design.copy()  # design @ covariance of the weights, kept up to date by rank-1 steps
    reach = spread @ moment
    free = np.ones(len(design), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < count:
        variance = np.einsum("ij,ij->i", spread, design)
        gain = np.einsum("ij,ij->i", reach, spread) / (variance + noise_variance)
        step = len(chosen)
        best = first[step] if step < len(first) else int(np.argmax(np.where(free, gain, -1.0)))
        free[best] = False
        chosen.append(best)
        row = spread[best] / (variance[best] + noise_variance)
        shares = design @ spread[best]
        spread -= np.outer(shares, row)
        reach -= np.outer(shares, row @ moment)
    return chosen
