"""A config's data set, and its search space fitted to that."""

from __future__ import annotations

from archspace import NasBench201Space, SearchSpace, Shape, StagedSpace, StagedSpaceConfig
from child_models import Dataset, load_data
from service.run_config import RunConfig

CIFAR_SHAPE = Shape(3, 32, 32)
CIFAR_CLASSES = 10


def load_dataset(config: RunConfig) -> Dataset:
    """The config's data."""
    assert config.data is not None, "checked by RunConfig"
    return load_data(config.data)


def make_space(config: RunConfig, dataset: Dataset | None) -> SearchSpace:
    """The config's space, fitted to the images and classes of `dataset`."""
    shape = dataset.input_shape if dataset else CIFAR_SHAPE
    classes = dataset.num_classes if dataset else CIFAR_CLASSES
    if isinstance(config.space, StagedSpaceConfig):
        return StagedSpace(config.space, input_shape=shape, num_classes=classes)
    return NasBench201Space(config.space, input_shape=shape, num_classes=classes)
