"""What all children of a search learn from, beside the labels."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from archspace import Network

if TYPE_CHECKING:
    from child_models import Dataset, TrainedNetwork, TrainingConfig
    from child_models.fitting import OnStep
    from compress import DistilConfig, TrainedModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """A teacher and how it teaches. Plain data: it goes to workers as it is.

    Attributes:
        teacher: trained on the children's data.
        config: what is learnt from it.
        cache_dir: where the teacher's answers are kept, on the machine that trains: children of one machine ask it once.
    """

    teacher: TrainedModel
    config: DistilConfig
    cache_dir: Path | None = None

    @property
    def key(self) -> str:
        """16 hex digits over all that children's results depend on."""
        from compress.step_store import model_key

        text = f"{model_key(self.teacher)}/{self.config.model_dump_json()}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def train_with(
    lesson: Lesson,
    network: Network,
    dataset: Dataset,
    training: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    on_step: OnStep,
) -> TrainedNetwork:
    """As `train_child`, with a teacher: equal seeds start from equal weights.

    Raises:
        NonFiniteTraining: an epoch without a finite step.
        ValueError: the teacher does not fit the data.
    """
    from child_models import TrainedNetwork
    from child_models.precision import chosen_precision
    from compress import distil

    started = time.perf_counter()
    taught = distil(
        network,
        lesson.teacher,
        dataset,
        lesson.config,
        training,
        epochs=epochs,
        seed=seed,
        cache_dir=lesson.cache_dir,
        on_step=on_step,
    )
    seconds = time.perf_counter() - started
    return TrainedNetwork(
        weights=dict(taught.model.weights),
        exit_choice=taught.exit_choice,
        epochs_run=epochs,
        train_seconds=seconds,
        losses=taught.losses,
        precision=chosen_precision(training.precision, network),
    )
