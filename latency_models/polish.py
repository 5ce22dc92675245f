"""Tells how slow networks are from how slow the machine was while each was timed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_STEPS = 20
_SETTLED = 1e-9


def median_polish(logs: Floats) -> tuple[Floats, Floats]:
    """(levels of the columns, speeds of the rows): log time ≈ level + speed.

    Median polish (Tukey 1977, "Exploratory Data Analysis", chapter 11), speeds with a median of 0. Every column helps to
    tell how slow a row was, and a single disturbed time moves nothing.

    Args:
        logs: (passes, networks), logarithms of times.
    """
    levels = np.median(logs, axis=0)
    for _ in range(_STEPS):
        speeds = np.median(logs - levels, axis=1)
        before, levels = levels, np.median(logs - speeds[:, None], axis=0)
        if np.abs(levels - before).max() < _SETTLED:
            break
    middle = float(np.median(speeds))
    return levels + middle, speeds - middle
