"""Chance: the control that every other method must beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from child_models import Dataset
from compress.pruning.groups import ChannelGroup
from compress.pruning.importance.base import Scores
from compress.trained_model import TrainedModel


def random_scores(
    model: TrainedModel,
    groups: Sequence[ChannelGroup],
    dataset: Dataset,
    *,
    images: int,
    seed: int,
) -> list[Scores]:
    """Uniform in [0, 1)."""
    rng = np.random.default_rng([seed, 11])
    return [rng.random(group.size) for group in groups]
