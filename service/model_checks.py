"""Whether a trained model is one of the data at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import UsageError

if TYPE_CHECKING:
    from child_models import Dataset
    from compress import StoredModel


def check_model_fits(stored: StoredModel, dataset: Dataset, source: Path) -> None:
    """Refuse a model of other images, classes or normalisation than the data's. Raises UsageError."""
    network, document = stored.model.network, stored.document
    if (network.input_shape, network.num_classes) != (dataset.input_shape, dataset.num_classes):
        raise UsageError(
            f"{source} is for images of {tuple(network.input_shape)} and {network.num_classes} classes; "
            f"{dataset.name} has {tuple(dataset.input_shape)} and {dataset.num_classes}"
        )
    if document.normalization not in (None, dataset.normalization):
        raise UsageError(
            f"{source} was trained on images normalised by {document.normalization}, {dataset.name} gives "
            f"{dataset.normalization}: it is other data, or another split of it; use the data that it was trained on"
        )
