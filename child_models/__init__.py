"""Child networks: torch modules, ONNX graphs, counts and early exits, data sets and training.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from child_models.counts import LayerCount, count_macs, count_params, layer_counts
    from child_models.exits import (
        ExitChoice,
        ExitPredictions,
        apply_exits,
        choose_thresholds,
        normalised_entropy,
    )
    from child_models.layer_rules import UnbuildableNetwork, WeightMismatch, weight_shapes
    from child_models.module import ChildModule, build_module
    from child_models.onnx_graph import build_onnx, onnx_output_names

_NAMES_BY_FILE = {
    "counts": ("LayerCount", "count_macs", "count_params", "layer_counts"),
    "exits": (
        "ExitChoice",
        "ExitPredictions",
        "apply_exits",
        "choose_thresholds",
        "normalised_entropy",
    ),
    "layer_rules": ("UnbuildableNetwork", "WeightMismatch", "weight_shapes"),
    "module": ("ChildModule", "build_module"),
    "onnx_graph": ("build_onnx", "onnx_output_names"),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "ChildModule",
    "ExitChoice",
    "ExitPredictions",
    "LayerCount",
    "UnbuildableNetwork",
    "WeightMismatch",
    "apply_exits",
    "build_module",
    "build_onnx",
    "choose_thresholds",
    "count_macs",
    "count_params",
    "layer_counts",
    "normalised_entropy",
    "onnx_output_names",
    "weight_shapes",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"child_models.{_FILES[name]}"), name)
