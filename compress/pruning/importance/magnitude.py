"""L1 and L2 norms of a channel's kernels (Li et al. 2017, "Pruning Filters for Efficient ConvNets", section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import numpy as np

from child_models import Dataset
from compress.pruning.groups import ChannelGroup
from compress.pruning.importance.base import Scores, kernels
from compress.trained_model import TrainedModel


def magnitude(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
    norm: Literal[1, 2],
) -> list[Scores]:
    """‖w_c‖_p over all kernels that give the channel together; data is not looked at."""
    scores = []
    for group in groups:
        powers = np.zeros(group.size)
        for name in kernels(group):
            weight = model.weights[name].astype(np.float64)
            powers += (np.abs(weight) ** norm).reshape(group.size, -1).sum(axis=1)
        scores.append(powers ** (1 / norm))
    return scores


l1 = partial(magnitude, norm=1)
l2 = partial(magnitude, norm=2)
