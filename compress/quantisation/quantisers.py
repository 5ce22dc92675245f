"""The parts of a module that is being trained quantised: one for each weight tensor, one for each map.

All keep their scales as flat tensors, so that the optimiser puts no weight decay on them.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.quantisation.codebook import Codebook
from compress.quantisation.fake_quant import fake_quantise, lsq_factor, lsq_quantise
from compress.quantisation.grids import SCALE_FLOOR, Grid
from compress.quantisation.result import WeightForm

OBSERVER_MOMENTUM = 0.05
"""Weight of a batch's range in the running range of a map."""


class Quantiser(nn.Module):
    """Rounds a tensor; in training mode it may adapt until `freeze`."""

    def forward(self, values: Tensor) -> Tensor:
        """`values` on the form's numbers."""
        raise NotImplementedError

    def form(self) -> WeightForm:
        """The numbers that are allowed now."""
        raise NotImplementedError

    def freeze(self) -> None:
        """Adapt no more."""


class _OnGrid(Quantiser):
    """Scale and zero point as flat buffers, spread over the tensor when used."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self._grid = grid
        self.register_buffer("scale", torch.from_numpy(grid.scale.reshape(-1).copy()))
        zero_point = grid.zero_point.reshape(-1).astype(np.float32)
        self.register_buffer("zero_point", torch.from_numpy(zero_point))

    def step(self, ndim: int) -> Tensor:
        """Distance between two numbers of the grid, spread over a tensor of `ndim` axes."""
        return self._spread(self.scale, ndim)

    def form(self) -> Grid:
        shape = self._grid.scale.shape
        return Grid(
            bits=self._grid.bits,
            symmetric=self._grid.symmetric,
            scale=self._current_scale().detach().numpy().reshape(shape).copy(),
            zero_point=self.zero_point.numpy().astype(np.int32).reshape(shape),
            channel_axis=self._grid.channel_axis,
        )

    def _current_scale(self) -> Tensor:
        return self.scale

    def _spread(self, flat: Tensor, ndim: int) -> Tensor:
        axis = self._grid.channel_axis
        return flat.view([-1 if i == axis else 1 for i in range(ndim)])


class FixedQuantiser(_OnGrid):
    """A grid that stays; no gradient passes."""

    def forward(self, values: Tensor) -> Tensor:
        return self._grid.nearest_tensor(values)


class RangeQuantiser(_OnGrid):
    """Straight-through; the grid follows the range of what it sees.

    Args:
        grid: from a calibration.
        low, high: the min-max range that the calibration saw; the part of it that the grid covers is kept.
        momentum: of the running range; 1 takes each tensor's own, as for weights.
    """

    low: Tensor
    high: Tensor

    def __init__(self, grid: Grid, low: Tensor, high: Tensor, *, momentum: float) -> None:
        super().__init__(grid)
        self.register_buffer("low", low.reshape(-1).clone())
        self.register_buffer("high", high.reshape(-1).clone())
        seen = _width(self.low, self.high, grid.symmetric)
        covered = _width(_flat(grid.low), _flat(grid.high), grid.symmetric)
        self._share = (covered / seen.clamp_min(SCALE_FLOOR)).clamp(max=1.0)
        self._momentum = momentum
        self._frozen = False

    def forward(self, values: Tensor) -> Tensor:
        if self.training and not self._frozen:
            self._follow(values.detach())
        scale, zero_point = (self._spread(t, values.ndim) for t in (self.scale, self.zero_point))
        return fake_quantise(values, scale, zero_point, self._grid.q_min, self._grid.q_max)

    def freeze(self) -> None:
        self._frozen = True

    def _follow(self, values: Tensor) -> None:
        axis = self._grid.channel_axis
        rows = values.reshape(1, -1) if axis is None else values.movedim(axis, 0).flatten(1)
        self.low.lerp_(rows.amin(1).clamp(max=0.0), self._momentum)
        self.high.lerp_(rows.amax(1).clamp(min=0.0), self._momentum)
        grid = self._grid
        width = _width(self.low, self.high, grid.symmetric) * self._share
        steps = grid.q_max if grid.symmetric else grid.q_max - grid.q_min
        self.scale.copy_((width / steps).clamp_min(SCALE_FLOOR))
        if not grid.symmetric:
            zero_point = torch.round(grid.q_min - self.low * self._share / self.scale)
            self.zero_point.copy_(zero_point.clamp(grid.q_min, grid.q_max))


class LsqQuantiser(_OnGrid):
    """Learns the scale (Esser et al. 2020); the zero point stays.

    The parameter is the logarithm of the scale over its calibrated value: the scale stays above 0, and Adam, whose steps
    do not shrink with the gradient, changes all scales by the same share.

    Args:
        numbers: how many numbers share one scale: weights of a channel, or numbers of a map of one image.
    """

    def __init__(self, grid: Grid, numbers: int) -> None:
        super().__init__(grid)
        self.log_scale = nn.Parameter(torch.zeros_like(self.scale))
        q_positive = grid.q_max - int(np.max(grid.zero_point))
        self._factor = lsq_factor(numbers, q_positive)

    def forward(self, values: Tensor) -> Tensor:
        return lsq_quantise(
            values,
            self._spread(self._current_scale(), values.ndim),
            self._spread(self.zero_point, values.ndim),
            self._grid.q_min,
            self._grid.q_max,
            self._factor,
        )

    def freeze(self) -> None:
        self.log_scale.requires_grad_(False)

    def step(self, ndim: int) -> Tensor:
        return self._spread(self._current_scale().detach(), ndim)

    def _current_scale(self) -> Tensor:
        return (self.scale * self.log_scale.exp()).clamp_min(SCALE_FLOOR)


class CodebookQuantiser(Quantiser):
    """Weights that share centroids; only the centroids are trained, a centroid of 0 not at all.

    The gradient of a centroid is the sum over its members (Han et al. 2016, section 3.3). The parameter is the centroid's
    move in units of the tensor's root mean square, so that one learning rate suits all layers.
    """

    codes: Tensor
    start: Tensor
    unit: Tensor

    def __init__(self, codebook: Codebook, weight: Tensor) -> None:
        super().__init__()
        codes = codebook.codes(weight.detach().numpy()).astype(np.int64)
        start = torch.from_numpy(codebook.centroids.copy())
        self.register_buffer("codes", torch.from_numpy(codes))
        self.register_buffer("start", start)
        root_mean_square = weight.detach().square().mean().sqrt().clamp_min(SCALE_FLOOR)
        self.register_buffer("unit", root_mean_square * (start != 0))
        self.move = nn.Parameter(torch.zeros_like(start))

    def forward(self, values: Tensor) -> Tensor:
        """The members' centroids; `values` themselves no longer matter."""
        return self.centroids()[self.codes].to(
            memory_format=torch.channels_last if values.ndim == 4 else torch.contiguous_format
        )

    def centroids(self) -> Tensor:
        """(k,) as they are now."""
        return self.start + self.unit * self.move

    def form(self) -> Codebook:
        return Codebook(np.unique(self.centroids().detach().numpy()))


def weight_quantiser(grid: Grid, weight: Tensor, *, learned: bool) -> Quantiser:
    """For a weight tensor on `grid`: LSQ if `learned`, else a grid that follows the weights."""
    axis = grid.channel_axis
    rows = (
        weight.detach().reshape(1, -1)
        if axis is None
        else weight.detach().movedim(axis, 0).flatten(1)
    )
    if learned:
        return LsqQuantiser(grid, rows.shape[1])
    low, high = rows.amin(1).clamp(max=0.0), rows.amax(1).clamp(min=0.0)
    return RangeQuantiser(grid, low, high, momentum=1.0)


def map_quantiser(grid: Grid, low: float, high: float, numbers: int, *, learned: bool) -> Quantiser:
    """For a map of `numbers` numbers an image that was seen between `low` and `high`."""
    if learned:
        return LsqQuantiser(grid, numbers)
    ends = (torch.tensor([bound], dtype=torch.float32) for bound in (low, high))
    return RangeQuantiser(grid, *ends, momentum=OBSERVER_MOMENTUM)


def _width(low: Tensor, high: Tensor, symmetric: bool) -> Tensor:
    return torch.maximum(-low, high) if symmetric else high - low


def _flat(values: NDArray[np.float32]) -> Tensor:
    return torch.from_numpy(values.reshape(-1).copy())
