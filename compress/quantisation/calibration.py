"""Which range a grid covers: the whole of what was seen, most of it, or what loses least.

| method | range |
|---|---|
| minmax | from the smallest to the largest number seen |
| percentile | without the outermost share of the numbers |
| mse | that part of the min-max range for which Σ (x − x̂)² is least (Choukroun et al. 2019, section 3) |

Weights are at hand and are looked at directly. Maps are streamed twice: first for their extremes, then for a histogram.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.quantisation.errors import NotFinite, QuantisationError
from compress.quantisation.grids import Grid, check_finite

Method = Literal["minmax", "percentile", "mse"]

NUM_BINS = 2048
"""Of a map's histogram: eight a step of an 8-bit grid."""
_SHARES = np.linspace(1.0, 0.2, 81)
"""Parts of the min-max range that "mse" tries, the whole first."""


def weight_grid(
    weight: NDArray[Any],
    bits: int,
    *,
    symmetric: bool = True,
    channel_axis: int | None = 0,
    method: Method = "mse",
    percentile: float = 99.9,
) -> Grid:
    """The grid of a weight tensor.

    Args:
        channel_axis: one scale for each index of this axis; None for one in all.
        percentile: share (in percent, > 50) of the numbers that "percentile" keeps.

    Raises:
        NotFinite: NaN, infinity or no numbers at all.
        QuantisationError: bits, axis or percentile out of range.
    """
    check_finite(weight)
    rows = _rows(weight, channel_axis).astype(np.float64)  # (channels or 1, numbers)
    low, high = rows.min(axis=1), rows.max(axis=1)
    if method == "percentile":
        low, high = _row_percentiles(rows, percentile, symmetric)
    if method == "mse":
        share = _best_shares(rows, low, high, bits, symmetric)
        low, high = low * share, high * share
    if channel_axis is None:
        low, high = low[0], high[0]
    return Grid.of_range(low, high, bits, symmetric=symmetric, channel_axis=channel_axis)


def _rows(weight: NDArray[Any], channel_axis: int | None) -> NDArray[Any]:
    if channel_axis is None:
        return weight.reshape(1, -1)
    if not 0 <= channel_axis < weight.ndim:
        raise QuantisationError(
            f"channel_axis: expected 0 to {weight.ndim - 1}, got {channel_axis}"
        )
    rows = np.moveaxis(weight, channel_axis, 0)
    return rows.reshape(len(rows), -1)


def _row_percentiles(
    rows: NDArray[np.float64], percentile: float, symmetric: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    check_percentile(percentile)
    if symmetric:
        high = np.percentile(np.abs(rows), percentile, axis=1)
        return -high, high
    low = np.percentile(rows, 100 - percentile, axis=1)
    return low, np.percentile(rows, percentile, axis=1)


def _best_shares(
    rows: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    bits: int,
    symmetric: bool,
) -> NDArray[np.float64]:
    """(rows,) the part of each row's range with the least squared error."""
    best = np.ones(len(rows))
    least = np.full(len(rows), np.inf)
    for share in _SHARES:
        grid = Grid.of_range(low * share, high * share, bits, symmetric=symmetric, channel_axis=0)
        error = ((rows - grid.nearest(rows)) ** 2).sum(axis=1)
        better = error < least
        best[better], least[better] = share, error[better]
    return best


class MapObserver:
    """Streams a map: call `see_range` on every batch, then `see_histogram` on every batch, then `grid`.

    For "minmax" the second round may be left out.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0  # zero is always inside
        self._counts = np.zeros(NUM_BINS, dtype=np.float64)

    def see_range(self, values: Tensor) -> None:
        """Raises NotFinite where a number is NaN or infinite."""
        low, high = (float(bound) for bound in torch.aminmax(values))
        if not (np.isfinite(low) and np.isfinite(high)):
            raise NotFinite("a map holds NaN or infinity on a calibration image")
        self.low, self.high = min(self.low, low), max(self.high, high)

    def see_histogram(self, values: Tensor) -> None:
        """Count into `NUM_BINS` bins between the extremes of all batches."""
        if self.high > self.low:
            counts = torch.histc(values.float(), NUM_BINS, self.low, self.high)
            self._counts += counts.double().numpy()

    def grid(self, bits: int, *, method: Method, percentile: float = 99.99) -> Grid:
        """The affine grid of the map: unsigned with zero point 0 where no number was negative."""
        low, high = self.low, self.high
        if method != "minmax" and high > low:
            if not self._counts.any():
                raise QuantisationError(f"{method}: expected a histogram; stream the batches twice")
            chosen = self._percentile(percentile) if method == "percentile" else self._least(bits)
            low, high = chosen
        return Grid.of_range(low, high, bits, symmetric=False)

    @property
    def _edges(self) -> NDArray[np.float64]:
        return np.linspace(self.low, self.high, NUM_BINS + 1)

    def _percentile(self, percentile: float) -> tuple[float, float]:
        check_percentile(percentile)
        shares = np.cumsum(self._counts) / self._counts.sum()
        outside = 1 - percentile / 100
        edges = self._edges
        low = edges[np.searchsorted(shares, outside, side="right")]
        high = edges[np.searchsorted(shares, 1 - outside) + 1]
        return min(float(low), 0.0), max(float(high), 0.0)

    def _least(self, bits: int) -> tuple[float, float]:
        """Each end on its own, the upper one first: ReLU has only that one."""
        edges = self._edges
        centres = ((edges[1:] + edges[:-1]) / 2).astype(np.float64)

        def error(low: float, high: float) -> float:
            grid = Grid.of_range(low, high, bits, symmetric=False)
            return float(self._counts @ (centres - grid.nearest(centres)) ** 2)

        high = min((self.high * share for share in _SHARES), key=lambda end: error(self.low, end))
        low = min((self.low * share for share in _SHARES), key=lambda end: error(end, high))
        return low, high


def check_percentile(percentile: float) -> None:
    """Raises QuantisationError unless 50 < `percentile` ≤ 100."""
    if not 50 < percentile <= 100:
        raise QuantisationError(f"percentile: expected above 50, up to 100; got {percentile}")
