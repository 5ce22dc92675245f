"""How much each layer minds fewer bits: one layer is rounded at a time, all others stay float32.

The divergence of the outputs (KL, as in HAWQ and ZeroQ, Cai et al. 2020, equation 2) tells layers apart long before the
accuracy moves, which counts whole images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import WEIGHTED
from child_models import Dataset, Split
from compress.quantisation.plan import layer_size_bytes
from compress.quantisation.post_training import (
    WeightCalibration,
    weight_forms,
    with_weights_rounded,
)
from compress.trained_model import TrainedModel

OnEntry = Callable[[int, int], None]
"""Called with (entries done, entries in all); what it raises ends the work."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """One layer at some bits.

    Attributes:
        accuracy_drop: accuracy lost on validation data, share; below 0 where it rose.
        kl: mean KL(float32 ‖ rounded) of the final head's class probabilities, nats, ≥ 0.
        saved_bytes: against 32 bits.
    """

    layer: str
    bits: int
    accuracy_drop: float
    kl: float
    saved_bytes: int


def sensitivity_table(
    model: TrainedModel,
    dataset: Dataset,
    how: WeightCalibration,
    *,
    bits: Sequence[int] = (2, 3, 4, 5, 6, 7, 8),
    images: int | None = None,
    on_entry: OnEntry | None = None,
) -> tuple[Sensitivity, ...]:
    """Every conv and linear layer at each of `bits`, in the network's order; the weights only.

    Args:
        model: in float32.
        images: the first so many of the validation split; None for all.
    """
    split = dataset.validation
    split = Split(images=split.images[:images], labels=split.labels[:images])
    plain = model.logits(split, dataset)[-1]
    layers = [layer for layer in model.network.layers if layer.op in WEIGHTED]
    table = []
    for layer in layers:
        for width in bits:
            forms = weight_forms(model, {layer.name: width}, how)
            rounded = with_weights_rounded(model, forms).logits(split, dataset)[-1]
            table.append(
                Sensitivity(
                    layer=layer.name,
                    bits=width,
                    accuracy_drop=_accuracy(plain, split) - _accuracy(rounded, split),
                    kl=mean_kl(plain, rounded),
                    saved_bytes=layer_size_bytes(layer, 32) - layer_size_bytes(layer, width),
                )
            )
            if on_entry is not None:
                on_entry(len(table), len(layers) * len(bits))
    return tuple(table)


def mean_kl(logits: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """Mean over the images of KL(softmax(logits) ‖ softmax(others)), nats, ≥ 0; both (images, classes)."""
    first, second = _log_softmax(logits), _log_softmax(others)
    divergence = (np.exp(first) * (first - second)).sum(axis=1)
    return max(0.0, float(divergence.mean()))  # rounding may leave −1e-17


def _log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def _accuracy(logits: NDArray[np.float32], split: Split) -> float:
    return float((logits.argmax(axis=1) == split.labels).mean())
