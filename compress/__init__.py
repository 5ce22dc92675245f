"""Compression: distillation, pruning, quantisation, and the pipeline of them.

Importing the package loads nothing heavy: each name is fetched from its file when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.quantisation.bit_wall import lower_bits, size_cost
    from compress.quantisation.config import QuantiseConfig
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
    from compress.trained_model import TrainedModel
    from compress.tuning import Tuned, tune

_NAMES_BY_FILE = {
    "quantisation.bit_wall": ("lower_bits", "size_cost"),
    "quantisation.config": ("QuantiseConfig",),
    "quantisation.errors": (
        "BudgetUnreachable",
        "NotExecutableInInt8",
        "NotFinite",
        "QuantisationError",
    ),
    "quantisation.export": ("quantised_files",),
    "quantisation.onnx_int8": ("int8_onnx",),
    "quantisation.plan": ("BitPlan", "network_size_bytes"),
    "quantisation.quantise": ("LayerReport", "Quantised", "quantise"),
    "quantisation.result": ("Quantisation",),
    "quantisation.sensitivity": ("Sensitivity", "sensitivity_table"),
    "trained_model": ("TrainedModel",),
    "tuning": ("Tuned", "tune"),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "BitPlan",
    "BudgetUnreachable",
    "LayerReport",
    "NotExecutableInInt8",
    "NotFinite",
    "Quantisation",
    "QuantisationError",
    "QuantiseConfig",
    "Quantised",
    "Sensitivity",
    "TrainedModel",
    "Tuned",
    "int8_onnx",
    "lower_bits",
    "network_size_bytes",
    "quantise",
    "quantised_files",
    "sensitivity_table",
    "size_cost",
    "tune",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"compress.{_FILES[name]}"), name)
