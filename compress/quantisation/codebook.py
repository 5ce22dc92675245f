"""Non-uniform quantisation: k numbers that a layer's weights may take, found by k-means (Han et al. 2016, section 3)."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.quantisation.errors import QuantisationError
from compress.quantisation.grids import check_bits, check_finite
from deploy.packing import Packed, packed_size_bytes

MAX_ROUNDS = 100
"""Of Lloyd's algorithm; it has mostly stopped by itself before."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """The numbers that a tensor may take.

    Attributes:
        centroids: (k,) float32, finite, each larger than the one before; 1 ≤ k ≤ 256.
    """

    centroids: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.centroids.ndim != 1 or not 1 <= len(self.centroids) <= 256:
            raise QuantisationError(
                f"centroids: expected 1 to 256 numbers, got shape {self.centroids.shape}"
            )
        check_finite(self.centroids)
        if (np.diff(self.centroids) <= 0).any():
            raise QuantisationError("centroids: expected each to be larger than the one before")

    @property
    def bits(self) -> int:
        """⌈log2 k⌉, at least 1: what one weight takes."""
        return max(1, ceil(log2(len(self.centroids))))

    def codes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Number of the nearest centroid of each value; of two as near, the smaller."""
        check_finite(values)
        middles = (self.centroids[1:].astype(np.float64) + self.centroids[:-1]) / 2
        return np.searchsorted(middles, values.astype(np.float64)).astype(np.uint8)

    def nearest(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """`values`, each replaced by its nearest centroid."""
        return np.asarray(self.centroids[self.codes(values)])

    def size_bytes(self, numbers: int) -> int:
        """Bytes that `numbers` weights take with their codebook: n·⌈log2 k⌉ + 32k bits and a header."""
        return packed_size_bytes(numbers, self.bits, len(self.centroids))

    def packed(self, values: NDArray[Any]) -> Packed:
        """What is written of a tensor."""
        return Packed(self.centroids, self.codes(values).ravel(), self.bits)


def kmeans_codebook(values: NDArray[Any], bits: int) -> Codebook:
    """The codebook of at most 2^`bits` centroids with (locally) the least squared error.

    Lloyd's algorithm from evenly spaced centroids (section 3.2: they keep the large weights), which is the same each time. A
    cluster that lost its members starts again at the value that is farthest from its own centroid. k is never more than
    there are different values. Where a value is exactly 0 (a pruned weight), 0 is a centroid.

    Raises:
        NotFinite: NaN, infinity or no numbers at all.
    """
    check_bits(bits)
    check_finite(values)
    unique, counts = np.unique(values.astype(np.float64), return_counts=True)
    if len(unique) <= 2**bits:
        return _codebook(unique)
    pinned = bool((unique == 0).any())
    if pinned:
        keep = unique != 0
        unique, counts = unique[keep], counts[keep]
    centroids = _lloyd(unique, counts, 2**bits - pinned)
    return _codebook(np.append(centroids, 0.0) if pinned else centroids)


def _lloyd(values: NDArray[np.float64], counts: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """(≤ k,) centroids of sorted, different `values` that occur `counts` times."""
    centroids = np.linspace(values[0], values[-1], k)
    for _ in range(MAX_ROUNDS):
        members = np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)
        weight = np.bincount(members, weights=counts, minlength=k)
        total = np.bincount(members, weights=counts * values, minlength=k)
        moved = np.where(weight > 0, total / np.maximum(weight, 1), centroids)
        moved = _reseeded(moved, weight == 0, values, members)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _reseeded(
    centroids: NDArray[np.float64],
    empty: NDArray[np.bool_],
    values: NDArray[np.float64],
    members: NDArray[np.intp],
) -> NDArray[np.float64]:
    """Empty clusters moved to the values farthest from their centroids, one each; sorted."""
    if empty.any():
        distance = np.abs(values - centroids[members])
        centroids = centroids.copy()
        centroids[empty] = values[np.argsort(-distance, kind="stable")[: int(empty.sum())]]
    return np.sort(centroids)


def _codebook(centroids: NDArray[np.float64]) -> Codebook:
    # two centroids may fall together in float32
    return Codebook(np.unique(centroids.astype(np.float32)))
