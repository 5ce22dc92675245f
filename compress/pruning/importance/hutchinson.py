"""The Hessian's trace by Hutchinson's estimator, as HAWQ-V2 uses it (Dong et al. 2020, sections 3.2 and 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from child_models import Dataset
from compress.pruning.groups import ChannelGroup
from compress.pruning.importance.base import (
    Scores,
    batches_of,
    by_channel,
    evaluating,
    kernels,
    mean_loss,
)
from compress.trained_model import TrainedModel

LossOfBatch = Callable[[Tensor, Tensor], Tensor]
"""Mean loss of images and labels."""
DAMPING = 0.1
"""λ: added to the mean curvature of a channel, so that one of no or negative curvature is judged by its weights."""
PROBES = 4
"""Random vectors a batch."""


def hutchinson(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
    damping: float = DAMPING,
    probes: int = PROBES,
) -> list[Scores]:
    """(max(t̄_c, 0) + λ)·‖w_c‖², where t̄_c is the mean of the Hessian's diagonal over the channel's weights.

    E[vᵀHv] over Rademacher vectors v is the trace; the part of v·Hv that belongs to a channel's weights estimates the
    channel's part of it.
    """
    module = evaluating(model)
    parameters = dict(module.named_parameters())
    names = sorted({name for group in groups for name in kernels(group)})
    diagonal = hessian_diagonal(
        [parameters[name] for name in names],
        lambda x, labels: mean_loss(module(x), labels),
        list(batches_of(dataset, images, seed)),
        probes=probes,
        seed=seed,
    )
    by_name = dict(zip(names, diagonal, strict=True))
    scores = []
    for group in groups:
        trace, squares, count = np.zeros(group.size), np.zeros(group.size), 0
        for name in kernels(group):
            weight = by_channel(torch.from_numpy(model.weights[name]).double())
            trace += by_channel(by_name[name]).sum(dim=1).numpy()
            squares += weight.square().sum(dim=1).numpy()
            count += weight.shape[1]
        scores.append((np.maximum(trace / count, 0) + damping) * squares)
    return scores


def hessian_diagonal(
    parameters: Sequence[Tensor],
    loss: LossOfBatch,
    batches: Sequence[tuple[Tensor, Tensor]],
    *,
    probes: int,
    seed: int,
) -> list[Tensor]:
    """Unbiased estimate v ⊙ Hv of the diagonal, mean over `probes` vectors a batch and over batches; float64."""
    generator = torch.Generator().manual_seed(seed)
    sums = [torch.zeros_like(p, dtype=torch.float64) for p in parameters]
    for x, labels in batches:
        gradients = torch.autograd.grad(loss(x, labels), parameters, create_graph=True)
        for _ in range(probes):
            vectors = [_rademacher(p, generator) for p in parameters]
            products = torch.autograd.grad(gradients, parameters, vectors, retain_graph=True)
            for total, vector, product in zip(sums, vectors, products, strict=True):
                total += (vector * product).detach().double()
    return [total / (probes * len(batches)) for total in sums]


def _rademacher(like: Tensor, generator: torch.Generator) -> Tensor:
    """±1 with equal chances."""
    signs = torch.randint(0, 2, like.shape, generator=generator)
    return (2 * signs - 1).to(like.dtype)
