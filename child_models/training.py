"""Training a child from nothing: plain to read, and the same result for the same seed. The loop itself is `fitting.fit`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from archspace import Network
from child_models.batches import TrainingBatches
from child_models.counts import layer_counts
from child_models.datasets.base import Dataset
from child_models.exits import ExitChoice, choose_thresholds
from child_models.fitting import OnEpoch, OnStep, finite_weights, fit
from child_models.module import ChildModule, build_module
from child_models.precision import chosen_precision
from child_models.scoring import evaluate_network, to_channels_last
from child_models.training_config import TrainingConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """What training gives.

    Attributes:
        weights: float32 arrays by state-dict name: parameters and BatchNorm's running statistics.
        exit_choice: thresholds, shares and accuracies on the validation split.
        epochs_run: how many epochs were trained.
        train_seconds: wall-clock time without validation; for people.
        losses: mean training loss of each epoch, exits and smoothing included.
        precision: of convolutions and linear layers while training, "fp32" or "bf16".
    """

    weights: dict[str, NDArray[np.float32]]
    exit_choice: ExitChoice
    epochs_run: int
    train_seconds: float
    losses: tuple[float, ...]
    precision: str


def train_child(
    network: Network,
    dataset: Dataset,
    config: TrainingConfig,
    *,
    epochs: int,
    seed: int,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
) -> TrainedNetwork:
    """Train `network` on the training split, then choose its exits' thresholds on the validation split.

    Equal (network, data set, config, epochs, seed) give equal weights bit for bit, on one machine with one number
    of threads. The caller's random generators neither matter nor move; torch's number of threads is the caller's.

    Args:
        epochs: at least 1.
        seed: of initial weights, order of the images and augmentation, in [0, 2³²).
        on_step: for time and memory limits.
        on_epoch: for progress.

    Raises:
        NonFiniteTraining: the loss or a weight became NaN or infinite.
        ValueError: the network does not fit the data, or `epochs` or `seed` is out of range.
    """
    check_training(network, dataset, epochs, seed)
    start = time.perf_counter()
    weights, losses, precision = _fit(network, dataset, config, epochs, seed, on_step, on_epoch)
    seconds = time.perf_counter() - start
    logits = evaluate_network(network, weights, dataset.validation, dataset)
    return TrainedNetwork(
        weights=weights,
        exit_choice=chosen_exits(network, logits, dataset, config.max_exit_drop),
        epochs_run=epochs,
        train_seconds=seconds,
        losses=losses,
        precision=precision,
    )


def _fit(
    network: Network,
    dataset: Dataset,
    config: TrainingConfig,
    epochs: int,
    seed: int,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
) -> tuple[dict[str, NDArray[np.float32]], tuple[float, ...], str]:
    """(weights, loss of each epoch, precision)."""
    module = fresh_module(network, seed, channels_last=config.channels_last)
    precision = chosen_precision(config.precision, network)
    fitted = fit(
        module,
        TrainingBatches.of(dataset, config, seed),
        config,
        lambda heads, batch, _moment: heads_loss(heads, batch.labels, config),
        epochs=epochs,
        precision=precision,
        on_step=on_step,
        on_epoch=on_epoch,
    )
    return finite_weights(module), fitted.losses, precision


def heads_loss(logits: tuple[Tensor, ...], labels: Tensor, config: TrainingConfig) -> Tensor:
    """Cross-entropy of the final head + exit_loss_weight · mean cross-entropy of the exits.

    A weighted sum of all heads' losses, as in BranchyNet (Teerapittayanon et al. 2016, equation 1).
    """
    losses = [
        F.cross_entropy(head, labels, label_smoothing=config.label_smoothing) for head in logits
    ]
    *early, final = losses
    if early:
        final = final + config.exit_loss_weight / len(early) * torch.stack(early).sum()
    return final


def fresh_module(network: Network, seed: int, *, channels_last: bool = True) -> ChildModule:
    """A newly initialised module in training mode; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        # not torch.manual_seed, which reseeds the GPUs too
        torch.default_generator.manual_seed(seed)
        module = build_module(network)
    if channels_last:
        to_channels_last(module)
        keep_gradients_channels_last(module)
    return module.train()


def keep_gradients_channels_last(module: ChildModule) -> None:
    """The gradient of a mean over a map is laid out channels-first, and the ReLU and BatchNorm before it are then
    10 to 30 times slower backwards; turning that one gradient around takes 3-20 % off a step.
    """

    def turn(gradient: Tensor) -> Tensor:
        return gradient.contiguous(memory_format=torch.channels_last)

    def watch(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].requires_grad:
            inputs[0].register_hook(turn)  # type: ignore[no-untyped-call]

    for layer in module.network.layers:
        if layer.op == "global_avg_pool":
            module.layers[layer.name].register_forward_pre_hook(watch)


def chosen_exits(
    network: Network, logits: Sequence[NDArray[np.float32]], dataset: Dataset, max_drop: float
) -> ExitChoice:
    """Thresholds of `network`'s exits for `logits`, a (samples, num_classes) array a head, of `dataset`'s validation split."""
    return choose_thresholds(
        logits, dataset.validation.labels, max_drop, head_costs=head_costs(network)
    )


def head_costs(network: Network) -> list[int]:
    """Multiply-accumulates up to each head, all layers that stand before it included."""
    counts = layer_counts(network)
    so_far = dict(
        zip(
            (count.name for count in counts),
            accumulate(count.macs for count in counts),
            strict=True,
        )
    )
    return [so_far[name] for name in network.heads]


def check_training(network: Network, dataset: Dataset, epochs: int, seed: int) -> None:
    """Refuse what cannot be trained.

    Raises:
        ValueError: the message says what was expected.
    """
    if network.input_shape != dataset.input_shape or network.num_classes != dataset.num_classes:
        raise ValueError(
            f"the network is for {tuple(network.input_shape)} images of {network.num_classes} classes, "
            f"{dataset.name} has {tuple(dataset.input_shape)} and {dataset.num_classes}"
        )
    if epochs < 1:
        raise ValueError(f"epochs: expected at least 1, got {epochs}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed: expected 0 to 2³² − 1, got {seed}")
    if len(dataset.train) < 2:
        raise ValueError("training needs at least 2 images: BatchNorm cannot measure one")
