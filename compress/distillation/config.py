"""What a student learns from its teacher, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from compress.distillation.schedules import (
    AlphaConfig,
    ConstantTemperature,
    SteppedTemperature,
    TemperatureConfig,
)

_CONFIG = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
Weight = Annotated[float, Field(ge=0, le=10_000)]

Term = Literal["hard", "soft", "feature", "attention", "rkd_distance", "rkd_angle"]
TERMS: tuple[Term, ...] = ("hard", "soft", "feature", "attention", "rkd_distance", "rkd_angle")
"""Cross-entropy with the labels, then the functions of `losses`; in the order in which they are logged."""
PAIRED: tuple[Term, ...] = ("feature", "attention")
"""Terms that compare maps of paired layers."""


class FixedMix(BaseModel):
    """L = Σ weight · term. The default is the four-term mix, CE : KD : feature : attention = 0.5 : 0.3 : 0.15 : 0.05."""

    model_config = _CONFIG

    kind: Literal["fixed"] = "fixed"
    hard: Weight = 0.5
    """Of the cross-entropy with the labels."""
    soft: Weight = 0.3
    """Of the teacher's soft targets."""
    feature: Weight = 0.15
    """Of the maps of paired layers."""
    attention: Weight = 0.05
    """Of where the maps of paired layers are strong."""
    rkd_distance: Weight = 0.0
    """Of distances between images."""
    rkd_angle: Weight = 0.0
    """Of angles between images."""

    def weights(self, progress: float) -> dict[Term, float]:
        """Of every term; the same throughout."""
        return {term: getattr(self, term) for term in TERMS}

    def used(self) -> tuple[Term, ...]:
        """Terms that count at any time."""
        return tuple(term for term in TERMS if getattr(self, term) > 0)


class AlphaMix(BaseModel):
    """L = (1 − α)·CE + α·KD + Σ weight · other terms, with a scheduled α."""

    model_config = _CONFIG

    kind: Literal["alpha"] = "alpha"
    alpha: AlphaConfig = AlphaConfig()
    """The teacher's share, over the steps of the stage."""
    feature: Weight = 0.0
    """Of the maps of paired layers."""
    attention: Weight = 0.0
    """Of where the maps of paired layers are strong."""
    rkd_distance: Weight = 0.0
    """Of distances between images."""
    rkd_angle: Weight = 0.0
    """Of angles between images."""

    def weights(self, progress: float) -> dict[Term, float]:
        """Of every term, where `progress` (0 to 1) of the stage's steps are done."""
        alpha = self.alpha.at(progress)
        others: dict[Term, float] = {term: getattr(self, term) for term in TERMS[2:]}
        return {"hard": 1 - alpha, "soft": alpha, **others}

    def used(self) -> tuple[Term, ...]:
        """Terms that count at any time."""
        ends = (self.weights(0.0), self.weights(1.0))
        return tuple(term for term in TERMS if any(weights[term] > 0 for weights in ends))


MixConfig = Annotated[FixedMix | AlphaMix, Field(discriminator="kind")]


class Stage(BaseModel):
    """A part of the training with its own mix."""

    model_config = _CONFIG

    share: float = Field(default=1.0, gt=0, le=1)
    """Of the epochs; the shares of all stages sum to 1."""
    mix: MixConfig = FixedMix()
    """Weights of the terms."""

    @model_validator(mode="after")
    def _something_counts(self) -> Stage:
        if not self.mix.used():
            raise ValueError("every weight of this stage's mix is 0; give one term a weight")
        return self


class HardExamples(BaseModel):
    """Images count more of which the teacher is unsure: in proportion to its normalised entropy, with mean 1 a batch.

    Holds for the terms that an image has for itself at the heads: labels and soft targets.
    """

    model_config = _CONFIG

    cap: float = Field(default=3.0, ge=1, le=1000)
    """Largest weight of an image."""


class DistilConfig(BaseModel):
    """Settings of a distillation. Example in YAML::

    stages: [{mix: {kind: alpha}}]
    temperature: {kind: constant, value: 4}
    views: 4
    """

    model_config = _CONFIG

    stages: tuple[Stage, ...] = Field(default=(Stage(),), min_length=1, max_length=32)
    """One after the other; `three_stages` gives features, then attention and structure, then outputs."""
    temperature: TemperatureConfig = ConstantTemperature()
    """Of the soft targets."""
    hard_examples: HardExamples | None = None
    """Null for equal weights."""
    pairs: Mapping[str, str] | None = None
    """Student's layer → teacher's layer whose maps are compared; null for the last ones of each common resolution."""
    views: int = Field(default=0, ge=0, le=10_000)
    """Fixed augmented copies of the training split whose answers are kept; 0: the teacher runs on each batch."""
    views_seed: int = Field(default=0, ge=0, lt=2**32)
    """Of the copies' augmentation. The same for all students that are to share the teacher's answers."""

    @model_validator(mode="after")
    def _stages_fit(self) -> DistilConfig:
        total = sum(stage.share for stage in self.stages)
        if abs(total - 1) > 1e-6:
            raise ValueError(f"stages: the shares sum to {total:g}; they must sum to 1")
        if isinstance(self.temperature, SteppedTemperature) and len(self.stages) < 2:
            raise ValueError(
                "temperature: a stepped one falls from stage to stage, and there is one stage; "
                "give two or more (they may have equal mixes), or take a decaying one"
            )
        if self.pairs is not None and not self.pairs:
            raise ValueError("pairs: an empty mapping pairs nothing; leave it out for the default")
        return self

    def used(self) -> tuple[Term, ...]:
        """Terms that count in any stage."""
        return tuple(term for term in TERMS if any(term in s.mix.used() for s in self.stages))


def three_stages(
    shares: tuple[float, float, float] = (0.2, 0.2, 0.6), outputs: FixedMix | AlphaMix | None = None
) -> tuple[Stage, ...]:
    """Features, then attention and structure (relations between images), then outputs.

    FitNets trains in two: hints, then outputs (Romero et al. 2015, section 2.3).

    Args:
        shares: of the epochs, summing to 1.
        outputs: mix of the last stage; labels and teacher by a scheduled α if None.
    """
    nothing = FixedMix(hard=0, soft=0, feature=0, attention=0)
    features = nothing.model_copy(update={"feature": 1.0})
    structure = nothing.model_copy(update={"attention": 1.0, "rkd_distance": 1.0, "rkd_angle": 2.0})
    mixes = (features, structure, outputs or AlphaMix())
    return tuple(Stage(share=share, mix=mix) for share, mix in zip(shares, mixes, strict=True))
