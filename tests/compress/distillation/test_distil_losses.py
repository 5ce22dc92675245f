"""Every loss against numbers by hand, its gradient against differences, and what must not break it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from child_models import normalised_entropy
from compress.distillation.losses import (
    EVEN_ENTROPY,
    attention,
    feature,
    hard_example_weights,
    rkd_angle,
    rkd_distance,
    smaller_of,
    soft_targets,
)

Loss = Callable[[Tensor, Tensor], Tensor]


def _drawn(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _soft(student: Tensor, teacher: Tensor) -> Tensor:
    return soft_targets(student, teacher, 2.5)


def _soft_weighted(student: Tensor, teacher: Tensor) -> Tensor:
    return soft_targets(student, teacher, 4.0, hard_example_weights(teacher, 1.5))


LOSSES: dict[str, tuple[Loss, tuple[int, ...], tuple[int, ...]]] = {
    "soft": (_soft, (5, 4), (5, 4)),
    "soft weighted": (_soft_weighted, (5, 4), (5, 4)),
    "feature": (feature, (3, 4, 2, 3), (3, 4, 2, 3)),
    "attention": (attention, (3, 2, 4, 5), (3, 6, 4, 5)),
    "attention resized": (attention, (3, 2, 6, 3), (3, 4, 4, 5)),
    "distance": (rkd_distance, (5, 3), (5, 7)),
    "angle": (rkd_angle, (5, 3), (5, 7)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_are_those_of_differences(name: str) -> None:
    loss, student_shape, teacher_shape = LOSSES[name]
    student = _drawn(1, *student_shape).requires_grad_()
    teacher = _drawn(2, *teacher_shape)
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher), (student,))


@pytest.mark.parametrize("name", LOSSES)
def test_equal_is_zero_and_unequal_is_more(name: str) -> None:
    loss, student_shape, _ = LOSSES[name]
    student = _drawn(1, *student_shape)
    assert float(loss(student, student.clone())) == pytest.approx(0, abs=1e-14)
    assert float(loss(student, _drawn(2, *student_shape))) > 1e-3


@pytest.mark.parametrize("name", LOSSES)
def test_the_teacher_gets_no_gradient(name: str) -> None:
    loss, student_shape, teacher_shape = LOSSES[name]
    student = _drawn(1, *student_shape).requires_grad_()
    teacher = _drawn(2, *teacher_shape).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert float(student.grad.abs().sum()) > 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_zeros_and_equal_images_give_finite_gradients(name: str, dtype: torch.dtype) -> None:
    loss, student_shape, teacher_shape = LOSSES[name]
    for student, teacher in (
        (torch.zeros(student_shape), _drawn(2, *teacher_shape)),
        (_drawn(1, *student_shape), torch.zeros(teacher_shape)),
        (torch.zeros(student_shape), torch.zeros(teacher_shape)),
        (_drawn(1, 1, *student_shape[1:]).expand(student_shape), _drawn(2, *teacher_shape)),
        (_twin(_drawn(1, *student_shape), 0.0), _drawn(2, *teacher_shape)),
        (_twin(_drawn(1, *student_shape), 1e-7), _drawn(2, *teacher_shape)),
    ):
        leaf = student.to(dtype).clone().requires_grad_()
        value = loss(leaf, teacher.to(dtype))
        value.backward()
        assert leaf.grad is not None
        assert torch.isfinite(value)
        assert torch.isfinite(leaf.grad).all()
        assert float(leaf.grad.abs().max()) < 1e3


def _twin(points: Tensor, distance: float) -> Tensor:
    """The second image is the first one, moved a little."""
    return torch.cat([points[:1], points[:1] + distance, points[2:]])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch", [1, 2])
def test_batches_too_small_to_compare_give_zero(name: str, batch: int) -> None:
    loss, student_shape, teacher_shape = LOSSES[name]
    student = _drawn(1, batch, *student_shape[1:]).requires_grad_()
    value = loss(student, _drawn(2, batch, *teacher_shape[1:]))
    value.backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    if name == "angle" or (name == "distance" and batch == 1):
        assert float(value.detach()) == 0
        assert not student.grad.any()


def test_soft_targets_by_hand() -> None:
    # softmax(logits / 2): teacher (0.8, 0.2), student (0.5, 0.5)
    teacher = torch.tensor([[2 * math.log(4), 0.0]], dtype=torch.float64)
    student = torch.zeros(1, 2, dtype=torch.float64)
    divergence = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(soft_targets(student, teacher, 2.0)) == pytest.approx(4 * divergence)
    # a mean over images, not over numbers: the same for a batch of equal rows
    many = soft_targets(student.expand(7, 2), teacher.expand(7, 2), 2.0)
    assert float(many) == pytest.approx(4 * divergence)
    assert float(soft_targets(student, teacher, 2.0)) == pytest.approx(
        4 * float(F.kl_div(student.log_softmax(1), (teacher / 2).softmax(1), reduction="batchmean"))
    )


def test_the_gradient_of_soft_targets_at_high_temperature() -> None:
    # Hinton et al. 2015, equation 4: (z_s − z_t) / classes for zero-mean logits, T² taken into account
    student, teacher = _drawn(1, 1, 6), _drawn(2, 1, 6)
    student, teacher = student - student.mean(), teacher - teacher.mean()
    student.requires_grad_()
    soft_targets(student, teacher, 1e4).backward()
    assert student.grad is not None
    assert torch.allclose(student.grad, (student - teacher) / 6, atol=1e-4)


def test_feature_is_relative_to_the_teacher() -> None:
    teacher = _drawn(1, 2, 3, 4, 4)
    assert float(feature(torch.zeros_like(teacher), teacher)) == pytest.approx(1)
    assert float(feature(1.1 * teacher, teacher)) == pytest.approx(0.01)
    assert float(feature(110 * teacher, 100 * teacher)) == pytest.approx(0.01)


def test_attention_by_hand() -> None:
    # energies (9, 16) and (16, 9) over two places: 2 − 2·cos, cos = 288 / 337
    student = torch.tensor([3.0, 4.0], dtype=torch.float64).view(1, 1, 1, 2)
    teacher = torch.tensor([4.0, 3.0], dtype=torch.float64).view(1, 1, 1, 2)
    assert float(attention(student, teacher)) == pytest.approx(2 - 2 * 288 / 337)
    # channels are summed, and the scale does not matter
    split = torch.cat([student / 2**0.5] * 2, dim=1)
    assert float(attention(5 * split, student)) == pytest.approx(0, abs=1e-12)
    apart = torch.tensor([0.0, 1.0], dtype=torch.float64).view(1, 1, 1, 2)
    assert float(attention(apart, apart.flip(3))) == pytest.approx(2)


def test_maps_meet_at_the_smaller_height_and_width() -> None:
    tall, wide = _drawn(1, 2, 3, 8, 4), _drawn(2, 2, 5, 4, 6)
    first, second = smaller_of(tall, wide)
    assert first.shape == (2, 3, 4, 4)
    assert second.shape == (2, 5, 4, 4)
    assert torch.allclose(first[:, :, 0], tall[:, :, :2].mean(2))


def test_distances_by_hand() -> None:
    # on a line: 0, 1, 3 → distances 1, 3, 2 → over their mean 2: 0.5, 1.5, 1
    line = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    # equal sides: 1, 1, 1
    triangle = torch.eye(3, dtype=torch.float64)
    expected = (0.5 * 0.25 + 0.5 * 0.25 + 0) / 3
    assert float(rkd_distance(line, triangle)) == pytest.approx(expected)
    assert float(rkd_distance(100 * line, triangle)) == pytest.approx(expected)


def test_equal_images_do_not_count_in_the_mean_distance() -> None:
    # distances 0, 2, 2: the mean of those above 0 is 2, so they are 0, 1, 1
    points = torch.tensor([[0.0], [0.0], [2.0]], dtype=torch.float64)
    triangle = torch.eye(3, dtype=torch.float64)
    assert float(rkd_distance(points, triangle)) == pytest.approx(0.5 / 3)


def test_angles_by_hand() -> None:
    # a triangle of equal sides has cosines ½; three points on a line have 1, −1 and 1
    triangle = torch.eye(3, dtype=torch.float64)
    line = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    # Huber of ½ is ⅛, of 3/2 is 1
    assert float(rkd_angle(line, triangle)) == pytest.approx((1 / 8 + 1 + 1 / 8) / 3)
    turned = triangle @ torch.linalg.qr(_drawn(1, 3, 3))[0] * 7 + 2
    assert float(rkd_angle(turned, triangle)) == pytest.approx(0, abs=1e-14)


@given(
    seed=st.integers(0, 10**6),
    images=st.integers(1, 40),
    spread=st.floats(0, 20),
    cap=st.floats(1, 10),
)
def test_hard_example_weights(seed: int, images: int, spread: float, cap: float) -> None:
    logits = spread * _drawn(seed, images, 5)
    weights = hard_example_weights(logits, cap)
    assert float(weights.mean()) == pytest.approx(1)
    assert float(weights.max()) <= cap * (1 + 1e-5)
    assert float(weights.min()) > 0
    entropy = np.clip(normalised_entropy(logits.numpy()), EVEN_ENTROPY, 1)
    order = np.argsort(entropy, kind="stable")
    assert (np.diff(weights.numpy()[order]) >= -1e-5).all()
    below = weights.numpy() < cap * (1 - 1e-4)
    shares = weights.numpy()[below] / entropy[below]
    assert np.allclose(shares, shares.mean() if len(shares) else 0, rtol=1e-3)


def test_hard_example_weights_by_hand() -> None:
    even = torch.zeros(1, 2, dtype=torch.float64)
    sure = torch.tensor([[50.0, 0.0]], dtype=torch.float64)
    # normalised entropies 1, 0.01, 0.01, 0.01
    logits = torch.cat([even, sure, sure, sure])
    assert hard_example_weights(logits, 1000.0).tolist() == pytest.approx(
        [4 / 1.03, *3 * [0.04 / 1.03]]
    )
    assert hard_example_weights(logits, 2.0).tolist() == pytest.approx([2, *3 * [2 / 3]])
    assert hard_example_weights(logits, 1.0).tolist() == pytest.approx([1, 1, 1, 1])
