"""Trains a network further from the weights that it has: after pruning, with a teacher, or fake-quantised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from child_models import ChildModule, Dataset, ExitChoice, TrainingConfig
from child_models.batches import TrainingBatches
from child_models.fitting import Fitted, Loss, OnEpoch, OnStep, finite_weights, fit
from child_models.precision import Precision, chosen_precision
from child_models.scoring import loaded_module
from child_models.training import heads_loss, keep_gradients_channels_last
from compress.trained_model import TrainedModel


@dataclass(frozen=True, slots=True)
class Tuned:
    """The model with its new weights and thresholds, how the thresholds do on validation data, and what the loop did."""

    model: TrainedModel
    exit_choice: ExitChoice
    fitted: Fitted


def hard_loss(config: TrainingConfig) -> Loss:
    """Cross-entropy with the labels, over all heads (`heads_loss`)."""
    return lambda heads, batch, _moment: heads_loss(heads, batch.labels, config)


def trainable_module(model: TrainedModel) -> ChildModule:
    """`model` as a module in training mode, channels-last."""
    module = loaded_module(model.network, model.weights)
    keep_gradients_channels_last(module)
    return module.train()


def tune(
    model: TrainedModel,
    dataset: Dataset,
    config: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    loss: Loss | None = None,
    module: ChildModule | None = None,
    batches: TrainingBatches | None = None,
    more_parameters: Iterable[nn.Parameter] = (),
    after_step: Sequence[Callable[[], None]] = (),
    device: str = "cpu",
    precision: Precision | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> Tuned:
    """Train all weights of `model` further, then choose its exits' thresholds anew.

    Equal input gives equal weights on one machine with one number of threads.

    Args:
        config: of the loop; its learning rate is the peak of a whole schedule of `epochs` epochs.
        epochs: at least 1.
        seed: of order and augmentation.
        loss: `hard_loss(config)` if None.
        module: `trainable_module(model)` if None; one that was prepared (hooks, fake quantisation) must hold the network's
            arrays under their usual names.
        batches: of the training split; as `config` says if None.
        device: where `module` is trained, as torch names it ("cpu", "cuda"); scoring stays on the CPU.
        precision: as `config` says if None.

    Raises:
        ValueError: `precision` is fp16 and `device` a CPU.
        NonFiniteTraining: an epoch without one finite step, or weights that are not finite.
    """
    module = (module or trainable_module(model)).to(device)
    fitted = fit(
        module,
        batches or TrainingBatches.of(dataset, config, seed),
        config,
        loss or hard_loss(config),
        epochs=epochs,
        precision=chosen_precision(precision or config.precision, model.network, device),
        more_parameters=more_parameters,
        after_step=after_step,
        non_finite="skip",
        on_step=on_step,
        on_epoch=on_epoch,
    )
    tuned = TrainedModel.of(model.network, finite_weights(module))
    return Tuned(*tuned.with_exits_chosen(dataset, config.max_exit_drop), fitted)
