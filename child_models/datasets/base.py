"""What every data set becomes: three splits of images with labels, checked.

ValueError
└── DataError    files or arrays that cannot be used; the message says what was expected and what came
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from archspace import Normalization, Shape
from child_models.augmentation import AugmentationConfig

Images = NDArray[np.uint8] | NDArray[np.float32]
SPLITS = ("train", "validation", "test")
_FLAT = 1e-6


class DataError(ValueError):
    """Data that cannot be used; the message says what was expected, what came and what to do."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """Images and their classes.

    Attributes:
        images: (samples, channels, height, width); uint8 means pixels of 0-255, float32 is used as it is.
        labels: (samples,), int64 in [0, classes).
    """

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Train, validation and test: a search sees the first two only.

    Attributes:
        name: for people.
        class_names: the name of class 0, 1, …
        normalization: mean and standard deviation of each channel of the training images, in [0, 1] for uint8.
        augmentation: what suits these images, unless the training settings say otherwise.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    normalization: Normalization
    augmentation: AugmentationConfig

    @property
    def input_shape(self) -> Shape:
        """Of one image."""
        return Shape(*self.train.images.shape[1:])

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (first 16 hex digits) of all that training and scoring depend on: contents, split, classes, augmentation."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.images, split.labels):
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        digest.update(repr((self.class_names, self.normalization, self.augmentation)).encode())
        return digest.hexdigest()[:16]

    def normalise(self, images: Images) -> NDArray[np.float32]:
        """What the network reads: (image − mean) / std a channel, uint8 first divided by 255. Keeps the shape."""
        scale, shift = self.scale_and_shift(images.dtype)
        normalised: NDArray[np.float32] = images * scale[:, None, None] + shift[:, None, None]
        return normalised

    def scale_and_shift(
        self, dtype: np.dtype[np.generic]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Normalising as one multiply and one add: (scale, shift), each (channels,), for images of `dtype`."""
        mean, std = (
            np.asarray(values, dtype=np.float64)
            for values in (self.normalization.mean, self.normalization.std)
        )
        unit = 255.0 if dtype == np.uint8 else 1.0
        return (1.0 / (unit * std)).astype(np.float32), (-mean / std).astype(np.float32)


def make_dataset(
    name: str,
    splits: dict[str, Split],
    class_names: tuple[str, ...],
    augmentation: AugmentationConfig,
) -> Dataset:
    """Check `splits` ("train", "validation", "test"), measure the training images, put all together.

    Raises:
        DataError: an empty split, images of different shapes or dtypes, NaN, a label out of range, fewer than two
            classes, or a class without training images.
    """
    if len(class_names) < 2:
        raise DataError(f"{name}: at least 2 classes are needed, found {list(class_names)}")
    for split_name in SPLITS:
        _check_split(f"{name}: {split_name}", splits[split_name], len(class_names))
        _check_alike(f"{name}: {split_name}", splits[split_name].images, splits["train"].images)
    counts = np.bincount(splits["train"].labels, minlength=len(class_names))
    if not counts.all():
        missing = class_names[int(np.argmin(counts))]
        raise DataError(f"{name}: class {missing!r} has no training images; add some or remove it")
    return Dataset(
        name=name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=class_names,
        normalization=_measure(splits["train"].images),
        augmentation=augmentation,
    )


def check_lengths(where: str, split: Split) -> None:
    """Refuse a split without images, or without one label an image."""
    if len(split.images) != len(split.labels):
        raise DataError(f"{where}: {len(split.images)} images but {len(split.labels)} labels")
    if not len(split.images):
        raise DataError(f"{where}: there are no images")


def _check_split(where: str, split: Split, num_classes: int) -> None:
    images, labels = split.images, split.labels
    assert images.ndim == 4, "a reader gives (samples, channels, height, width)"
    check_lengths(where, split)
    if labels.min() < 0 or labels.max() >= num_classes:
        position = int(np.argmax((labels < 0) | (labels >= num_classes)))
        raise DataError(
            f"{where}: label {labels[position]} of image {position} is out of range; "
            f"expected 0 to {num_classes - 1}"
        )
    if images.dtype != np.uint8 and not _is_finite(images):
        bad = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
        raise DataError(f"{where}: image {bad} holds NaN or infinity; remove or repair it")


def _is_finite(images: Images) -> bool:
    """A sum is enough to see NaN or infinity, and needs no array of flags."""
    with np.errstate(invalid="ignore"):  # infinity − infinity
        return bool(np.isfinite(images.sum(dtype=np.float64)))


def _check_alike(where: str, images: Images, train: Images) -> None:
    if images.shape[1:] != train.shape[1:] or images.dtype != train.dtype:
        raise DataError(
            f"{where}: images are {images.dtype} {images.shape[1:]}, "
            f"those for training {train.dtype} {train.shape[1:]}; all must be alike"
        )


def _measure(images: Images) -> Normalization:
    """Mean and standard deviation a channel; a channel that never changes gets 1, not a division by 0."""
    unit = 255.0 if images.dtype == np.uint8 else 1.0
    means, stds = [], []
    for channel in images.swapaxes(0, 1):
        # in two passes of float64, so that the result depends on the pixels alone
        mean = float(channel.mean(dtype=np.float64))
        std = float(channel.std(dtype=np.float64))
        means.append(round(mean / unit, 6))
        stds.append(round(std / unit, 6) if std / unit > _FLAT else 1.0)
    return Normalization(mean=tuple(means), std=tuple(stds))
