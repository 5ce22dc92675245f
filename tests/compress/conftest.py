"""What all tests of compression share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from child_models import Dataset, DigitsConfig, TrainingConfig, load_data, train_child
from compress import TrainedModel
from evaluation import child_runner
from tests.compress.pruning.pruning_networks import mixed_network


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share the machine with others: threads would wait for each other."""
    with child_runner.one_thread():
        yield


@pytest.fixture(scope="session")
def data() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture(scope="session")
def trained(data: Dataset) -> TrainedModel:
    """`mixed_network`, trained for a few seconds."""
    found = train_child(mixed_network(), data, TrainingConfig(), epochs=8, seed=0)
    network = mixed_network().with_thresholds(found.exit_choice.thresholds)
    return TrainedModel.of(network, found.weights)
