"""Child networks: torch modules, ONNX graphs, counts and early exits, data sets and training.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from child_models.augmentation import AugmentationConfig
    from child_models.counts import LayerCount, count_bytes, count_macs, count_params, layer_counts
    from child_models.datasets import (
        CifarConfig,
        DataConfig,
        DataError,
        Dataset,
        DigitsConfig,
        ImageFolderConfig,
        NpzConfig,
        ShapesConfig,
        Split,
        inspect_path,
        load_data,
    )
    from child_models.datasets.reduced import at_resolution, reduced_dataset, smaller_shape
    from child_models.exits import (
        ExitChoice,
        ExitPredictions,
        apply_exits,
        choose_thresholds,
        normalised_entropy,
    )
    from child_models.fitting import NonFiniteTraining
    from child_models.int8_maps import quantised_maps
    from child_models.int8_onnx import Int8Scales, build_for_measuring, build_int8_onnx
    from child_models.layer_rules import UnbuildableNetwork, WeightMismatch, weight_shapes
    from child_models.module import ChildModule, build_module
    from child_models.onnx_graph import build_onnx, onnx_output_names
    from child_models.scoring import evaluate_network
    from child_models.training import TrainedNetwork, train_child
    from child_models.training_config import TrainingConfig

_NAMES_BY_FILE = {
    "augmentation": ("AugmentationConfig",),
    "counts": (
        "LayerCount",
        "count_bytes",
        "count_macs",
        "count_params",
        "layer_counts",
    ),
    "datasets": (
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
    ),
    "datasets.reduced": (
        "at_resolution",
        "reduced_dataset",
        "smaller_shape",
    ),
    "exits": (
        "ExitChoice",
        "ExitPredictions",
        "apply_exits",
        "choose_thresholds",
        "normalised_entropy",
    ),
    "int8_maps": ("quantised_maps",),
    "int8_onnx": (
        "Int8Scales",
        "build_for_measuring",
        "build_int8_onnx",
    ),
    "layer_rules": (
        "UnbuildableNetwork",
        "WeightMismatch",
        "weight_shapes",
    ),
    "module": (
        "ChildModule",
        "build_module",
    ),
    "onnx_graph": (
        "build_onnx",
        "onnx_output_names",
    ),
    "scoring": ("evaluate_network",),
    "fitting": ("NonFiniteTraining",),
    "training": (
        "TrainedNetwork",
        "train_child",
    ),
    "training_config": ("TrainingConfig",),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "AugmentationConfig",
    "ChildModule",
    "CifarConfig",
    "DataConfig",
    "DataError",
    "Dataset",
    "DigitsConfig",
    "ExitChoice",
    "ExitPredictions",
    "ImageFolderConfig",
    "Int8Scales",
    "LayerCount",
    "NonFiniteTraining",
    "NpzConfig",
    "ShapesConfig",
    "Split",
    "TrainedNetwork",
    "TrainingConfig",
    "UnbuildableNetwork",
    "WeightMismatch",
    "apply_exits",
    "at_resolution",
    "build_for_measuring",
    "build_int8_onnx",
    "build_module",
    "build_onnx",
    "choose_thresholds",
    "count_bytes",
    "count_macs",
    "count_params",
    "evaluate_network",
    "inspect_path",
    "layer_counts",
    "load_data",
    "normalised_entropy",
    "onnx_output_names",
    "quantised_maps",
    "reduced_dataset",
    "smaller_shape",
    "train_child",
    "weight_shapes",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"child_models.{_FILES[name]}"), name)
