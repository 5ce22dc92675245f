"""Gives a network of a search the bits that were decided for it, after it was trained in float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from archspace import WEIGHTED, Network
from child_models import Dataset, TrainingConfig
from child_models.fitting import OnStep
from compress.quantisation.config import ChildQuantiseConfig
from compress.quantisation.quantise import Quantised, quantise
from compress.trained_model import TrainedModel


def quantise_child(
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    dataset: Dataset,
    config: ChildQuantiseConfig,
    training: TrainingConfig,
    *,
    seed: int,
    on_step: OnStep | None = None,
) -> Quantised:
    """The network as it runs with its layers' bits; its digest stays.

    Args:
        network: `is_int8`: all its weights have 8 bits or fewer.
        weights: trained in float32.

    Raises:
        QuantisationError: weights or maps with NaN or infinity.
        NonFiniteTraining: training diverged.
    """
    return quantise(
        TrainedModel.of(network.with_bits(32), weights),
        dataset,
        config.settings,
        training,
        seed=seed,
        bits={layer.name: layer.bits for layer in network.layers if layer.op in WEIGHTED},
        on_step=on_step,
    )
