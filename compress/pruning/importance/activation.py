"""Mean absolute activation of a channel where it is read (Molchanov et al. 2017, section 2.2, "activation")."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from child_models import Dataset
from compress.pruning.groups import ChannelGroup
from compress.pruning.importance.base import Scores, batches_of, evaluating
from compress.trained_model import TrainedModel


def activation(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
) -> list[Scores]:
    """Σ over the layers that read the channel: mean of |x_c| over images and pixels."""
    module = evaluating(model)
    sums: dict[str, Tensor] = {}

    def watch(name: str) -> None:
        def look(_layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].abs().double()
            # (batch, channels, height, width) or (batch, channels)
            mean = x.flatten(2).mean(dim=2).sum(dim=0) if x.ndim == 4 else x.sum(dim=0)
            sums[name] = sums.get(name, torch.zeros_like(mean)) + mean

        module.layers[name].register_forward_pre_hook(look)

    for name in {name for group in groups for name in group.consumers}:
        watch(name)
    seen = 0
    with torch.no_grad():
        for x, _labels in batches_of(dataset, images, seed):
            module(x)
            seen += len(x)
    scores = []
    for group in groups:
        # a channel that nothing reads does nothing
        total = np.zeros(group.size)
        for name in group.consumers:
            total += sums[name].numpy() / seen
        scores.append(total)
    return scores
