"""What is done to a trained network, in order: a plan file as checked settings."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child_models import DataConfig, TrainingConfig
from compress.distillation.config import DistilConfig
from compress.joint import JointConfig
from compress.pruning.config import PruneConfig
from compress.quantisation.config import QuantiseConfig
from latency_models import DeviceConfig

FINE_TUNING_RATE = 0.01
"""Peak learning rate of training further; training from nothing uses three times as much."""


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class FineTuneStep(_Step):
    """Train further on the labels alone."""

    step: Literal["finetune"]
    epochs: int = Field(ge=1, le=10_000)
    """Passes over the training split."""


class DistilStep(_Step):
    """Train further with a teacher."""

    step: Literal["distil"]
    epochs: int = Field(ge=1, le=10_000)
    """Passes over the training split."""
    distillation: DistilConfig = Field(default_factory=DistilConfig)
    """What is learnt from the teacher."""


class PruneStep(_Step):
    """Take channels away, in rounds, and train further after each."""

    step: Literal["prune"]
    pruning: PruneConfig = Field(default_factory=PruneConfig)
    """What is taken and how much."""
    distillation: DistilConfig | None = None
    """What is learnt from the teacher between rounds; null for the labels alone."""


class JointStep(_Step):
    """A teacher, fewer channels and fewer bits in one training."""

    step: Literal["joint"]
    joint: JointConfig = Field(default_factory=JointConfig)
    """How small, how few bits, how long."""
    distillation: DistilConfig | None = None
    """What is learnt from the teacher; null for the labels alone."""


class QuantiseStep(_Step):
    """Store, and where it pays execute, in fewer bits."""

    step: Literal["quantise"]
    quantisation: QuantiseConfig = Field(default_factory=QuantiseConfig)
    """Bits, ranges, and whether there is training in fewer bits."""
    distillation: DistilConfig | None = None
    """What is learnt from the teacher while training in fewer bits; null for the labels alone."""


Step = Annotated[
    FineTuneStep | DistilStep | PruneStep | JointStep | QuantiseStep, Field(discriminator="step")
]


class CompressionPlan(BaseModel):
    """An ordered list of steps, and what all of them share."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of everything that is drawn."""
    data: DataConfig | None = None
    """What the network was trained on: steps train and calibrate on its training split and are judged on validation data."""
    device: DeviceConfig = Field(default_factory=DeviceConfig)
    """Where latency and energy are measured; its batch size is not used."""
    training: TrainingConfig = Field(
        default_factory=lambda: TrainingConfig(learning_rate=FINE_TUNING_RATE)
    )
    """Of every training in the plan."""
    steps: tuple[Step, ...] = Field(min_length=1, max_length=50)
    """What is done, in order."""

    @model_validator(mode="after")
    def _measured_as_onnx(self) -> Self:
        if self.device.runtime != "onnxruntime":
            raise ValueError(
                f"device.runtime: models are measured as the ONNX files that are exported; expected onnxruntime, got "
                f"{self.device.runtime}"
            )
        return self

    @model_validator(mode="after")
    def _quantised_once_and_last(self) -> Self:
        early = [
            number
            for number, step in enumerate(self.steps[:-1], start=1)
            if isinstance(step, QuantiseStep)
            or (isinstance(step, JointStep) and step.joint.quantisation is not None)
        ]
        if early:
            raise ValueError(
                f"steps: step {early[0]} quantises, and others follow; weights on a grid cannot be pruned "
                "or trained further: quantise once, last (mode qat trains in fewer bits)"
            )
        return self
