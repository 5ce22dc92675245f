"""Single weights set to zero by magnitude (Han et al. 2015, "Learning both Weights and Connections").

Zeros make a file smaller once it is packed, and nothing faster: run times compute dense kernels. What should be faster
is pruned by channels (`prune`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from child_models import ChildModule, Dataset, TrainingConfig
from compress.trained_model import TrainedModel
from compress.tuning import trainable_module, tune

Masks = Mapping[str, NDArray[np.bool_]]
"""State-dict name of a kernel or matrix → True where a weight stays."""


def magnitude_masks(
    model: TrainedModel, sparsity: float, *, scope: Literal["global", "layer"] = "global"
) -> dict[str, NDArray[np.bool_]]:
    """Masks that leave the largest weights of all kernels and matrices.

    Args:
        sparsity: share of these weights that goes, in [0, 1); exact up to one weight (a layer, or in all).
        scope: whether weights compete over the whole network or within their layer. A layer keeps at least one.
    """
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity: expected at least 0 and less than 1, got {sparsity}")
    names = [name for name, array in model.weights.items() if array.ndim > 1]
    sizes = {name: np.abs(model.weights[name]).ravel() for name in names}
    if scope == "layer":
        return {
            name: _largest(size, round(sparsity * size.size)).reshape(model.weights[name].shape)
            for name, size in sizes.items()
        }
    together = np.concatenate([sizes[name] for name in names])
    kept = _largest(together, round(sparsity * together.size))
    masks, start = {}, 0
    for name in names:
        mask = kept[start : start + sizes[name].size]
        start += sizes[name].size
        if not mask.any():
            mask = _largest(sizes[name], sizes[name].size - 1)
        masks[name] = mask.reshape(model.weights[name].shape)
    return masks


def with_masks(model: TrainedModel, masks: Masks) -> TrainedModel:
    """The weights that masks leave; the others are 0."""
    weights = {
        name: array * masks[name] if name in masks else array
        for name, array in model.weights.items()
    }
    return TrainedModel.of(model.network, weights)


def tune_masked(
    model: TrainedModel,
    masks: Masks,
    dataset: Dataset,
    training: TrainingConfig,
    *,
    epochs: int,
    seed: int,
) -> TrainedModel:
    """Train further; the masks are put on again after each step, since the optimiser's memory moves zeros too."""
    module = trainable_module(with_masks(model, masks))
    tuned = tune(
        model,
        dataset,
        training,
        epochs=epochs,
        seed=seed,
        module=module,
        after_step=(mask_step(module, masks),),
    )
    return tuned.model


def mask_step(module: ChildModule, masks: Masks) -> Callable[[], None]:
    """Sets the masked weights of `module` to 0, in place, each time it is called."""
    parameters = dict(module.named_parameters())
    pairs = [(parameters[name], torch.from_numpy(~mask)) for name, mask in masks.items()]

    def put_on() -> None:
        with torch.no_grad():
            for parameter, gone in pairs:
                parameter.masked_fill_(gone, 0.0)

    return put_on


def sparsity_of(model: TrainedModel) -> float:
    """Share of zeros among the weights of kernels and matrices, 0–1."""
    arrays = [array for array in model.weights.values() if array.ndim > 1]
    zeros = sum(int((array == 0).sum()) for array in arrays)
    return zeros / sum(array.size for array in arrays)


def _largest(sizes: NDArray[np.float32], gone: int) -> NDArray[np.bool_]:
    """True for all but the `gone` smallest; of equals the later go first."""
    order = np.argsort(sizes[::-1], kind="stable")
    kept = np.ones(sizes.size, dtype=np.bool_)
    kept[sizes.size - 1 - order[:gone]] = False
    return kept
