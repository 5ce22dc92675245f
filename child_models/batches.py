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
    """Images (batch, channels, height, width) float32, labels (batch,) int64, and their places in the split (batch,).

    `view` says which of `ViewBatches`' views the images are of; None where each epoch is augmented anew.
    """

    images: Tensor
    labels: Tensor
    indices: NDArray[np.intp]
    view: int | None = None


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
            yield self._batch(self._augmenter.batch(indices, self._rng), indices)

    def _batch(
        self, pixels: NDArray[np.generic], indices: NDArray[np.intp], view: int | None = None
    ) -> Batch:
        """Of augmented images (batch, height, width, channels), normalised here."""
        batch = torch.from_numpy(pixels)
        images = batch.float().mul_(self._scale).add_(self._shift).permute(0, 3, 1, 2)
        return Batch(
            images if self._channels_last else images.contiguous(),
            self._labels[torch.from_numpy(indices)],
            indices,
            view,
        )


class ViewBatches(TrainingBatches):
    """As `TrainingBatches`, but from a fixed number of augmented copies of the split: epoch e shows view e mod `views`.

    What an image looks like in a view depends on `views_seed` and the view, not on the order of the batches or the seed
    of the order: so what a teacher says of a view can be kept and used for every student.

    Args:
        views: how many copies, at least 1; no more than the current one is held in memory.
        views_seed: of the copies' augmentation.
    """

    def __init__(
        self,
        dataset: Dataset,
        augmentation: AugmentationConfig,
        *,
        batch_size: int,
        channels_last: bool,
        seed: int,
        views: int = 1,
        views_seed: int = 0,
    ) -> None:
        super().__init__(
            dataset,
            augmentation,
            batch_size=batch_size,
            channels_last=channels_last,
            seed=seed,
        )
        if views < 1:
            raise ValueError(f"views: expected at least 1, got {views}")
        self.views, self.views_seed = views, views_seed
        self._epochs = 0

    def epoch(self) -> Iterator[Batch]:
        view = self._epochs % self.views
        self._epochs += 1
        pixels = self._view(view)
        order = self._rng.permutation(self.size)
        for indices in np.array_split(order, self.steps):
            yield self._batch(pixels[indices], indices, view)

    def in_order(self, view: int, *, batch_size: int = 250) -> Iterator[Batch]:
        """All images of one view, unshuffled."""
        pixels = self._view(view)
        for start in range(0, self.size, batch_size):
            indices = np.arange(start, min(start + batch_size, self.size), dtype=np.intp)
            yield self._batch(pixels[indices], indices, view)

    def _view(self, view: int) -> NDArray[np.generic]:
        """(images, height, width, channels), augmented."""
        everything = np.arange(self.size, dtype=np.intp)
        rng = np.random.default_rng([self.views_seed, 2, view])
        return self._augmenter.batch(everything, rng)
