"""What all methods share: channels' slices of arrays, and batches to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from child_models import ChildModule, Dataset
from child_models.scoring import loaded_module
from compress.pruning.groups import ChannelGroup
from compress.trained_model import TrainedModel

Scores = NDArray[np.float64]
BATCH_SIZE = 64


class Importance(Protocol):
    """Scores the channels of every group."""

    def __call__(
        self,
        model: TrainedModel,
        groups: Sequence[ChannelGroup],
        dataset: Dataset,
        *,
        images: int,
        seed: int,
    ) -> list[Scores]:
        """One (size,) array a group, ≥ 0; what matters least goes first.

        Args:
            images: how many training images a method that needs data looks at.
            seed: of the images, and of whatever else is drawn.
        """


def kernels(group: ChannelGroup) -> list[str]:
    """State-dict names of the kernels whose first axis is the group's channels: they are scored jointly."""
    return [f"layers.{name}.conv.weight" for name in (*group.producers, *group.depthwise)]


def by_channel(values: Tensor) -> Tensor:
    """(channels, …) → (channels, rest)."""
    return values.reshape(len(values), -1)


def batches_of(dataset: Dataset, images: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Unaugmented training images (batch, channels, height, width) and labels, drawn without replacement."""
    order = np.random.default_rng([seed, 7]).permutation(len(dataset.train))[:images]
    for start in range(0, len(order), BATCH_SIZE):
        indices = order[start : start + BATCH_SIZE]
        yield (
            torch.from_numpy(dataset.normalise(dataset.train.images[indices])),
            torch.from_numpy(dataset.train.labels[indices]),
        )


def evaluating(model: TrainedModel) -> ChildModule:
    """The module with its running statistics in use: channels are judged as they will run."""
    return loaded_module(model.network, model.weights)


def mean_loss(heads: tuple[Tensor, ...], labels: Tensor) -> Tensor:
    """Mean cross-entropy of all heads."""
    return torch.stack([F.cross_entropy(head, labels) for head in heads]).mean()
