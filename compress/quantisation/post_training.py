"""Quantising what has been trained, without training: grids for weights and maps, from some training images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from archspace import INPUT, WEIGHTED, Network
from child_models import ChildModule, Dataset
from child_models.int8_maps import quantised_maps
from child_models.scoring import load_weights
from compress.quantisation.calibration import MapObserver, Method, weight_grid
from compress.quantisation.codebook import kmeans_codebook
from compress.quantisation.errors import NotFinite, QuantisationError
from compress.quantisation.module import weight_name
from compress.quantisation.result import Quantisation, WeightForm
from compress.trained_model import TrainedModel

_BATCH = 128


@dataclass(frozen=True, slots=True)
class WeightCalibration:
    """How a weight tensor's numbers are chosen; `codebook` ignores the others."""

    codebook: bool = False
    symmetric: bool = True
    per_channel: bool = True
    method: Method = "mse"
    percentile: float = 99.9


def weight_forms(
    model: TrainedModel, bits: Mapping[str, int], how: WeightCalibration
) -> dict[str, WeightForm]:
    """Layer → the numbers its weights may take; layers with 32 bits, or not in `bits`, are left out.

    Raises:
        NotFinite: weights with NaN or infinity; the message names the layer.
        QuantisationError: a layer that has no weights.
    """
    ops = {layer.name: layer.op for layer in model.network.layers}
    forms: dict[str, WeightForm] = {}
    for name, width in bits.items():
        if ops.get(name) not in WEIGHTED:
            raise QuantisationError(f"{name!r}: there is no such conv or linear layer")
        if width == 32:
            continue
        weight = model.weights[f"layers.{name}.{weight_name(ops[name])}"]
        try:
            forms[name] = (
                kmeans_codebook(weight, width)
                if how.codebook
                else weight_grid(
                    weight,
                    width,
                    symmetric=how.symmetric,
                    channel_axis=0 if how.per_channel else None,
                    method=how.method,
                    percentile=how.percentile,
                )
            )
        except NotFinite as error:
            raise NotFinite(f"layer {name}: {error}") from error
    return forms


def with_weights_rounded(model: TrainedModel, forms: Mapping[str, WeightForm]) -> TrainedModel:
    """`model` with the weights that `forms` allow, and its layers' bits; maps stay as they were."""
    ops = {layer.name: layer.op for layer in model.network.layers}
    weights = dict(model.weights)
    for name, form in forms.items():
        key = f"layers.{name}.{weight_name(ops[name])}"
        weights[key] = form.nearest(weights[key])
    maps = model.quantisation.maps if model.quantisation else {}
    return replace(
        model,
        network=with_bits(model.network, forms),
        weights=weights,
        quantisation=Quantisation(weights=forms, maps=maps),
    )


def with_bits(network: Network, forms: Mapping[str, WeightForm]) -> Network:
    """`network` whose layers say how many bits their weights take."""
    layers = tuple(
        replace(n, bits=max(2, forms[n.name].bits) if n.name in forms else 32)
        for n in network.layers
    )
    return replace(network, layers=layers)


def observe_maps(
    model: TrainedModel, dataset: Dataset, *, images: int, histograms: bool, seed: int
) -> dict[str, MapObserver]:
    """Map → what was seen of it on `images` training images, without augmentation; the maps of `quantised_maps`.

    Raises:
        NotFinite: a map with NaN or infinity; the message names it.
    """
    return observed(model, calibration_images(dataset, images, seed), histograms=histograms)


def observed(
    model: TrainedModel, batches: Sequence[Tensor], *, histograms: bool
) -> dict[str, MapObserver]:
    """As `observe_maps`, on normalised images (batch, channels, height, width)."""
    observers = {name: MapObserver() for name in quantised_maps(model.network)}
    with torch.random.fork_rng(devices=[]):
        module = _Watched(model.network)
    load_weights(module, model.weights)
    for see in (MapObserver.see_range, MapObserver.see_histogram)[: 1 + histograms]:
        module.see = _sees(observers, see)
        with torch.inference_mode():
            for batch in batches:
                module(batch)
    return observers


def calibration_images(dataset: Dataset, images: int, seed: int) -> Sequence[Tensor]:
    """Batches of different training images, normalised, channels-last; which ones, `seed` decides."""
    if images < 1:
        raise QuantisationError(f"calibration images: expected at least 1, got {images}")
    order = np.random.default_rng([seed, 2]).permutation(len(dataset.train))[:images]
    return [
        torch.from_numpy(
            dataset.normalise(dataset.train.images[order[start : start + _BATCH]])
        ).contiguous(memory_format=torch.channels_last)
        for start in range(0, len(order), _BATCH)
    ]


See = Callable[[str, Tensor], None]


class _Watched(ChildModule):
    """Shows every map to `see`."""

    see: See

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        self.see(INPUT, x)
        return super().forward(x)

    def run_layer(self, name: str, inputs: Sequence[Tensor]) -> Tensor:
        result = super().run_layer(name, inputs)
        self.see(name, result)
        return result


def _sees(observers: Mapping[str, MapObserver], see: Callable[[MapObserver, Tensor], None]) -> See:
    def show(name: str, values: Tensor) -> None:
        if name in observers:
            try:
                see(observers[name], values)
            except NotFinite as error:
                raise NotFinite(f"map {name}: {error}") from error

    return show
