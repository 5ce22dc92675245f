"""Rounding that gradients pass through: the forward pass sees the grid, the backward pass does not see the rounding.

Straight-through estimator (Bengio et al. 2013; Jacob et al. 2018, section 3): the gradient is 1 inside the grid's range
and 0 outside. LSQ (Esser et al. 2020) learns the scale as well.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def fake_quantise(x: Tensor, scale: Tensor, zero_point: Tensor, q_min: int, q_max: int) -> Tensor:
    """`x` on the grid scale · (q − zero_point), with the straight-through gradient for `x` only.

    Args:
        scale, zero_point: as floating-point tensors, shaped to be broadcast over `x`; scale > 0.
    """
    result: Tensor = _StraightThrough.apply(x, scale, zero_point, q_min, q_max)  # type: ignore[no-untyped-call]
    return result


def lsq_quantise(
    x: Tensor, scale: Tensor, zero_point: Tensor, q_min: int, q_max: int, factor: float
) -> Tensor:
    """As `fake_quantise`, with a gradient for `scale` too.

    Esser et al. 2020, equation 3, with a zero point z: ∂x̂/∂s = round(x/s) − x/s inside, q_min − z below, q_max − z above.

    Args:
        factor: what the gradient of `scale` is multiplied with, see `lsq_factor`.
    """
    result: Tensor = _LearnedStep.apply(x, scale, zero_point, q_min, q_max, factor)  # type: ignore[no-untyped-call]
    return result


def lsq_factor(numbers: int, q_positive: int) -> float:
    """1 / √(N · Q_p): N numbers share the scale, Q_p is the largest integer above zero (section 2.2)."""
    return float((max(numbers, 1) * max(q_positive, 1)) ** -0.5)


class _StraightThrough(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor, q_min: int, q_max: int
    ) -> Tensor:
        steps = torch.round(x / scale).add_(zero_point)
        ctx.save_for_backward((steps >= q_min) & (steps <= q_max))
        return steps.clamp_(q_min, q_max).sub_(zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return grad_outputs[0] * inside, None, None, None, None


class _LearnedStep(Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        q_min: int,
        q_max: int,
        factor: float,
    ) -> Tensor:
        ctx.save_for_backward(x, scale, zero_point)
        ctx.ends, ctx.factor = (q_min, q_max), factor
        steps = torch.round(x / scale).add_(zero_point)
        return steps.clamp_(q_min, q_max).sub_(zero_point).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        x, scale, zero_point = ctx.saved_tensors
        ratio = x / scale
        rounded = torch.round(ratio)
        steps = rounded + zero_point
        inside = (steps >= ctx.ends[0]) & (steps <= ctx.ends[1])
        ends = steps.clamp(*ctx.ends) - zero_point
        slope = torch.where(inside, rounded - ratio, ends)
        for_scale = (gradient * slope).sum_to_size(scale.shape) * ctx.factor
        return gradient * inside, for_scale, None, None, None, None
