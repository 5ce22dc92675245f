"""From a config to its data set, and from a path to a config."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import assert_never

from child_models.datasets.base import DataError, Dataset
from child_models.datasets.config import (
    CifarConfig,
    DataConfig,
    DigitsConfig,
    ImageFolderConfig,
    NpzConfig,
    ShapesConfig,
)

_LOOKED_AT = 50
_SIZES = (16, 32, 48, 64, 96, 128)


def load_data(config: DataConfig) -> Dataset:
    """Read or draw the data set that `config` describes.

    Raises:
        DataError: files that are missing or cannot be used.
    """
    match config:
        case DigitsConfig():
            from child_models.datasets.digits import load_digits

            return load_digits(config)
        case ShapesConfig():
            from child_models.datasets.shapes import load_shapes

            return load_shapes(config)
        case NpzConfig():
            from child_models.datasets.npz import load_npz

            return load_npz(config)
        case ImageFolderConfig():
            from child_models.datasets.image_folder import load_image_folder

            return load_image_folder(config)
        case CifarConfig():
            from child_models.datasets.cifar import load_cifar

            return load_cifar(config)
        case _:
            assert_never(config)


def inspect_path(path: Path) -> DataConfig:
    """Guess what `path` holds: a .npz file, CIFAR's binary files, or folders of pictures.

    For folders, image_size is the size of 16, 32, … 128 next to the median of the first pictures' smaller sides, and
    channels is "grey" if those pictures have one.

    Raises:
        DataError: nothing there that can be read.
    """
    if path.is_file():
        return _inspect_file(path)
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    from child_models.datasets.cifar import find_cifar

    try:
        find_cifar(path)
    except DataError as error:
        if "pickle" in str(error):
            raise
    else:
        return CifarConfig(path=path)
    return _inspect_folder(path)


def _inspect_file(path: Path) -> DataConfig:
    if path.suffix.lower() == ".npz":
        return NpzConfig(path=path)
    if path.suffix.lower() == ".bin" and path.parent.is_dir():
        return inspect_path(path.parent)
    raise DataError(
        f"{path}: cannot read {path.suffix or 'such'} files; expected a .npz file, a folder of class "
        "folders, or a folder with CIFAR's .bin files"
    )


def _inspect_folder(path: Path) -> ImageFolderConfig:
    from PIL import Image

    from child_models.datasets.image_folder import find_classes, find_splits

    try:
        classes = find_classes(find_splits(path)["train"])
    except DataError as error:
        raise DataError(
            f"{path}: neither CIFAR's .bin files nor folders of pictures ({error})"
        ) from error
    sides, modes = [], set()
    shares = max(1, _LOOKED_AT // len(classes))
    for file in [file for files in classes.values() for file in files[:shares]][:_LOOKED_AT]:
        try:
            with Image.open(file) as picture:  # reads the header only
                sides.append(min(picture.size))
                modes.add(picture.mode)
        except (OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"{file}: cannot be read as a picture: {error}") from error
    size = min(_SIZES, key=lambda candidate: abs(candidate - median(sides)))
    grey = modes <= {"L", "1", "I;16", "LA"}
    return ImageFolderConfig(path=path, image_size=size, channels="grey" if grey else "rgb")
