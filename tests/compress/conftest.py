"""What all tests of compression share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from child_models import Dataset, DigitsConfig, TrainingConfig, load_data, train_child
from compress import TrainedModel
from tests.compress.pruning.pruning_networks import mixed_network


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tests share the machine with others: threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def data() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture(scope="session")
def trained(data: Dataset) -> TrainedModel:
    """`mixed_network`, trained for a few seconds."""
    found = train_child(mixed_network(), data, TrainingConfig(), epochs=8, seed=0)
    network = mixed_network().with_thresholds(found.exit_choice.thresholds)
    return TrainedModel.of(network, found.weights)
