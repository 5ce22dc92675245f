"""BatchNorm as what it is at inference: a factor and a shift of each channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace import Layer
from child_models.layer_rules import BATCH_NORM_EPSILON, has_norm


class Folded(NamedTuple):
    """A layer without BatchNorm: its weights · `scale`, an output channel, plus `bias`; float64, (out_channels,) each.

    Of a BatchNorm on its own: x · scale + bias.
    """

    scale: NDArray[np.float64]
    bias: NDArray[np.float64]


def fold_batch_norm(layer: Layer, weights: Mapping[str, NDArray[Any]]) -> Folded:
    """W·s and (b − μ)·s + β, s = γ/√(σ² + ε); without BatchNorm s = 1 and the layer's own bias, if it has one.

    In float64, so that folding itself rounds only once.

    Args:
        weights: arrays by their state-dict names (`weight_shapes`).
    """
    prefix = f"layers.{layer.name}."
    own_bias = weights.get(f"{prefix}{layer.op}.bias", np.zeros(layer.out_channels))
    bias = np.asarray(own_bias, dtype=np.float64)
    if not has_norm(layer):
        return Folded(np.ones(layer.out_channels), bias)
    gamma, beta, mean, variance = (
        weights[f"{prefix}norm.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    return Folded(scale, (bias - mean) * scale + beta)
