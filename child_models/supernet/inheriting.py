"""A network with weights of a supernet instead of a training of its own."""

from __future__ import annotations

import time

import torch

from archspace import Network
from child_models.batch_norm import measure_statistics
from child_models.datasets.base import Dataset
from child_models.fitting import finite_weights
from child_models.module import build_module
from child_models.scoring import evaluate_module, to_channels_last
from child_models.supernet.shared_weights import SharedWeights
from child_models.training import TrainedNetwork, chosen_exits
from child_models.training_config import TrainingConfig


def inherit(
    network: Network, weights: SharedWeights, dataset: Dataset, config: TrainingConfig
) -> TrainedNetwork:
    """`network` with its part of `weights` and BatchNorm statistics of its own (Bender et al. 2018; Guo et al. 2020, section 3.4).

    Exits' thresholds are chosen on the validation split, as after a training.

    Raises:
        UnknownLayer: not a network of the space that the weights are for.
        NonFiniteTraining: the statistics are not finite.
    """
    started = time.perf_counter()
    with torch.random.fork_rng(devices=[]):  # the caller's generator does not move
        module = build_module(network)
    parameters = {name: tensor.detach() for name, tensor in weights.of(network).items()}
    module.load_state_dict(parameters, strict=False)
    to_channels_last(module)
    measure_statistics(module, dataset)
    logits = evaluate_module(module, dataset.validation, dataset)
    return TrainedNetwork(
        weights=finite_weights(module),
        exit_choice=chosen_exits(network, logits, dataset, config.max_exit_drop),
        epochs_run=0,
        train_seconds=time.perf_counter() - started,
        losses=(),
        precision="fp32",
    )
