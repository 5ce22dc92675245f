"""Teacher, students and ways to teach of `distillation.py`, fixed by hand before any test accuracy was seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from archspace import Network, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import DataConfig, Dataset, DigitsConfig, ShapesConfig
from compress import (
    AlphaConfig,
    AlphaMix,
    DecayingTemperature,
    DistilConfig,
    FixedMix,
    HardExamples,
    Stage,
    SteppedTemperature,
    three_stages,
)

Data = Literal["shapes", "few-shapes", "digits"]
ALONE = "alone"
FOUR_TERMS = "four terms"
LEAST_GAP = 0.055
"""By which the teacher leads the student that is taught; share of validation images, a half point more than wanted
since the compared seeds are others."""
MOST_SPREAD = 0.03
"""Standard deviation over seeds of the student alone, share of validation images."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """A network of residual stages, each but the first halving height and width."""

    operation: str
    widths: tuple[int, ...]
    layers: int
    stem: int = 16

    def network(self, dataset: Dataset, stem_stride: Literal[1, 2]) -> Network:
        """For the images and classes of `dataset`, with a skip connection in every layer and no exits."""
        stages = tuple(
            StageConfig(channels=width, layers=self.layers, stride=1 if number == 0 else 2)
            for number, width in enumerate(self.widths)
        )
        space = StagedSpace(
            StagedSpaceConfig(
                stem_channels=self.stem,
                stem_stride=stem_stride,
                stages=stages,
                operations=(self.operation,),
                keep_ratios=(1.0,),
                channel_multiple=4,
                early_exits=False,
            ),
            input_shape=dataset.input_shape,
            num_classes=dataset.num_classes,
        )
        return space.resolve([len(decision.choices) - 1 for decision in space.decisions])


@dataclass(frozen=True, kw_only=True)
class Case:
    """Data, the teacher, and students from the largest to the smallest."""

    data: DataConfig
    stem_stride: Literal[1, 2]
    teacher: Design
    students: tuple[Design, ...]


CASES: Mapping[Data, Case] = {
    "shapes": Case(
        data=ShapesConfig(),
        stem_stride=2,
        teacher=Design(operation="conv_k3", widths=(32, 64, 96), layers=2),
        students=tuple(
            Design(operation="dwconv_k3", widths=widths, layers=2)
            for widths in ((20, 40, 60), (16, 32, 48), (16, 28, 40), (16, 24, 32), (12, 16, 24))
        ),
    ),
    # labels are scarce: small networks fit them and err elsewhere, where the teacher knows more than they say
    "few-shapes": Case(
        data=ShapesConfig(num_train=750),
        stem_stride=2,
        teacher=Design(operation="conv_k3", widths=(32, 64, 96), layers=2),
        students=tuple(
            Design(operation="dwconv_k3", widths=widths, layers=1)
            for widths in ((64, 128, 192), (48, 96, 144), (40, 80, 120), (32, 64, 96), (24, 48, 72))
        ),
    ),
    "digits": Case(
        data=DigitsConfig(),
        stem_stride=1,
        teacher=Design(operation="conv_k3", widths=(32, 64), layers=1),
        students=tuple(
            Design(operation="dwconv_k3", widths=(width, 2 * width), layers=1, stem=width)
            for width in (12, 8, 4)
        ),
    ),
}

_LABELS = FixedMix(hard=1, soft=0, feature=0, attention=0)
_KD = AlphaMix(alpha=AlphaConfig(early=0.9, late=0.9))


def _config(mix: FixedMix | AlphaMix) -> DistilConfig:
    return DistilConfig(stages=(Stage(mix=mix),))


def _labels_and(**weights: float) -> DistilConfig:
    return _config(_LABELS.model_copy(update=weights))


METHODS: Mapping[str, DistilConfig] = {
    ALONE: _config(_LABELS),
    "KD": _config(_KD),  # weights 0.1 and 0.9, T = 4: RepDistiller's
    "feature": _labels_and(feature=1.0),
    "attention": _labels_and(attention=1.0),
    "RKD": _labels_and(rkd_distance=1.0, rkd_angle=2.0),
    "α schedule": _config(AlphaMix()),
    FOUR_TERMS: _config(FixedMix()),
    "three stages": DistilConfig(stages=three_stages()),
}
"""What is compared; `alone` is the baseline, with the labels and nothing of the teacher.

Weights of maps and relations are round numbers, not tuned. The published ones (attention 500 over the number of places,
RKD 25 and 50) are for trainings of 200 epochs and more.
"""

MORE_METHODS: Mapping[str, DistilConfig] = {
    "hard examples": _config(_KD).model_copy(update={"hard_examples": HardExamples()}),
    "decaying T": _config(_KD).model_copy(
        update={"temperature": DecayingTemperature(rate=0.01, unit="step")}
    ),
    "stepped T": DistilConfig(
        stages=tuple(Stage(share=0.25, mix=_KD) for _ in range(4)),
        temperature=SteppedTemperature(),
    ),
}
"""Only where `--methods` names them."""
