"""What quantisation starts from: bits, grids of weights and of maps, found without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from child_models import Dataset
from compress.quantisation.bit_wall import lower_bits, size_cost
from compress.quantisation.calibration import MapObserver
from compress.quantisation.config import QuantiseConfig
from compress.quantisation.post_training import (
    observe_maps,
    weight_forms,
    with_weights_rounded,
)
from compress.quantisation.result import Quantisation
from compress.quantisation.sensitivity import Sensitivity, sensitivity_table
from compress.trained_model import TrainedModel


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """Grids found without training, what was seen of each map, and the table that bits were lowered by."""

    quantisation: Quantisation
    ranges: Mapping[str, MapObserver]
    sensitivities: tuple[Sensitivity, ...]

    @property
    def is_empty(self) -> bool:
        """Whether all stays in float32."""
        return not self.quantisation.weights and not self.quantisation.maps

    def rounded(self, model: TrainedModel) -> TrainedModel:
        """The float32 `model` with weights and maps on these grids; itself where there are none."""
        if self.is_empty:
            return model
        rounded = with_weights_rounded(model, self.quantisation.weights)
        return replace(rounded, quantisation=self.quantisation)


def starting_point(
    model: TrainedModel,
    dataset: Dataset,
    config: QuantiseConfig,
    *,
    seed: int,
    bits: Mapping[str, int] | None = None,
) -> StartingPoint:
    """Bits, grids of weights and of maps for a float32 `model`. Raises QuantisationError."""
    table: tuple[Sensitivity, ...] = ()
    if bits is None:
        bits, table = _chosen_bits(model, dataset, config)
    forms = weight_forms(model, bits, config.weight_calibration)
    ranges = _ranges(model, dataset, config, seed)
    maps = {
        name: seen.grid(config.map_bits, method=config.map_method, percentile=config.map_percentile)
        for name, seen in ranges.items()
    }
    return StartingPoint(Quantisation(weights=forms, maps=maps), ranges, table)


def _chosen_bits(
    model: TrainedModel, dataset: Dataset, config: QuantiseConfig
) -> tuple[dict[str, int], tuple[Sensitivity, ...]]:
    if config.scope == "maps":
        return {}, ()
    bits = config.plan.bits(model.network)
    if config.max_size_bytes is None:
        return bits, ()
    cost = size_cost(model.network)
    table = sensitivity_table(model, dataset, config.weight_calibration)
    return lower_bits(bits, table, cost, config.max_size_bytes), table


def _ranges(
    model: TrainedModel, dataset: Dataset, config: QuantiseConfig, seed: int
) -> dict[str, MapObserver]:
    if config.scope == "weights":
        return {}
    return observe_maps(
        model,
        dataset,
        images=config.calibration_images,
        histograms=config.map_method != "minmax",
        seed=seed,
    )
