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
    from compress.trained_model import TrainedModel
    from compress.tuning import Tuned, tune

_NAMES_BY_FILE = {
    "distillation.combined_loss": ("DistilLoss", "distil_loss"),
    "distillation.config": (
        "AlphaMix",
        "DistilConfig",
        "FixedMix",
        "HardExamples",
        "Stage",
        "three_stages",
    ),
    "distillation.distilling": ("Distilled", "distil"),
    "distillation.features": ("PairError",),
    "distillation.schedules": (
        "AlphaConfig",
        "ConstantTemperature",
        "DecayingTemperature",
        "SteppedTemperature",
    ),
    "distillation.teacher_cache": ("UncacheableTeacher",),
    "distillation.term_log": ("EpochLog", "TermLog"),
    "trained_model": ("TrainedModel",),
    "tuning": ("Tuned", "tune"),
}
_FILES = {name: file for file, names in _NAMES_BY_FILE.items() for name in names}

__all__ = [
    "AlphaConfig",
    "AlphaMix",
    "ConstantTemperature",
    "DecayingTemperature",
    "DistilConfig",
    "DistilLoss",
    "Distilled",
    "EpochLog",
    "FixedMix",
    "HardExamples",
    "PairError",
    "Stage",
    "SteppedTemperature",
    "TermLog",
    "TrainedModel",
    "Tuned",
    "UncacheableTeacher",
    "distil",
    "distil_loss",
    "three_stages",
    "tune",
]


if not TYPE_CHECKING:  # else a misspelt import would pass the type checker

    def __getattr__(name: str) -> object:
        if name not in _FILES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"compress.{_FILES[name]}"), name)
