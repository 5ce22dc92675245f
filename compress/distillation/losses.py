"""What a student is compared with its teacher by: pure functions of tensors, in float32 or float64, on any device.

All are means over the batch (`batchmean`), at least 0, and 0 where the student does as the teacher. A teacher's tensor gets
no gradient. None gives NaN for finite input: not for equal images, a map of zeros, or a batch too small to compare.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-12
"""Below any sum of squares that matters; keeps quotients of zeros finite."""
NO_DIRECTION = 1e-4
"""Points nearer than this share of the mean distance count as one: the angle between them would be rounding."""
EVEN_ENTROPY = 0.01
"""Least normalised entropy that counts, so that a batch of which the teacher is sure is weighted evenly."""


def soft_targets(
    student: Tensor, teacher: Tensor, temperature: float, weights: Tensor | None = None
) -> Tensor:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)), in nats (Hinton, Vinyals & Dean 2015, section 2).

    The factor T² keeps the gradient's size where T changes (section 2.1).

    Args:
        student, teacher: logits (batch, classes).
        temperature: T, above 0.
        weights: of the images (batch,), with mean 1; None for 1.
    """
    log_student = F.log_softmax(student / temperature, dim=1)
    log_teacher = F.log_softmax(teacher.detach() / temperature, dim=1)
    divergence = F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(1)
    return temperature**2 * weighted_mean(divergence, weights)


def feature(student: Tensor, teacher: Tensor) -> Tensor:
    """mean (student − teacher)² / mean teacher², over the whole batch (FitNets: Romero et al. 2015, equation 3).

    The quotient, which FitNets does not have, makes layers of different size comparable: 1 is as bad as saying 0. Where
    the teacher says 0 everywhere, there is nothing to divide by, and nothing is divided.

    Args:
        student: after its adapter, of the teacher's shape.
        teacher: (batch, channels, …).
    """
    teacher = teacher.detach()
    power = teacher.square().mean()
    return F.mse_loss(student, teacher) / torch.where(power > EPSILON, power, 1.0)


def attention(student: Tensor, teacher: Tensor) -> Tensor:
    """‖Q_S/‖Q_S‖₂ − Q_T/‖Q_T‖₂‖₂², Q = Σ_c F_c² flattened, in [0, 2] (Zagoruyko & Komodakis 2017, equation 2).

    Squared, as in the authors' code: the norm itself has no gradient where the maps agree. Maps of different height or
    width are averaged over cells to the smaller of the two.

    Args:
        student, teacher: maps (batch, channels, height, width); the channels may differ.
    """
    student, teacher = smaller_of(student, teacher)
    difference = _attention_map(student) - _attention_map(teacher.detach())
    return difference.square().sum(1).mean()


def _attention_map(maps: Tensor) -> Tensor:
    """(batch, height · width) of length 1."""
    energy = maps.square().sum(1).flatten(1)
    return energy / (energy.square().sum(1, keepdim=True) + EPSILON**2).sqrt()


def smaller_of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Both maps (batch, channels, height, width), averaged over cells to the smaller height and the smaller width."""
    height, width = (min(first.shape[axis], second.shape[axis]) for axis in (2, 3))
    resized = [
        maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))
        for maps in (first, second)
    ]
    return resized[0], resized[1]


def rkd_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of distances between images, each set divided by its mean (RKD: Park et al. 2019, equations 5 to 7).

    Over pairs i < j; the mean is that of the distances above 0. 0 for fewer than two images.

    Args:
        student, teacher: embeddings (batch, features); the numbers of features may differ.
    """
    if len(student) < 2:
        return _nothing(student)
    with torch.no_grad():
        wanted = _relative_distances(teacher)
    return F.huber_loss(_relative_distances(student), wanted)


def _relative_distances(points: Tensor) -> Tensor:
    # pdist has gradient 0, not NaN, where two points are equal
    distances = F.pdist(points)  # (batch · (batch − 1) / 2,)
    apart = distances > 0
    mean = (distances * apart).sum() / apart.sum().clamp(min=1)
    return distances / mean.clamp(min=EPSILON)


def rkd_angle(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber loss of cos ∠(i, j, k) over all triples of different images (RKD: Park et al. 2019, equations 8 and 9).

    0 for fewer than three images. Needs batch³ numbers. An angle with two corners in one place counts as a right one.

    Args:
        student, teacher: embeddings (batch, features); the numbers of features may differ.
    """
    count = len(student)
    if count < 3:
        return _nothing(student)
    with torch.no_grad():
        wanted = _cosines(teacher)
    same = torch.eye(count, dtype=torch.bool, device=student.device)
    # at corner j, between the ways to i and to k
    distinct = ~(same[:, :, None] | same[:, None, :] | same[None, :, :])
    losses = F.huber_loss(_cosines(student), wanted, reduction="none")
    return (losses * distinct).sum() / distinct.sum()


def _cosines(points: Tensor) -> Tensor:
    """(j, i, k): cosine at corner j between the ways to i and to k; 0 where there is no way."""
    ways = points[None, :, :] - points[:, None, :]
    squares = ways.square().sum(2, keepdim=True)
    mean = squares.detach().clamp(min=EPSILON**2).sqrt().mean()
    apart = squares > (NO_DIRECTION * mean).square() + EPSILON**2
    # the root is of 1 where there is no way, so that its gradient is finite there
    length = torch.where(apart, squares, torch.ones_like(squares)).sqrt()
    directions = torch.where(apart, ways / length, torch.zeros_like(ways))
    return torch.bmm(directions, directions.transpose(1, 2))


def weighted_mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """Over the images (batch,); `weights` have mean 1."""
    return losses.mean() if weights is None else (losses * weights).mean()


def hard_example_weights(teacher: Tensor, cap: float) -> Tensor:
    """Weights of the images (batch,): proportional to the teacher's normalised entropy, at most `cap`, with mean 1.

    What the cap takes is shared among the others, in proportion, until all fit.

    Args:
        teacher: logits (batch, classes), at least two classes.
        cap: at least 1.
    """
    log_shares = F.log_softmax(teacher.detach(), dim=1)
    entropy = -(log_shares.exp() * log_shares).sum(1) / math.log(teacher.shape[1])
    entropy = entropy.clamp(min=EVEN_ENTROPY)
    ordered, order = entropy.sort(descending=True)
    # with the k highest at the cap, the rest share what is left of the batch's total; take the first k that fits
    count = len(ordered)
    capped = torch.arange(count, device=teacher.device)
    left_to_share = count - cap * capped
    rest = ordered.flip(0).cumsum(0).flip(0)  # sum of entropies from k on
    scale = left_to_share / rest
    fits = scale * ordered <= cap * (1 + 1e-6)
    first = int(fits.to(torch.int64).argmax())
    shared = (scale[first] * ordered).clamp(max=cap)
    shared[:first] = cap
    return torch.empty_like(shared).scatter_(0, order, shared)


def _nothing(student: Tensor) -> Tensor:
    """0 that may be differentiated."""
    return student.sum() * 0.0
