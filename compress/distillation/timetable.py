"""Which stage of a distillation a step belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from child_models.fitting import Moment
from compress.distillation.config import Stage


class Place(NamedTuple):
    """A step in its stage: the stage's number from 0, and which share (0–1) of its steps lies before the step."""

    stage: int
    progress: float


class Timetable:
    """Stages over whole epochs.

    Each stage ends at the epoch nearest to the sum of the shares so far, and has one epoch at least.

    Raises:
        ValueError: fewer epochs than stages.
    """

    def __init__(self, stages: Sequence[Stage], epochs: int) -> None:
        if epochs < len(stages):
            raise ValueError(
                f"epochs: {len(stages)} stages need at least {len(stages)} epochs, got {epochs}"
            )
        self.epochs = epochs
        self.ends = _ends([stage.share for stage in stages], epochs)
        """Of each stage: the first epoch (from 0) that is no longer its own."""

    def place(self, moment: Moment) -> Place:
        """Where the step at `moment` stands; progress is 0 in a stage's first step, 1 in its last."""
        stage = next(number for number, end in enumerate(self.ends) if moment.epoch < end)
        steps_an_epoch = moment.steps // moment.epochs
        first = (self.ends[stage - 1] if stage else 0) * steps_an_epoch
        last = self.ends[stage] * steps_an_epoch - 1
        return Place(stage, (moment.step - first) / max(last - first, 1))


def _ends(shares: Sequence[float], epochs: int) -> tuple[int, ...]:
    ends: list[int] = []
    for number, total in enumerate(accumulate(shares)):
        least = (ends[-1] if ends else 0) + 1
        most = epochs - (len(shares) - 1 - number)  # one epoch for each stage to come
        ends.append(min(max(round(total * epochs), least), most))
    return tuple(ends)
