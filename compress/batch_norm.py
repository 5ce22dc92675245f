"""BatchNorm's running statistics measured anew, after the weights before it have changed."""

from __future__ import annotations

from child_models import Dataset
from child_models.batch_norm import IMAGES, measure_statistics
from child_models.fitting import finite_weights
from child_models.scoring import loaded_module
from compress.trained_model import TrainedModel


def recalibrate(model: TrainedModel, dataset: Dataset, *, images: int = IMAGES) -> TrainedModel:
    """`model` with statistics of its own; see `measure_statistics`."""
    module = loaded_module(model.network, model.weights)
    measure_statistics(module, dataset, images=images)
    return TrainedModel.of(model.network, finite_weights(module))
