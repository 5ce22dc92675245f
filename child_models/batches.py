"""Training images as normalised, augmented tensors, in an order that a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from child_models.augmentation import AugmentationConfig, Augmenter
from child_models.datasets.base import Dataset
from child_models.training_config import TrainingConfig


class Batch(NamedTuple):
    """Images (batch, channels, height, width) float32, labels (batch,) int64, and their places in the split (batch,)."""

    images: Tensor
    labels: Tensor
    indices: NDArray[np.intp]


class TrainingBatches:
    """Shuffles and augments the training split anew each epoch.

    An epoch's batches differ by one image at most, so none is left over that is too small for BatchNorm.

    Args:
        batch_size: largest batch.
        seed: of order and augmentation; nothing else, and no other generator, decides them.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: AugmentationConfig,
        *,
        batch_size: int,
        channels_last: bool,
        seed: int,
    ) -> None:
        self.size = len(dataset.train)
        self.steps = -(-self.size // batch_size)
        """Batches an epoch."""
        self._augmenter = Augmenter(dataset.train.images, augmentation)
        self._labels = torch.tensor(dataset.train.labels)  # a copy: Ray's arrays are read-only
        scale, shift = dataset.scale_and_shift(dataset.train.images.dtype)
        self._scale, self._shift = torch.from_numpy(scale), torch.from_numpy(shift)
        self._channels_last = channels_last
        self._rng = np.random.default_rng([seed, 1])

    @classmethod
    def of(cls, dataset: Dataset, config: TrainingConfig, seed: int) -> Self:
        """As `config` says, with the data set's own augmentation where it says nothing."""
        return cls(
            dataset,
            config.augmentation or dataset.augmentation,
            batch_size=config.batch_size,
            channels_last=config.channels_last,
            seed=seed,
        )

    def epoch(self) -> Iterator[Batch]:
        """All images once."""
        order = self._rng.permutation(self.size)
        for indices in np.array_split(order, self.steps):
            batch = torch.from_numpy(self._augmenter.batch(indices, self._rng))
            images = batch.float().mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)
            yield Batch(
                images if self._channels_last else images.contiguous(),
                self._labels[torch.from_numpy(indices)],
                indices,
            )
