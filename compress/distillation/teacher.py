"""What a teacher says of a batch: run on it, or read from where it was kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from child_models import Dataset
from child_models.batches import Batch
from child_models.scoring import loaded_module
from compress.distillation.features import Capture, Maps
from compress.trained_model import TrainedModel


class Answers(NamedTuple):
    """Logits of the final head (batch, classes) and maps of the wanted layers; float32, without gradients."""

    logits: Tensor
    maps: Maps


class Teacher(Protocol):
    """Says what it thinks of a batch."""

    def __call__(self, batch: Batch) -> Answers: ...


class LiveTeacher:
    """Runs the teacher on each batch: in evaluation mode, in float32, without gradients.

    Args:
        layers: whose maps are wanted.
        device: where the batches lie.
    """

    def __init__(
        self, model: TrainedModel, layers: Sequence[str], device: torch.device | str = "cpu"
    ) -> None:
        self._module = loaded_module(model.network, model.weights).to(device)
        self._capture = Capture(self._module, layers)

    def __call__(self, batch: Batch) -> Answers:
        # the student's autocast, if any, is not the teacher's
        with torch.no_grad(), torch.autocast(batch.images.device.type, enabled=False):
            logits = self._module(batch.images)[-1]
        return Answers(logits, self._capture.take())


def check_fits(student_classes: int, teacher: TrainedModel, dataset: Dataset) -> None:
    """Refuse a teacher of other images or classes.

    Raises:
        ValueError: it does not fit the data or the student.
    """
    network = teacher.network
    for name, theirs, expected in (
        ("images", tuple(network.input_shape), tuple(dataset.input_shape)),
        ("classes", network.num_classes, dataset.num_classes),
        ("classes", network.num_classes, student_classes),
    ):
        if theirs != expected:
            raise ValueError(
                f"the teacher knows {name} {theirs}, student and data have {expected}; "
                "train a teacher on this data set"
            )
