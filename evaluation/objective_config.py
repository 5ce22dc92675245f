"""What a search is told to want: the objectives' settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class WeightSchedule(BaseModel):
    """A weight that changes by `step` every `every` proposals, from `start` until it reaches `end`.

    Time is the proposal's place in its session, from 0, so the weight never depends on the clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(ge=0, le=100, description="the weight of the first proposals")
    step: float = Field(description="added after every `every` proposals; negative to fall")
    every: int = Field(ge=1, description="proposals between two steps")
    end: float = Field(ge=0, le=100, description="where it stays")

    @model_validator(mode="after")
    def _reaches_its_end(self) -> WeightSchedule:
        if (self.end - self.start) * self.step < 0 or (self.step == 0 and self.end != self.start):
            raise ValueError(
                f"a weight that starts at {self.start:g} and changes by {self.step:g} never reaches "
                f"{self.end:g}; change the sign of step"
            )
        return self

    def at(self, step: int) -> float:
        """The weight of proposal number `step` ≥ 0."""
        value = self.start + self.step * (step // self.every)
        return min(value, self.end) if self.step > 0 else max(value, self.end)

    @property
    def largest(self) -> float:
        """The largest weight it ever has."""
        return max(self.start, self.end)


Weight = Annotated[float, Field(ge=0, le=100)] | WeightSchedule
"""A weight that stays, or one with a schedule."""


class _WeightedConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    accuracy_weight: Weight = Field(0.6, description="α; a number or a schedule")
    latency_weight: Weight = Field(0.3, description="β; a number or a schedule")
    energy_weight: Weight = Field(0.1, description="γ; a number or a schedule")

    @model_validator(mode="after")
    def _wants_something(self) -> _WeightedConfig:
        weights = (self.accuracy_weight, self.latency_weight, self.energy_weight)
        if not any(w.largest if isinstance(w, WeightSchedule) else w for w in weights):
            raise ValueError("accuracy_weight, latency_weight and energy_weight are all 0")
        return self


class MinMaxConfig(_WeightedConfig):
    """Accuracy, latency and energy, each scaled to 0-1 over what the space offers, and weighed."""

    kind: Literal["minmax"] = "minmax"
    accuracy_floor: float = Field(
        0.0, ge=0, lt=1, description="accuracy (share 0-1) that counts as 0; less counts below 0"
    )
    accuracy_ceiling: float = Field(
        1.0, gt=0, le=1, description="accuracy (share 0-1) that counts as 1"
    )

    @model_validator(mode="after")
    def _ordered(self) -> MinMaxConfig:
        if self.accuracy_floor >= self.accuracy_ceiling:
            raise ValueError(
                f"accuracy_floor {self.accuracy_floor:g} must be below "
                f"accuracy_ceiling {self.accuracy_ceiling:g}"
            )
        return self


class InverseConfig(_WeightedConfig):
    """Accuracy plus how many times cheaper than a reference; only above an accuracy floor."""

    kind: Literal["inverse"] = "inverse"
    accuracy_floor: float = Field(
        gt=0,
        lt=1,
        description="networks below this accuracy (share 0-1) get nothing for being fast; required, "
        "since without it the fastest useless network wins",
    )
    latency_reference_ms: float | None = Field(
        None, gt=0, description="default: geometric mean of the space's fastest and slowest"
    )
    energy_reference_mj: float | None = Field(
        None, gt=0, description="default: geometric mean of the space's least and most"
    )


class MnasNetConfig(BaseModel):
    """Accuracy times a power of latency over a target."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["mnasnet"] = "mnasnet"
    target_latency_ms: float = Field(gt=0, description="T")
    mode: Literal["soft", "hard"] = Field(
        "soft", description="hard: latency matters only above the target, and then strongly"
    )
    soft_exponent: float = Field(-0.07, lt=0, ge=-1, description="w of the soft form")


ObjectiveConfig = Annotated[
    MinMaxConfig | InverseConfig | MnasNetConfig, Field(discriminator="kind")
]
