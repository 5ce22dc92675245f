"""Less of a data set, for children that are only to be compared cheaply: fewer training images, smaller ones."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from archspace import Network, Shape
from child_models.datasets.base import Dataset, Images, Split

_CHUNK = 1024
_made: WeakKeyDictionary[Dataset, dict[tuple[float, int | None, int], Dataset]] = (
    WeakKeyDictionary()
)


def reduced_dataset(
    dataset: Dataset, data_fraction: float, resolution: int | None, *, seed: int
) -> Dataset:
    """`dataset` with fewer training images, or with smaller images for training and validation.

    Made once a process and kept as long as `dataset`. Normalisation stays the full data set's; shifts of the
    augmentation shrink with the images. All validation images stay. The test split is left as it is: nothing that is
    reduced is tested.

    Args:
        data_fraction: share of each class's training images, in (0, 1]; at least one image. Of one seed, smaller
            fractions are parts of larger ones.
        resolution: new height in pixels, the width in proportion; None: as they are.
        seed: which images stay.

    Raises:
        ValueError: the fraction is out of range, or the images are not larger than `resolution`.
    """
    known = _made.setdefault(dataset, {})
    key = (data_fraction, resolution, seed)
    if key not in known:
        known[key] = _reduced(dataset, *key)
    return known[key]


def at_resolution(network: Network, shape: Shape) -> Network:
    """`network` as it reads images of `shape`'s height and width: its heads pool over whatever map they get.

    Raises:
        ValueError: maps that are added would differ in size, or vanish.
    """
    if network.input_shape[1:] == shape[1:]:
        return network
    resized = replace(
        network, input_shape=Shape(network.input_shape.channels, shape.height, shape.width)
    )
    assert resized.shapes  # computed here, so that what does not fit is said here
    return resized


def smaller_shape(shape: Shape, resolution: int) -> Shape:
    """Images of `shape` scaled to a height of `resolution`. Raises ValueError unless that is smaller."""
    if not 1 <= resolution < shape.height:
        raise ValueError(
            f"resolution {resolution}: expected 1 to {shape.height - 1}, less than the images' height of {shape.height}"
        )
    width = max(1, round(shape.width * resolution / shape.height))
    return Shape(shape.channels, resolution, width)


def _reduced(dataset: Dataset, data_fraction: float, resolution: int | None, seed: int) -> Dataset:
    if not 0 < data_fraction <= 1:
        raise ValueError(f"data_fraction: expected more than 0 and at most 1, got {data_fraction}")
    train, validation, augmentation = dataset.train, dataset.validation, dataset.augmentation
    if data_fraction < 1:
        kept = _stratified(train.labels, dataset.num_classes, data_fraction, seed)
        train = Split(images=train.images[kept], labels=train.labels[kept])
    if resolution is not None:
        full = dataset.input_shape
        shape = smaller_shape(full, resolution)
        train, validation = _scaled(train, shape), _scaled(validation, shape)
        shift = round(augmentation.shift * resolution / full.height)
        augmentation = augmentation.model_copy(update={"shift": shift})
    return replace(dataset, train=train, validation=validation, augmentation=augmentation)


def _stratified(
    labels: NDArray[np.int64], num_classes: int, fraction: float, seed: int
) -> NDArray[np.intp]:
    """Growing indices of the first `fraction` of each class in an order that the seed decides."""
    rng = np.random.default_rng([seed, 2])
    parts = []
    for label in range(num_classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        parts.append(members[: max(1, round(fraction * len(members)))])
    return np.sort(np.concatenate(parts))


def _scaled(split: Split, shape: Shape) -> Split:
    """Each pixel is the mean of the area that it covers."""
    images: Images = np.empty((len(split), *shape), dtype=split.images.dtype)
    with torch.inference_mode():
        for start in range(0, len(split), _CHUNK):
            # a copy: arrays of another process's are read-only
            chunk = torch.tensor(split.images[start : start + _CHUNK]).float()
            small = F.interpolate(chunk, size=(shape.height, shape.width), mode="area").numpy()
            if images.dtype == np.uint8:
                small = small.round()
            images[start : start + _CHUNK] = small
    return Split(images=images, labels=split.labels)
