"""Training a network while it is rounded (Jacob et al. 2018, section 3), and giving back what was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import torch

from archspace import INPUT
from child_models.fitting import OnStep, finite_weights
from child_models.scoring import load_weights
from child_models.training import keep_gradients_channels_last
from compress.quantisation.calibration import MapObserver
from compress.quantisation.codebook import Codebook
from compress.quantisation.errors import QuantisationError
from compress.quantisation.grids import Grid
from compress.quantisation.module import QuantisedModule, weight_name
from compress.quantisation.post_training import with_bits
from compress.quantisation.quantisers import (
    CodebookQuantiser,
    Quantiser,
    map_quantiser,
    weight_quantiser,
)
from compress.quantisation.result import Quantisation, WeightForm
from compress.trained_model import TrainedModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """How scales adapt while training.

    Attributes:
        learned_scales: LSQ; else scales follow the ranges that are seen.
        weight_noise: standard deviation of noise on weights, in steps of their grids; 0 for none.
        seed: of the noise.
    """

    learned_scales: bool = False
    weight_noise: float = 0.0
    seed: int = 0


def prepare_training(
    model: TrainedModel,
    quantisation: Quantisation,
    ranges: Mapping[str, MapObserver],
    how: Learning,
) -> QuantisedModule:
    """`model`, not rounded yet, as a module in training mode that starts from `quantisation`'s grids.

    It can be handed to `tune(model, …, module=…, on_step=freezing(module, share))`; `trained_quantised` then gives the model.

    Args:
        ranges: what was seen of each map of `quantisation`.

    Raises:
        QuantisationError: noise without a grid.
    """
    weights = {
        name: _weight_quantiser(model, name, form, how)
        for name, form in quantisation.weights.items()
    }
    maps = {
        name: map_quantiser(
            grid,
            ranges[name].low,
            ranges[name].high,
            prod(model.network.input_shape if name == INPUT else model.network.shapes[name]),
            learned=how.learned_scales,
        )
        for name, grid in quantisation.maps.items()
    }
    with torch.random.fork_rng(devices=[]):
        module = QuantisedModule(
            model.network, weights, maps, weight_noise=how.weight_noise, seed=how.seed
        )
    load_weights(module, model.weights)
    keep_gradients_channels_last(module)
    module.train()
    return module


def _weight_quantiser(model: TrainedModel, name: str, form: WeightForm, how: Learning) -> Quantiser:
    (op,) = (layer.op for layer in model.network.layers if layer.name == name)
    weight = torch.from_numpy(model.weights[f"layers.{name}.{weight_name(op)}"].copy())
    if isinstance(form, Grid):
        return weight_quantiser(form, weight, learned=how.learned_scales)
    assert isinstance(form, Codebook)
    if how.weight_noise:
        raise QuantisationError("weight noise is counted in steps of a grid; a codebook has none")
    return CodebookQuantiser(form, weight)


def freezing(module: QuantisedModule, share: float, also: OnStep | None = None) -> OnStep:
    """An `on_step` that freezes scales and ranges for the last `share` (0–1) of the steps (Krishnamoorthi 2018, 3.2)."""

    def on_step(done: int, total: int) -> None:
        if done >= (1 - share) * total:
            module.freeze()
        if also is not None:
            also(done, total)

    return on_step


def trained_quantised(model: TrainedModel, module: QuantisedModule) -> TrainedModel:
    """The model that `module` was trained to: same outputs as the module in evaluation mode.

    Args:
        model: gives the exits' thresholds.

    Raises:
        NonFiniteTraining: weights that are not finite.
    """
    module.eval()
    weights = {**finite_weights(module), **module.rounded_weights()}
    quantisation = module.quantisation()
    network = with_bits(model.network, quantisation.weights)
    return replace(
        TrainedModel.of(model.network, weights), network=network, quantisation=quantisation
    )
