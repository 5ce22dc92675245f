"""Second order, with the Fisher information as the Hessian's diagonal (Theis et al. 2018; LeCun et al. 1990, OBD)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from child_models import ChildModule, Dataset
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


def fisher(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
) -> list[Scores]:
    """½·Σ_s F_s·w_s² over the channel's weights s; F_s is the mean over images of the squared gradient.

    The gradients are those of single images: the square of a batch's gradient is another, far smaller number.
    """
    module = evaluating(model)
    names = sorted({name for group in groups for name in kernels(group)})
    information = fisher_diagonal(module, names, list(batches_of(dataset, images, seed)))
    scores = []
    for group in groups:
        total = np.zeros(group.size)
        for name in kernels(group):
            weight = torch.from_numpy(model.weights[name]).double()
            total += by_channel(information[name] * weight.square()).sum(dim=1).numpy() / 2
        scores.append(total)
    return scores


def fisher_diagonal(
    module: ChildModule, names: Sequence[str], batches: Sequence[tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """For each parameter in `names` the mean over images of its squared gradient, float64, in its own shape."""
    everything = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    own = {name: everything.pop(name).detach() for name in names}
    others = {name: tensor.detach() for name, tensor in everything.items()}

    def loss(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        heads = functional_call(module, {**others, **parameters}, (image[None],))
        return mean_loss(heads, label[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0))
    sums = {name: torch.zeros_like(own[name], dtype=torch.float64) for name in names}
    seen = 0
    for x, labels in batches:
        for name, gradients in each(own, x.contiguous(), labels).items():
            sums[name] += gradients.double().square().sum(dim=0)
        seen += len(x)
    return {name: total / seen for name, total in sums.items()}
