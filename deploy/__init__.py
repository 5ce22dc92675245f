"""Exports: an architecture with its weights as files that others use, their check, and a drawing.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy.drawing import draw_architecture
    from deploy.errors import (
        BrokenExport,
        DeployError,
        ExportError,
        ExportNotFound,
        UnsupportedNetwork,
    )
    from deploy.export import export_architecture
    from deploy.info import AccuracyFigure, CostFigure, ExportInfo, standard_error
    from deploy.model_source import model_code
    from deploy.verify import Check, FileHash, VerifyReport, verify_export

_NAMES_BY_FILE = {
    "drawing": ("draw_architecture",),
    "errors": (
        "BrokenExport",
        "DeployError",
        "ExportError",
        "ExportNotFound",
        "UnsupportedNetwork",
    ),
    "export": ("export_architecture",),
    "info": ("AccuracyFigure", "CostFigure", "ExportInfo", "standard_error"),
    "model_source": ("model_code",),
    "verify": ("Check", "FileHash", "VerifyReport", "verify_export"),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "AccuracyFigure",
    "BrokenExport",
    "Check",
    "CostFigure",
    "DeployError",
    "ExportError",
    "ExportInfo",
    "ExportNotFound",
    "FileHash",
    "UnsupportedNetwork",
    "VerifyReport",
    "draw_architecture",
    "export_architecture",
    "model_code",
    "standard_error",
    "verify_export",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
