"""Compression: distillation, pruning, quantisation, and the pipeline of them.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.distillation.combined_loss import DistilLoss, distil_loss
    from compress.distillation.config import (
        AlphaMix,
        DistilConfig,
        FixedMix,
        HardExamples,
        Stage,
        three_stages,
    )
    from compress.distillation.distilling import Distilled, distil
    from compress.distillation.features import PairError
    from compress.distillation.schedules import (
        AlphaConfig,
        ConstantTemperature,
        DecayingTemperature,
        SteppedTemperature,
    )
    from compress.distillation.teacher_cache import UncacheableTeacher
    from compress.distillation.term_log import EpochLog, TermLog
    from compress.errors import CompressionError, ModelNotReadable
    from compress.execution_costs import MeasuredCosts, PredictedCosts
    from compress.export import export_compressed
    from compress.figures import Figures
    from compress.pipeline import Compressed, StepReport, compress
    from compress.plan import CompressionPlan
    from compress.pruning.config import PruneConfig
    from compress.pruning.prune import Pruned, prune
    from compress.quantisation.bit_wall import lower_bits, size_cost
    from compress.quantisation.child import quantise_child
    from compress.quantisation.config import ChildQuantiseConfig, QuantiseConfig
    from compress.quantisation.errors import (
        BudgetUnreachable,
        NotExecutableInInt8,
        NotFinite,
        QuantisationError,
    )
    from compress.quantisation.export import quantised_files
    from compress.quantisation.onnx_int8 import int8_onnx
    from compress.quantisation.plan import BitPlan, network_size_bytes
    from compress.quantisation.quantise import LayerReport, Quantised, quantise
    from compress.quantisation.result import Quantisation
    from compress.quantisation.sensitivity import Sensitivity, sensitivity_table
    from compress.stored_models import StoredModel, read_model
    from compress.trained_model import TrainedModel
    from compress.tuning import Tuned, tune

_NAMES_BY_FILE = {
    "distillation.combined_loss": (
        "DistilLoss",
        "distil_loss",
    ),
    "distillation.config": (
        "AlphaMix",
        "DistilConfig",
        "FixedMix",
        "HardExamples",
        "Stage",
        "three_stages",
    ),
    "distillation.distilling": (
        "Distilled",
        "distil",
    ),
    "distillation.features": ("PairError",),
    "distillation.schedules": (
        "AlphaConfig",
        "ConstantTemperature",
        "DecayingTemperature",
        "SteppedTemperature",
    ),
    "distillation.teacher_cache": ("UncacheableTeacher",),
    "distillation.term_log": (
        "EpochLog",
        "TermLog",
    ),
    "errors": (
        "CompressionError",
        "ModelNotReadable",
    ),
    "execution_costs": (
        "MeasuredCosts",
        "PredictedCosts",
    ),
    "export": ("export_compressed",),
    "figures": ("Figures",),
    "pipeline": (
        "Compressed",
        "StepReport",
        "compress",
    ),
    "plan": ("CompressionPlan",),
    "pruning.config": ("PruneConfig",),
    "pruning.prune": (
        "Pruned",
        "prune",
    ),
    "quantisation.bit_wall": (
        "lower_bits",
        "size_cost",
    ),
    "quantisation.child": ("quantise_child",),
    "quantisation.config": (
        "ChildQuantiseConfig",
        "QuantiseConfig",
    ),
    "quantisation.errors": (
        "BudgetUnreachable",
        "NotExecutableInInt8",
        "NotFinite",
        "QuantisationError",
    ),
    "quantisation.export": ("quantised_files",),
    "quantisation.onnx_int8": ("int8_onnx",),
    "quantisation.plan": (
        "BitPlan",
        "network_size_bytes",
    ),
    "quantisation.quantise": (
        "LayerReport",
        "Quantised",
        "quantise",
    ),
    "quantisation.result": ("Quantisation",),
    "quantisation.sensitivity": (
        "Sensitivity",
        "sensitivity_table",
    ),
    "stored_models": (
        "StoredModel",
        "read_model",
    ),
    "trained_model": ("TrainedModel",),
    "tuning": (
        "Tuned",
        "tune",
    ),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "AlphaConfig",
    "AlphaMix",
    "BitPlan",
    "BudgetUnreachable",
    "ChildQuantiseConfig",
    "Compressed",
    "CompressionError",
    "CompressionPlan",
    "ConstantTemperature",
    "DecayingTemperature",
    "DistilConfig",
    "DistilLoss",
    "Distilled",
    "EpochLog",
    "Figures",
    "FixedMix",
    "HardExamples",
    "LayerReport",
    "MeasuredCosts",
    "ModelNotReadable",
    "NotExecutableInInt8",
    "NotFinite",
    "PairError",
    "PredictedCosts",
    "PruneConfig",
    "Pruned",
    "Quantisation",
    "QuantisationError",
    "QuantiseConfig",
    "Quantised",
    "Sensitivity",
    "Stage",
    "StepReport",
    "SteppedTemperature",
    "StoredModel",
    "TermLog",
    "TrainedModel",
    "Tuned",
    "UncacheableTeacher",
    "compress",
    "distil",
    "distil_loss",
    "export_compressed",
    "int8_onnx",
    "lower_bits",
    "network_size_bytes",
    "prune",
    "quantise",
    "quantise_child",
    "quantised_files",
    "read_model",
    "sensitivity_table",
    "size_cost",
    "three_stages",
    "tune",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"compress.{_FILES[name]}"), name)
