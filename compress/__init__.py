"""Compression: distillation, pruning, quantisation, and the pipeline of them.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.trained_model import TrainedModel
    from compress.tuning import Tuned, tune

_NAMES_BY_FILE = {
    "trained_model": ("TrainedModel",),
    "tuning": ("Tuned", "tune"),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = ["TrainedModel", "Tuned", "tune"]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"compress.{_FILES[name]}"), name)
