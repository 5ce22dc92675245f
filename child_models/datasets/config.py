"""Where the images come from: one config a kind, told apart by `kind`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_CONFIG = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Share = Annotated[float, Field(gt=0, le=0.5)]


class DigitsConfig(BaseModel):
    """scikit-learn's handwritten digits: 1,797 grey images of 8×8, cut 60/20/20 by class."""

    model_config = _CONFIG

    kind: Literal["digits"] = "digits"
    split_seed: Seed = 0
    """Which images are for training, validation and test."""


class ShapesConfig(BaseModel):
    """Procedural 32×32 colour pictures: five shapes, each in three textures, 15 classes."""

    model_config = _CONFIG

    kind: Literal["shapes"] = "shapes"
    seed: Seed = 0
    """Decides every picture."""
    num_train: int = Field(default=6000, ge=15, le=1_000_000)
    """Pictures for training."""
    num_validation: int = Field(default=1500, ge=15, le=1_000_000)
    """Pictures for validation."""
    num_test: int = Field(default=1500, ge=15, le=1_000_000)
    """Pictures for the test."""


class NpzConfig(BaseModel):
    """A NumPy archive with x_train and y_train, and optionally x_val, y_val, x_test, y_test, class_names."""

    model_config = _CONFIG

    kind: Literal["npz"] = "npz"
    path: Path
    """The ``.npz`` file."""
    layout: Literal["auto", "nhwc", "nchw"] = "auto"
    """Order of the image axes; "auto" takes the one that has 1 to 4 channels."""
    validation_share: Share = 0.15
    """Share of the training images for validation, where the file has no x_val."""
    test_share: Share = 0.15
    """Share of the training images for the test, where the file has no x_test."""
    split_seed: Seed = 0
    """Which images go where, if some are cut off."""


class ImageFolderConfig(BaseModel):
    """Folders of pictures: one folder a class, or train/, val/ and test/ folders of class folders."""

    model_config = _CONFIG

    kind: Literal["image_folder"] = "image_folder"
    path: Path
    """The folder."""
    image_size: int = Field(default=32, ge=8, le=512)
    """Height and width in pixels: pictures are scaled to cover it, and the middle is cut out."""
    channels: Literal["rgb", "grey"] = "rgb"
    """Colour, or one channel."""
    validation_share: Share = 0.15
    """Share of the training images for validation, where there is no val/ folder."""
    test_share: Share = 0.15
    """Share of the training images for the test, where there is no test/ folder."""
    split_seed: Seed = 0
    """Which images go where, if some are cut off."""


class CifarConfig(BaseModel):
    """CIFAR-10 or CIFAR-100 in the public *binary* format (Krizhevsky 2009); told apart by the file names."""

    model_config = _CONFIG

    kind: Literal["cifar"] = "cifar"
    path: Path
    """The folder with data_batch_1.bin … (CIFAR-10) or train.bin (CIFAR-100), or the folder above it."""
    validation_share: Share = 0.1
    """Share of the training images for validation."""
    split_seed: Seed = 0
    """Which images are for validation."""


DataConfig = Annotated[
    DigitsConfig | ShapesConfig | NpzConfig | ImageFolderConfig | CifarConfig,
    Field(discriminator="kind"),
]
"""Any of them; YAML and JSON choose by `kind`."""
