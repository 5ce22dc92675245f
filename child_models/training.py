"""The training loop: one network, one data set, plain to read, the same result for the same seed.

ArithmeticError
└── NonFiniteTraining    the loss or the weights stopped being finite numbers
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from archspace import Network
from child_models.augmentation import Augmenter
from child_models.counts import layer_counts
from child_models.datasets.base import Dataset, Split
from child_models.exits import ExitChoice, choose_thresholds
from child_models.layer_rules import check_weights
from child_models.module import ChildModule, build_module
from child_models.precision import chosen_precision
from child_models.training_config import TrainingConfig

Weights = Mapping[str, NDArray[np.generic]]
OnStep = Callable[[int, int], None]
"""Called after each step with (steps done, steps in all); what it raises ends the training."""
OnEpoch = Callable[[int, float], None]
"""Called after each epoch with (epochs done, mean training loss); what it raises ends the training."""

EVALUATION_BATCH = 256


class NonFiniteTraining(ArithmeticError):
    """Training diverged: NaN or infinity. The same network, settings and seed will do so again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedNetwork:
    """What training gives.

    Attributes:
        weights: float32 arrays by state-dict name: parameters and BatchNorm's running statistics.
        exit_choice: thresholds, shares and accuracies on the validation split.
        epochs_run: how many epochs were trained.
        train_seconds: wall-clock time, validation left out; for people.
        losses: mean training loss of each epoch.
        precision: of the convolutions while training, "fp32" or "bf16".
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

    On one machine with one number of threads, equal (network, data set, config, epochs, seed) give equal weights,
    bit for bit. The caller's random generators neither matter nor move; torch's number of threads is the caller's.

    Args:
        epochs: at least 1.
        seed: of initial weights, order of the images and augmentation, in [0, 2³²).

    Raises:
        NonFiniteTraining: the loss or the weights stopped being finite.
        ValueError: the network does not fit the data, or a number is out of range.
    """
    _check(network, dataset, epochs)
    start = time.perf_counter()
    precision = chosen_precision(config.precision, network)
    module = _new_module(network, seed)
    if config.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = _optimizer(module, config)
    batches = _Batches(dataset, config, seed)
    total_steps = epochs * batches.steps
    step = 0
    losses = []
    for epoch in range(1, epochs + 1):
        epoch_loss = 0.0
        for images, labels in batches.epoch():
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * schedule(step, total_steps, config.warmup)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                logits = module(images)
            loss = _loss(logits, labels, config)
            optimizer.zero_grad()
            loss.backward()
            if config.clip_norm is not None:
                nn.utils.clip_grad_norm_(batches_parameters(optimizer), config.clip_norm)
            optimizer.step()
            step += 1
            value = loss.item()
            if not math.isfinite(value):
                raise NonFiniteTraining(f"the loss became {value} in step {step} (epoch {epoch})")
            epoch_loss += value * len(labels)
            if on_step is not None:
                on_step(step, total_steps)
        losses.append(epoch_loss / len(dataset.train))
        if on_epoch is not None:
            on_epoch(epoch, losses[-1])
    weights = _weights_of(module)
    seconds = time.perf_counter() - start
    logits = evaluate_network(network, weights, dataset.validation, dataset)
    ...
