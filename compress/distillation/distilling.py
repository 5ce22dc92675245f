"""Trains a student with a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archspace import Network
from child_models import ChildModule, Dataset, ExitChoice, TrainingConfig
from child_models.fitting import OnEpoch, OnStep, finite_weights
from child_models.precision import Precision
from child_models.training import check_training, fresh_module
from compress.distillation.combined_loss import distil_loss
from compress.distillation.config import DistilConfig
from compress.distillation.term_log import EpochLog
from compress.trained_model import TrainedModel
from compress.tuning import trainable_module, tune

Prepare = Callable[[ChildModule], ChildModule]
"""Makes the module that is trained: fake-quantised, say. The network's arrays keep their names in it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Distilled:
    """The student after training, and how it got there.

    Attributes:
        model: weights and newly chosen thresholds; nothing of the teacher or the adapters is in it.
        exit_choice: how its exits do on validation data.
        losses: mean weighted loss of each epoch.
        epochs: each epoch's terms: size, weight and gradient norm (`TermLog` says of what).
        skipped: steps left out since the loss or its gradient was not finite.
    """

    model: TrainedModel
    exit_choice: ExitChoice
    losses: tuple[float, ...]
    epochs: tuple[EpochLog, ...]
    skipped: int


def distil(
    student: TrainedModel | Network,
    teacher: TrainedModel,
    dataset: Dataset,
    config: DistilConfig,
    training: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    cache_dir: Path | None = None,
    prepare: Prepare | None = None,
    device: str = "cpu",
    precision: Precision | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Distilled:
    """Train `student` to do as `teacher` does, then choose its exits' thresholds on the validation split.

    Equal input gives equal weights on one machine with one number of threads. With `config.views` 0, a network starts
    from the weights and sees the images that `train_child` would give it with this seed. All arguments but the
    callbacks are plain data, so that it can run in another process.

    Args:
        student: a `Network` starts from new weights, a `TrainedModel` from its own.
        training: of the loop, as for any child; label smoothing is that of the hard term.
        epochs: at least one a stage.
        seed: of new weights, adapters, order and augmentation, in [0, 2³²).
        cache_dir: where the teacher's answers are kept; needed where `config.views` is above 0.
        prepare: changes the module before it is trained.
        device: where it is trained, "cpu" or "cuda".
        precision: of convolutions and linear layers; as `training` says if None.
        on_step: for time and memory limits.
        on_epoch: for progress.

    Raises:
        ValueError: what does not fit together; the message says what.
        NonFiniteTraining: an epoch without one finite step.
    """
    network = student if isinstance(student, Network) else student.network
    check_training(network, dataset, epochs, seed)
    if isinstance(student, Network):
        module = fresh_module(student, seed, channels_last=training.channels_last)
        model = TrainedModel.of(student, finite_weights(module))
    else:
        module, model = trainable_module(student), student
    module = (prepare(module) if prepare else module).to(device)
    with distil_loss(
        module,
        network,
        teacher,
        dataset,
        config,
        training,
        epochs=epochs,
        seed=seed,
        cache_dir=cache_dir,
    ) as loss:
        tuned = tune(
            model,
            dataset,
            training,
            epochs=epochs,
            seed=seed,
            loss=loss,
            module=module,
            batches=loss.batches,
            more_parameters=loss.parameters(),
            device=device,
            precision=precision,
            on_step=on_step,
            on_epoch=on_epoch,
        )
        return Distilled(
            model=tuned.model,
            exit_choice=tuned.exit_choice,
            losses=tuned.fitted.losses,
            epochs=loss.logs(),
            skipped=tuned.fitted.skipped,
        )
