"""Pictures in folders: one folder a class, or train/, val/ and test/ folders of such."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from child_models.augmentation import AugmentationConfig
from child_models.datasets.base import DataError, Dataset, Split, make_dataset
from child_models.datasets.config import ImageFolderConfig
from child_models.datasets.split import fill_splits

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}

Classes = Mapping[str, list[Path]]
"""Image files by class name, both sorted."""


def load_image_folder(config: ImageFolderConfig) -> Dataset:
    """Read every picture, scaled to cover image_size × image_size, the middle cut out.

    Cameras' rotation marks are followed; of moving pictures the first frame is taken; files that are no pictures by
    their ending, and hidden ones, are passed over. Images may shift by a sixteenth of their side and be mirrored.

    Raises:
        DataError: no folder, no pictures, a picture that cannot be read (named), a class that is only in test/ or
            val/, or one with too few pictures.
    """
    folders = find_splits(config.path)
    classes = {name: find_classes(folder) for name, folder in folders.items()}
    class_names = tuple(classes["train"])
    for name, found in classes.items():
        extra = sorted(set(found) - set(class_names))
        if extra:
            raise DataError(
                f"{folders[name]}: class {extra[0]!r} has no folder in {folders['train']}"
            )
    given = {name: _read_split(found, class_names, config) for name, found in classes.items()}
    splits = fill_splits(
        given.pop("train"),
        given,
        {"validation": config.validation_share, "test": config.test_share},
        seed=config.split_seed,
        class_names=class_names,
        where=str(config.path),
    )
    augmentation = AugmentationConfig(shift=round(config.image_size / 16), flip=True)
    return make_dataset(config.path.name, splits, class_names, augmentation)


def find_splits(path: Path) -> dict[str, Path]:
    """The folder of each split; only "train", the folder itself, where it holds classes at once."""
    if not path.is_dir():
        raise DataError(f"{path}: there is no such folder; data.path should hold class folders")
    found = {
        name: path / folder
        for name, folders in SPLIT_FOLDERS.items()
        for folder in folders
        if (path / folder).is_dir()
    }
    return found if "train" in found else {"train": path}


def find_classes(folder: Path) -> dict[str, list[Path]]:
    """Picture files of each class folder, at any depth below it.

    Raises:
        DataError: no class folders, or one without pictures.
    """
    names = sorted(entry.name for entry in folder.iterdir() if _is_visible_folder(entry))
    classes = {
        name: sorted(
            file
            for file in (folder / name).rglob("*")
            if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
        )
        for name in names
    }
    if not classes:
        raise DataError(
            f"{folder}: there are no class folders; expected {folder}/CLASS/picture.png"
        )
    for name, files in classes.items():
        if not files:
            raise DataError(
                f"{folder / name}: class {name!r} has no pictures ({', '.join(sorted(SUFFIXES))}); "
                "add some or remove the folder"
            )
    return classes


def _is_visible_folder(entry: Path) -> bool:
    return entry.is_dir() and not entry.name.startswith((".", "__"))


def _read_split(classes: Classes, class_names: tuple[str, ...], config: ImageFolderConfig) -> Split:
    files = [(file, class_names.index(name)) for name, group in classes.items() for file in group]
    channels = 3 if config.channels == "rgb" else 1
    images = np.empty((len(files), channels, config.image_size, config.image_size), dtype=np.uint8)
    for image, (file, _) in zip(images, files, strict=True):
        image[:] = _read_picture(file, config)
    return Split(images=images, labels=np.array([label for _, label in files], dtype=np.int64))


def _read_picture(file: Path, config: ImageFolderConfig) -> NDArray[np.uint8]:
    """(channels, image_size, image_size)."""
    size = (config.image_size, config.image_size)
    try:
        with warnings.catch_warnings():
            # doubtful metadata is no reason to stop, a picture made to fill the memory is
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                picture.draft("RGB", (2 * size[0], 2 * size[1]))  # JPEG: decode smaller
                upright = ImageOps.exif_transpose(picture)
                plain = _plain(upright, "RGB" if config.channels == "rgb" else "L")
                fitted = ImageOps.fit(plain, size, Image.Resampling.BILINEAR)
    except (
        OSError,
        SyntaxError,  # what Pillow raises for some broken PNG files
        ValueError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise DataError(
            f"{file}: cannot be read as a picture: {error}; repair or remove it"
        ) from error
    pixels = np.asarray(fitted, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _plain(picture: Image.Image, mode: str) -> Image.Image:
    """8 bits a channel, transparency on white."""
    if picture.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert(mode)
    if picture.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {picture.mode} have no known range; save it with 8 bits")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        see_through = picture.convert("RGBA")
        white = Image.new("RGBA", see_through.size, "white")
        picture = Image.alpha_composite(white, see_through)
    return picture.convert(mode)
