"""A network with random weights, and the data under the name that these tests use."""

from __future__ import annotations

import pytest

from child_models import Dataset
from compress import TrainedModel
from tests.compress.pruning.pruning_networks import mixed_network, random_model


@pytest.fixture(scope="session")
def mixed() -> TrainedModel:
    return random_model(mixed_network())


@pytest.fixture(scope="session")
def digits(data: Dataset) -> Dataset:
    return data
