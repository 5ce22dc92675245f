"""The grid of numbers that a tensor may take: scale · (q − zero_point) for integers q.

| grid | integers q | zero point | scale |
|---|---|---|---|
| symmetric | −(2^{b−1} − 1) … 2^{b−1} − 1 | 0 | max |x| / (2^{b−1} − 1) |
| affine | 0 … 2^b − 1 | round(−min(x_min, 0) / scale) | (max(x_max, 0) − min(x_min, 0)) / (2^b − 1) |

Zero is always one of the numbers (Jacob et al. 2018, section 2.1), so padding, ReLU and pruned weights stay exact.
A range without width (a constant 0) gets `SCALE_FLOOR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.quantisation.errors import NotFinite, QuantisationError

SCALE_FLOOR = 1e-12
"""Smallest scale: products of two still are normal float32 numbers."""
MIN_BITS, MAX_BITS = 2, 8

Floats = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grid:
    """Bits, scale and zero point of a tensor, or of each of its channels.

    Attributes:
        bits: 2–8.
        symmetric: see the table above.
        scale: float32, > 0; shape () for a whole tensor, (channels,) for one a channel.
        zero_point: int32 of the same shape, within the integers of the grid.
        channel_axis: axis of the tensor that `scale` runs along; None for a whole tensor.
    """

    bits: int
    symmetric: bool
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int32]
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        check_bits(self.bits)
        if (self.scale.ndim == 0) != (self.channel_axis is None) or self.scale.ndim > 1:
            raise QuantisationError(
                f"expected one scale, or one a channel with its axis; got shape {self.scale.shape} and axis "
                f"{self.channel_axis}"
            )
        if self.zero_point.shape != self.scale.shape:
            raise QuantisationError(
                f"zero points {self.zero_point.shape} and scales {self.scale.shape} differ in shape"
            )
        if not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise QuantisationError("scales: expected finite numbers above 0")
        inside = (self.zero_point >= self.q_min) & (self.zero_point <= self.q_max)
        if not inside.all() or (self.symmetric and self.zero_point.any()):
            raise QuantisationError(
                f"zero points: expected {0 if self.symmetric else f'{self.q_min} to {self.q_max}'}, got "
                f"{self.zero_point.min()} to {self.zero_point.max()}"
            )

    @classmethod
    def of_range(
        cls,
        low: Floats | float,
        high: Floats | float,
        bits: int,
        *,
        symmetric: bool,
        channel_axis: int | None = None,
    ) -> Self:
        """The grid that covers [low, high] and 0; arrays for one range a channel.

        Raises:
            NotFinite: a bound is NaN or infinite.
        """
        check_bits(bits)
        lows, highs = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):
            raise NotFinite(f"range: expected finite numbers, got {low} to {high}")
        lows, highs = np.minimum(lows, 0.0), np.maximum(highs, 0.0)
        q_min, q_max = _integers(bits, symmetric)
        width = np.maximum(-lows, highs) if symmetric else highs - lows
        # float32 first: the zero point must fit the scale that is used
        steps = q_max if symmetric else q_max - q_min
        scale = np.asarray(np.maximum(width / steps, SCALE_FLOOR), dtype=np.float32)
        zero = np.zeros_like(lows) if symmetric else np.rint(q_min - lows / scale)
        zero_point = np.asarray(np.clip(zero, q_min, q_max), dtype=np.int32)
        return cls(
            bits=bits,
            symmetric=symmetric,
            scale=scale,
            zero_point=zero_point,
            channel_axis=channel_axis,
        )

    @property
    def q_min(self) -> int:
        """Smallest integer."""
        return _integers(self.bits, self.symmetric)[0]

    @property
    def q_max(self) -> int:
        """Largest integer."""
        return _integers(self.bits, self.symmetric)[1]

    @property
    def low(self) -> NDArray[np.float32]:
        """Smallest number of the grid, shaped as `scale`."""
        return np.asarray((self.q_min - self.zero_point) * self.scale, dtype=np.float32)

    @property
    def high(self) -> NDArray[np.float32]:
        """Largest number of the grid, shaped as `scale`."""
        return np.asarray((self.q_max - self.zero_point) * self.scale, dtype=np.float32)

    def quantise(self, values: NDArray[Any]) -> NDArray[np.int32]:
        """The integers nearest to `values` (ties to even); what is out of range goes to the nearest end.

        Raises:
            NotFinite: NaN or infinity among `values`.
            QuantisationError: another number of channels.
        """
        check_finite(values)
        scale, zero_point = self._spread(values.ndim, values.shape)
        with np.errstate(over="ignore"):  # beyond float32 is out of range, and goes to the end
            steps = np.rint(values.astype(np.float32) / scale) + zero_point
        return np.asarray(np.clip(steps, self.q_min, self.q_max), dtype=np.int32)

    def dequantise(self, integers: NDArray[Any]) -> NDArray[np.float32]:
        """The numbers that `integers` stand for."""
        scale, zero_point = self._spread(integers.ndim, integers.shape)
        return np.asarray((integers - zero_point).astype(np.float32) * scale)

    def nearest(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """`values` on the grid: |error| ≤ scale / 2 within [low, high]."""
        return self.dequantise(self.quantise(values))

    def nearest_tensor(self, values: Tensor) -> Tensor:
        """As `nearest`, in torch and without a gradient; NaN stays NaN here (it is found in the loss)."""
        scale, zero_point = (
            torch.from_numpy(np.ascontiguousarray(array)).to(values.dtype)
            for array in self._spread(values.ndim, tuple(values.shape))
        )
        steps = torch.round(values.detach() / scale) + zero_point
        return (steps.clamp_(self.q_min, self.q_max) - zero_point) * scale

    def _spread(
        self, ndim: int, shape: tuple[int, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Scale and zero point, shaped to be broadcast over a tensor."""
        if self.channel_axis is None:
            return self.scale, self.zero_point
        if not (self.channel_axis < ndim and shape[self.channel_axis] == len(self.scale)):
            raise QuantisationError(
                f"expected {len(self.scale)} channels on axis {self.channel_axis}, got shape {shape}"
            )
        spread = [1] * ndim
        spread[self.channel_axis] = -1
        return self.scale.reshape(spread), self.zero_point.reshape(spread)


def check_bits(bits: int) -> None:
    """Raises QuantisationError unless `bits` is 2–8."""
    if not MIN_BITS <= bits <= MAX_BITS:
        raise QuantisationError(f"bits: expected {MIN_BITS} to {MAX_BITS}, got {bits}")


def check_finite(values: NDArray[Any]) -> None:
    """Raises NotFinite where `values` has NaN or infinity, or nothing at all."""
    if values.size == 0:
        raise NotFinite("an empty tensor has no range; leave it in float32")
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise NotFinite(
            f"{bad} of {values.size} numbers are NaN or infinite; find where training diverged first"
        )


def _integers(bits: int, symmetric: bool) -> tuple[int, int]:
    if symmetric:
        limit = 2 ** (bits - 1) - 1
        return -limit, limit
    return 0, 2**bits - 1
