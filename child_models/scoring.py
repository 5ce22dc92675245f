"""What a trained network says about images: logits in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from archspace import Network
from child_models.datasets.base import Dataset, Split
from child_models.layer_rules import check_weights
from child_models.module import ChildModule, build_module


def evaluate_network(
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    split: Split,
    dataset: Dataset,
    *,
    batch_size: int = 250,
) -> list[NDArray[np.float32]]:
    """Logits of every head for every image of `split`, in float32, BatchNorm with its running statistics.

    Args:
        weights: as in `TrainedNetwork`.
        dataset: whose normalisation the network was trained with.

    Returns:
        One (samples, num_classes) array a head, in the order of `network.heads`.

    Raises:
        WeightMismatch: weights of another network.
    """
    return evaluate_module(loaded_module(network, weights), split, dataset, batch_size=batch_size)


def evaluate_module(
    module: ChildModule, split: Split, dataset: Dataset, *, batch_size: int = 250
) -> list[NDArray[np.float32]]:
    """As `evaluate_network`, of a module in evaluation mode."""
    chunks = []
    with torch.inference_mode():
        for start in range(0, len(split), batch_size):
            images = dataset.normalise(split.images[start : start + batch_size])
            x = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
            chunks.append([logits.numpy() for logits in module(x)])
    return [np.concatenate(head) for head in zip(*chunks, strict=True)]


def to_channels_last(module: ChildModule) -> None:
    """Lay out kernels channels-last, in place."""
    nn.Module.to(module, memory_format=torch.channels_last)  # type: ignore[call-overload]


def loaded_module(network: Network, weights: Mapping[str, NDArray[Any]]) -> ChildModule:
    """`network` with `weights`, channels-last, in evaluation mode.

    Raises:
        WeightMismatch: weights of another network.
    """
    with torch.random.fork_rng(devices=[]):
        module = build_module(network)
    return load_weights(module, weights)


def load_weights(module: ChildModule, weights: Mapping[str, NDArray[Any]]) -> ChildModule:
    """`module` itself with `weights`, channels-last, in evaluation mode.

    Raises:
        WeightMismatch: weights of another network.
    """
    check_weights(module.network, weights)
    state = {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}
    # BatchNorm's step counters are not among the weights, and inference does not use them
    module.load_state_dict(state, strict=False)
    to_channels_last(module)
    return module.eval()
