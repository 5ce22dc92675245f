"""Data sets: where images come from, and the checked form that training and scoring use."""

from child_models.datasets.base import DataError, Dataset, Split
from child_models.datasets.config import (
    CifarConfig,
    DataConfig,
    DigitsConfig,
    ImageFolderConfig,
    NpzConfig,
    ShapesConfig,
)
from child_models.datasets.load import inspect_path, load_data

__all__ = [
    "CifarConfig",
    "DataConfig",
    "DataError",
    "Dataset",
    "DigitsConfig",
    "ImageFolderConfig",
    "NpzConfig",
    "ShapesConfig",
    "Split",
    "inspect_path",
    "load_data",
]
