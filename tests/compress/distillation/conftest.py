"""A small teacher and a smaller student on digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from archspace import Network, StageConfig, StagedSpace, StagedSpaceConfig
from child_models import Dataset, DigitsConfig, TrainingConfig, load_data, train_child
from compress import TrainedModel
from evaluation import child_runner


def plain_network(
    dataset: Dataset, width: int, *, exits: bool = False, stem_stride: int = 1
) -> Network:
    """3×3 convolutions in two stages of one layer each."""
    space = StagedSpace(
        StagedSpaceConfig(
            stem_channels=width,
            stem_stride=stem_stride,
            stages=(
                StageConfig(channels=width, layers=1),
                StageConfig(channels=2 * width, layers=1, stride=2),
            ),
            operations=("conv_k3",),
            keep_ratios=(1.0,),
            skip_connections=False,
            channel_multiple=4,
            early_exits=exits,
        ),
        input_shape=dataset.input_shape,
        num_classes=dataset.num_classes,
    )
    return space.resolve([len(decision.choices) - 1 for decision in space.decisions])


@pytest.fixture(scope="session")
def make_network(digits: Dataset) -> Callable[..., Network]:
    """Width (and exits, stem stride) → a network for digits."""
    return partial(plain_network, digits)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture(scope="session")
def training() -> TrainingConfig:
    return TrainingConfig()


@pytest.fixture(scope="session")
def teacher(digits: Dataset, training: TrainingConfig) -> TrainedModel:
    """Right for some 95 % of the validation images, after two seconds."""
    network = plain_network(digits, 16)
    with child_runner.one_thread():
        weights = train_child(network, digits, training, epochs=5, seed=0).weights
    return TrainedModel.of(network, weights)


@pytest.fixture(scope="session")
def student(digits: Dataset) -> Network:
    return plain_network(digits, 4)


@pytest.fixture(scope="session")
def student_with_exit(digits: Dataset) -> Network:
    network = plain_network(digits, 4, exits=True)
    assert len(network.heads) == 2
    return network
