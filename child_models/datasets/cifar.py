"""CIFAR-10 and CIFAR-100 in the public binary format (Krizhevsky 2009, cs.toronto.edu/~kriz/cifar.html).

| | files | a record |
|---|---|---|
| CIFAR-10 | data_batch_1.bin … data_batch_5.bin, test_batch.bin, batches.meta.txt | label, then 3 × 1,024 pixels |
| CIFAR-100 | train.bin, test.bin, fine_label_names.txt | coarse label, fine label, then 3 × 1,024 pixels |

One byte a number, planes red, green, blue, rows from the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from logging import getLogger
from pathlib import Path

import numpy as np

from child_models.augmentation import AugmentationConfig
from child_models.datasets.base import DataError, Dataset, Split, make_dataset
from child_models.datasets.config import CifarConfig
from child_models.datasets.split import fill_splits

log = getLogger(__name__)

_IMAGE_SHAPE = (3, 32, 32)
_IMAGE_BYTES = 3 * 32 * 32


@dataclass(frozen=True, kw_only=True, slots=True)
class _Variant:
    name: str
    train: tuple[str, ...]
    test: str
    names_file: str
    num_classes: int
    label_bytes: int
    num_train: int


CIFAR10 = _Variant(
    name="CIFAR-10",
    train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test="test_batch.bin",
    names_file="batches.meta.txt",
    num_classes=10,
    label_bytes=1,
    num_train=50_000,
)
CIFAR100 = _Variant(
    name="CIFAR-100",
    train=("train.bin",),
    test="test.bin",
    names_file="fine_label_names.txt",
    num_classes=100,
    label_bytes=2,
    num_train=50_000,
)
_FOLDERS = (".", "cifar-10-batches-bin", "cifar-100-binary")


def load_cifar(config: CifarConfig) -> Dataset:
    """Read whole files, cut the validation images off by class. Images may shift by 2 pixels and be mirrored.

    Raises:
        DataError: files missing, truncated, or in the Python (pickle) version; a label out of range.
    """
    folder, variant = find_cifar(config.path)
    pool = _join([_read(folder / name, variant) for name in variant.train])
    if len(pool) != variant.num_train:
        log.warning(
            "%s: %d training images, the public files have %d",
            folder,
            len(pool),
            variant.num_train,
        )
    class_names = _class_names(folder, variant)
    splits = fill_splits(
        pool,
        {"test": _read(folder / variant.test, variant)},
        {"validation": config.validation_share},
        seed=config.split_seed,
        class_names=class_names,
        where=str(folder),
    )
    augmentation = AugmentationConfig(shift=2, flip=True)
    return make_dataset(variant.name, splits, class_names, augmentation)


def find_cifar(path: Path) -> tuple[Path, _Variant]:
    """The folder that holds the files, and which of the two data sets they are."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder; data.path should hold the .bin files")
    for folder in (path / name for name in _FOLDERS):
        for variant in (CIFAR10, CIFAR100):
            if (folder / variant.train[0]).is_file():
                return folder, variant
    if any((path / name).is_file() for name in ("data_batch_1", "train", "batches.meta")):
        raise DataError(
            f"{path}: this is the Python (pickle) version, which is not read because it can run code; "
            "download the binary version"
        )
    raise DataError(
        f"{path}: neither data_batch_1.bin (CIFAR-10) nor train.bin (CIFAR-100) is here"
    )


def _read(path: Path, variant: _Variant) -> Split:
    if not path.is_file():
        raise DataError(f"{path}: the file is missing; {variant.name} needs it")
    content = np.fromfile(path, dtype=np.uint8)
    record = variant.label_bytes + _IMAGE_BYTES
    if not len(content) or len(content) % record:
        raise DataError(
            f"{path}: {len(content):,} bytes are no whole number of {variant.name} records "
            f"({record:,} bytes each): truncated or another format; download it again"
        )
    records = content.reshape(-1, record)
    labels = records[:, variant.label_bytes - 1].astype(np.int64)  # the fine label stands last
    if labels.max() >= variant.num_classes:
        place = int(np.argmax(labels))
        raise DataError(
            f"{path}: label {labels[place]} of image {place} is out of range; "
            f"expected 0 to {variant.num_classes - 1}"
        )
    return Split(images=records[:, variant.label_bytes :].reshape(-1, *_IMAGE_SHAPE), labels=labels)


def _join(parts: list[Split]) -> Split:
    return Split(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
    )


def _class_names(folder: Path, variant: _Variant) -> tuple[str, ...]:
    """From the file of names if it is there and fits, else "0", "1", …"""
    path = folder / variant.names_file
    if path.is_file():
        names = tuple(path.read_text(encoding="utf-8", errors="replace").split())
        if len(names) == variant.num_classes:
            return names
        log.warning("%s: expected %d names, found %d", path, variant.num_classes, len(names))
    return tuple(str(number) for number in range(variant.num_classes))
