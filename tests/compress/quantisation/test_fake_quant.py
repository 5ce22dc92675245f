"""Rounding that gradients pass through."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.quantisation.calibration import weight_grid
from compress.quantisation.fake_quant import fake_quantise, lsq_factor, lsq_quantise
from compress.quantisation.grids import Grid
from compress.quantisation.quantisers import LsqQuantiser, RangeQuantiser, weight_quantiser

ENDS = (-3, 3)


def tensors(seed: int, size: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    """x well inside and outside the range, one scale, one zero point; float64."""
    generator = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    return x, torch.tensor([0.7], dtype=torch.float64), torch.tensor([1.0], dtype=torch.float64)


def composed(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """LSQ from torch's own operations: rounding with its gradient taken as 1."""
    ratio = x / scale
    steps = (ratio.round() - ratio).detach() + ratio + zero_point
    return (steps.clamp(*ENDS) - zero_point) * scale


def test_the_gradient_is_one_inside_and_zero_outside() -> None:
    x = torch.tensor([-9.0, -2.6, -2.4, 0.0, 1.2, 3.4, 3.6], requires_grad=True)
    fake_quantise(x, torch.tensor([1.0]), torch.tensor([0.0]), *ENDS).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


@settings(deadline=None)
@given(seed=st.integers(0, 1000))
def test_lsq_gradients_are_those_of_the_formula(seed: int) -> None:
    x, scale, zero_point = tensors(seed)
    upstream = torch.arange(len(x), dtype=torch.float64)
    gradients = []
    for run in (
        lambda a, s: lsq_quantise(a, s, zero_point, *ENDS, 1.0),
        lambda a, s: composed(a, s, zero_point),
    ):
        a, s = x.clone().requires_grad_(), scale.clone().requires_grad_()
        gradients.append(torch.autograd.grad(run(a, s), (a, s), upstream))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradcheck_where_the_function_has_a_derivative() -> None:
    """Out of range it is flat in x and linear in the scale; there the estimator is exact."""
    x = torch.tensor([-9.0, 7.0, 20.0, -30.0], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
    zero_point = torch.tensor([1.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, s: lsq_quantise(a, s, zero_point, *ENDS, 1.0), (x, scale)
    )
    assert torch.autograd.gradcheck(
        lambda a: fake_quantise(a, scale.detach(), zero_point, *ENDS), (x,)
    )


def test_lsq_gradient_by_hand() -> None:
    """s = 1: below −Q_n → −3; 0.3 → 0 − 0.3; 1.6 → 2 − 1.6; above Q_p → 3; times 1/√(4·3)."""
    scale = torch.tensor([1.0], requires_grad=True)
    x = torch.tensor([-8.0, 0.3, 1.6, 5.0])
    factor = lsq_factor(4, 3)
    assert factor == pytest.approx(1 / math.sqrt(12))
    lsq_quantise(x, scale, torch.tensor([0.0]), *ENDS, factor).sum().backward()
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx((-3 - 0.3 + 0.4 + 3) * factor, rel=1e-5)


def test_the_forward_pass_is_the_grids() -> None:
    weight = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32))
    for symmetric in (True, False):
        grid = weight_grid(weight.numpy(), 4, symmetric=symmetric)
        for learned in (True, False):
            part = weight_quantiser(grid, weight, learned=learned).eval()
            np.testing.assert_array_equal(
                part(weight).detach().numpy(), grid.nearest(weight.numpy())
            )
            form = part.form()
            assert isinstance(form, Grid)
            np.testing.assert_array_equal(form.scale, grid.scale)


def test_a_grid_follows_its_weights_until_it_is_frozen() -> None:
    weight = torch.tensor([[-1.0, 0.5], [0.25, 0.2]])
    grid = weight_grid(weight.numpy(), 8, method="minmax")
    part = weight_quantiser(grid, weight, learned=False).train()
    assert isinstance(part, RangeQuantiser)
    part(2 * weight)
    np.testing.assert_allclose(part.scale, [2 / 127, 0.5 / 127], rtol=1e-6)
    part.freeze()
    part(4 * weight)
    np.testing.assert_allclose(part.scale, [2 / 127, 0.5 / 127], rtol=1e-6)


def test_evaluation_moves_nothing() -> None:
    grid = Grid.of_range(0.0, 1.0, 8, symmetric=False)
    ends = torch.zeros(1), torch.ones(1)
    part = RangeQuantiser(grid, *ends, momentum=0.5).eval()
    part(torch.tensor([5.0]))
    assert float(part.high) == 1.0
    part.train()(torch.tensor([5.0]))
    assert float(part.high) == 3.0


def test_learned_scales_stay_above_zero_and_freeze() -> None:
    part = LsqQuantiser(Grid.of_range(-1.0, 1.0, 4, symmetric=True), 10)
    with torch.no_grad():
        part.log_scale.fill_(-200.0)
    assert (part.form().scale > 0).all()
    part.freeze()
    assert not part(torch.ones(3)).requires_grad
