"""scikit-learn's handwritten digits (Alpaydin & Kaynak 1998, UCI "Optical recognition of handwritten digits")."""

from __future__ import annotations

import numpy as np

from child_models.augmentation import AugmentationConfig
from child_models.datasets.base import Dataset, Split, make_dataset
from child_models.datasets.config import DigitsConfig
from child_models.datasets.split import fill_splits

NAME = "digits"


def load_digits(config: DigitsConfig) -> Dataset:
    """1,797 images of 1×8×8, 10 classes: about 1,079 / 359 / 359. Ink counts of 0-16 become pixels of 0-255.

    A digit may move by a pixel; mirrored it would be another sign.
    """
    from sklearn.datasets import load_digits as read_digits

    source = read_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[:, None]
    names = tuple(str(label) for label in range(10))
    splits = fill_splits(
        Split(images=images, labels=source.target.astype(np.int64)),
        {},
        {"validation": 0.2, "test": 0.2},
        seed=config.split_seed,
        class_names=names,
        where=NAME,
    )
    return make_dataset(NAME, splits, names, AugmentationConfig(shift=1))
