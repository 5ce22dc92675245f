"""A NumPy archive of images and labels, read without pickle."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray

from child_models.augmentation import AugmentationConfig
from child_models.datasets.base import DataError, Dataset, Images, Split, make_dataset
from child_models.datasets.config import NpzConfig
from child_models.datasets.split import fill_splits

MOST_CHANNELS = 4
KEYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "class_names")
_SHORT_NAMES = {"x_val": "validation", "x_test": "test"}

Arrays = dict[str, NDArray[Any]]


def load_npz(config: NpzConfig) -> Dataset:
    """Read, check, cut off what is missing.

    Images are uint8 or float, (samples, height, width) or with channels first or last. Labels are integers; without
    `class_names` the classes are the labels that occur in y_train. Images may shift by a sixteenth of
    their smaller side; whether they may be mirrored is for the user to say.

    Raises:
        DataError: a file or array that cannot be used; the message names it.
    """
    arrays = _read(config.path)
    labels, class_names = _labels(config.path, arrays)
    pools = {
        key: Split(images=_images(f"{config.path}: {key}", arrays[key], config.layout), labels=y)
        for key, y in labels.items()
    }
    splits = _cut_missing(config, pools, class_names)
    side = min(splits["train"].images.shape[2:])
    augmentation = AugmentationConfig(shift=round(side / 16))
    return make_dataset(config.path.name, splits, class_names, augmentation)


def _read(path: Path) -> Arrays:
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; data.path should name a .npz file")
    if not is_zipfile(path):
        hint = "an empty, truncated or damaged file, or none of NumPy's"
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                hint = "a single array (.npy)"
        raise DataError(
            f"{path}: this is {hint}; expected what np.savez(file, x_train=…, y_train=…) writes"
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = list(archive.files)
            arrays = {key: archive[key] for key in found if key in KEYS}
    except (OSError, EOFError, BadZipFile, zlib.error, ValueError, KeyError) as error:
        hint = "truncated or damaged"
        if "allow_pickle" in str(error):
            hint = "Python objects (pickle) are not read; save plain arrays of numbers"
        raise DataError(f"{path}: cannot be read: {hint} ({error})") from error
    for key in ("x_train", "y_train"):
        if key not in arrays:
            raise DataError(f"{path}: {key} is missing; the file holds {found or 'nothing'}")
    for x_key in _SHORT_NAMES:
        y_key = x_key.replace("x_", "y_")
        if (x_key in arrays) != (y_key in arrays):
            raise DataError(f"{path}: {x_key} and {y_key} belong together; one is missing")
    return arrays


def _labels(path: Path, arrays: Arrays) -> tuple[dict[str, NDArray[np.int64]], tuple[str, ...]]:
    """Labels by the key of their images, as 0, 1, …, and the name of each class."""
    raw = {
        key: _whole_numbers(f"{path}: {key.replace('x_', 'y_')}", arrays[key.replace("x_", "y_")])
        for key in ("x_train", *_SHORT_NAMES)
        if key in arrays
    }
    if "class_names" in arrays:
        names = tuple(str(name) for name in arrays["class_names"].ravel())
        values = np.arange(len(names), dtype=np.int64)
    else:
        values = np.unique(raw["x_train"])
        names = tuple(str(value) for value in values)
    labels = {}
    for key, numbers in raw.items():
        unknown = ~np.isin(numbers, values)
        if unknown.any():
            place = int(np.argmax(unknown))
            raise DataError(
                f"{path}: {key.replace('x_', 'y_')}[{place}] is {numbers[place]}, out of range; "
                f"the labels are {_some(values)}"
            )
        labels[key] = np.searchsorted(values, numbers).astype(np.int64)
    return labels, names


def _some(values: NDArray[np.int64]) -> str:
    first, last = values[0], values[-1]
    whole = len(values) == last - first + 1
    return f"{first} to {last}" if whole else ", ".join(str(value) for value in values[:20])


def _whole_numbers(where: str, array: NDArray[Any]) -> NDArray[np.int64]:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; for one-hot rows take .argmax(axis=1)" if array.ndim == 2 else ""
        raise DataError(f"{where}: expected one label an image, got shape {array.shape}{hint}")
    if not np.issubdtype(array.dtype, np.integer):
        raise DataError(
            f"{where}: labels must be integers, got {array.dtype}; use .astype('int64')"
        )
    numbers = array.astype(np.int64)
    if len(numbers) and numbers.min() < 0:
        place = int(np.argmin(numbers))
        raise DataError(f"{where}[{place}] is {numbers[place]}, out of range: labels start at 0")
    return numbers


def _images(where: str, array: NDArray[Any], layout: str) -> Images:
    """(samples, channels, height, width), uint8 or float32."""
    if array.dtype != np.uint8 and not np.issubdtype(array.dtype, np.floating):
        raise DataError(
            f"{where}: images must be uint8 (0-255) or float, got {array.dtype}; "
            "use .astype('uint8') if the values fit"
        )
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim != 4:
        raise DataError(
            f"{where}: expected (samples, height, width[, channels]), got shape {array.shape}"
        )
    elif _is_channels_last(where, array.shape, layout):
        array = array.transpose(0, 3, 1, 2)
    if not 1 <= array.shape[1] <= MOST_CHANNELS or 0 in array.shape[1:]:
        raise DataError(
            f"{where}: images of shape {array.shape[1:]} (channels, height, width) cannot be used; "
            f"expected 1 to {MOST_CHANNELS} channels and at least one pixel"
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    with np.errstate(over="ignore"):  # what is too large becomes infinity, and is refused later
        return np.ascontiguousarray(array, dtype=np.float32)


def _is_channels_last(where: str, shape: tuple[int, ...], layout: str) -> bool:
    if layout != "auto":
        return layout == "nhwc"
    first, last = shape[1] <= MOST_CHANNELS, shape[3] <= MOST_CHANNELS
    if first == last:
        raise DataError(
            f"{where}: cannot tell which axis of {shape} is the channels'; "
            "set data.layout to nhwc or nchw"
        )
    return last


def _cut_missing(
    config: NpzConfig, pools: dict[str, Split], class_names: tuple[str, ...]
) -> dict[str, Split]:
    splits = {_SHORT_NAMES[key]: pools[key] for key in _SHORT_NAMES if key in pools}
    return fill_splits(
        pools["x_train"],
        splits,
        {"validation": config.validation_share, "test": config.test_share},
        seed=config.split_seed,
        class_names=class_names,
        where=str(config.path),
    )
