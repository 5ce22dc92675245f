"""First-order Taylor expansion of the loss (Molchanov et al. 2019, "Importance Estimation for Neural Network Pruning")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

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


def taylor(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
) -> list[Scores]:
    """(Σ_s g_s·w_s)² over the channel's weights s, summed before the square (equation 8), mean over batches.

    g is the gradient of a batch's mean loss.
    """
    module = evaluating(model)
    weights = dict(module.named_parameters())
    totals = [np.zeros(group.size) for group in groups]
    count = 0
    for x, labels in batches_of(dataset, images, seed):
        module.zero_grad()
        mean_loss(module(x), labels).backward()  # type: ignore[no-untyped-call]
        for total, group in zip(totals, groups, strict=True):
            products = torch.zeros(group.size, dtype=torch.float64)
            for name in kernels(group):
                gradient = weights[name].grad
                assert gradient is not None
                products += by_channel((gradient * weights[name]).detach().double()).sum(dim=1)
            total += products.square().numpy()
        count += 1
    return [total / count for total in totals]
