"""What changes while a student is trained: the temperature, and how much the teacher counts."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from child_models.fitting import Moment

_CONFIG = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
Temperature = Annotated[float, Field(gt=0, le=100)]


class ConstantTemperature(BaseModel):
    """One temperature throughout."""

    model_config = _CONFIG

    kind: Literal["constant"] = "constant"
    value: Temperature = 4.0
    """Divides the logits of both; 4 is usual for images (Hinton et al. 2015 found 2.5 to 20 useful)."""

    def at(self, moment: Moment, stage: int) -> float:
        """The temperature of a step."""
        return self.value


class DecayingTemperature(BaseModel):
    """τ(t) = lowest + (highest − lowest)·e^(−rate·t), with t counted from 0 in epochs or in steps."""

    model_config = _CONFIG

    kind: Literal["decaying"] = "decaying"
    highest: Temperature = 5.0
    """At the start."""
    lowest: Temperature = 1.0
    """Where it goes to."""
    rate: float = Field(default=0.01, ge=0, le=100)
    """λ, an epoch or a step: 0.01 an epoch halves the distance in 69 epochs, 0.01 a step in 69 steps."""
    unit: Literal["epoch", "step"] = "epoch"
    """What t counts."""

    @model_validator(mode="after")
    def _falls(self) -> DecayingTemperature:
        if self.lowest > self.highest:
            raise ValueError(f"lowest {self.lowest} is above highest {self.highest}; exchange them")
        return self

    def at(self, moment: Moment, stage: int) -> float:
        """The temperature of a step."""
        time = moment.epoch if self.unit == "epoch" else moment.step
        return self.lowest + (self.highest - self.lowest) * math.exp(-self.rate * time)


class SteppedTemperature(BaseModel):
    """Falls by `drop` from one stage to the next: needs two stages or more."""

    model_config = _CONFIG

    kind: Literal["stepped"] = "stepped"
    first: Temperature = 4.0
    """In the first stage."""
    drop: float = Field(default=1.0, gt=0, le=100)
    """From a stage to the next."""
    lowest: Temperature = 1.0
    """Never below this."""

    @model_validator(mode="after")
    def _falls(self) -> SteppedTemperature:
        if self.lowest > self.first:
            raise ValueError(f"lowest {self.lowest} is above first {self.first}; exchange them")
        return self

    def at(self, moment: Moment, stage: int) -> float:
        """The temperature of a step in `stage` (from 0)."""
        return max(self.lowest, self.first - self.drop * stage)


TemperatureConfig = Annotated[
    ConstantTemperature | DecayingTemperature | SteppedTemperature, Field(discriminator="kind")
]


class AlphaConfig(BaseModel):
    """α, the teacher's share of L = (1 − α)·CE + α·KD: linear in the steps from `early` to `late`.

    The labels lead while the student knows little, the teacher refines. Equal ends give a constant α.
    """

    model_config = _CONFIG

    early: float = Field(default=0.4, ge=0, le=1)
    """In the first step; 0.3 to 0.5 is usual."""
    late: float = Field(default=0.8, ge=0, le=1)
    """In the last step; 0.7 to 0.9 is usual."""

    def at(self, progress: float) -> float:
        """α where `progress` (0 to 1) of the stage's steps are done."""
        return self.early + (self.late - self.early) * progress
