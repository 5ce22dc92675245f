"""Documents with weights as a training would give them: of each kind of space, with and without exits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archspace import (
    ArchitectureDocument,
    NasBench201Space,
    NasBench201SpaceConfig,
    Network,
    Normalization,
    SearchSpace,
    Shape,
    StagedSpace,
    StagedSpaceConfig,
)
from child_models import weight_shapes
from deploy import AccuracyFigure, CostFigure, ExportInfo

CELL = "|nor_conv_3x3~0|+|skip_connect~0|avg_pool_3x3~1|+|nor_conv_1x1~0|none~1|nor_conv_3x3~2|"


@dataclass(frozen=True)
class Trained:
    """What a search hands to an export."""

    document: ArchitectureDocument
    weights: dict[str, NDArray[Any]]
    info: ExportInfo


def random_weights(network: Network, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Weights of a sensible size, with BatchNorm statistics that are not the initial ones."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(network).items():
        values = rng.normal(0, np.sqrt(2 / max(1, np.prod(shape[1:]))), shape)
        if name.endswith(("norm.weight", "running_var")):
            values = rng.uniform(0.5, 1.5, shape)
        elif name.endswith("running_mean"):
            values = rng.normal(0, 0.1, shape)
        weights[name] = values.astype(np.float32)
    return weights


def trained(space: SearchSpace, choices: tuple[int, ...], seed: int = 0) -> Trained:
    network = space.resolve(choices)
    if network.exits:
        network = network.with_thresholds((0.6,) * len(network.exits))
    architecture = space.architecture(choices)
    channels = network.input_shape.channels
    document = ArchitectureDocument(
        digest=architecture.digest,
        label=architecture.label,
        network=network,
        space={"kind": space.kind, "digest": space.digest},
        choices=space.named(choices),
        class_names=tuple(f"class {i}" for i in range(network.num_classes)),
        normalization=Normalization(mean=(0.5,) * channels, std=(0.25,) * channels),
    )
    info = ExportInfo(
        pick="knee",
        device="a device",
        dataset="digits",
        accuracies=(AccuracyFigure(name="final test", value=0.9712, standard_error=0.0031),),
        costs=(CostFigure(name="latency", value=1.25, std=0.1, unit="ms", source="predicted"),),
        measurements=(
            CostFigure(name="latency", value=1.31, std=0.02, unit="ms", source="measured"),
        ),
        exit_shares=tuple([1 / (len(network.exits) + 1)] * (len(network.exits) + 1)),
    )
    return Trained(document, random_weights(network, seed), info)


def staged_space(*, early_exits: bool) -> StagedSpace:
    config = StagedSpaceConfig.model_validate(
        {
            "stages": [
                {"channels": 16, "layers": 2},
                {"channels": 24, "layers": 2, "stride": 2},
                {"channels": 32, "layers": 1, "stride": 2},
            ],
            "operations": (
                "dwconv_k3",
                "group_conv_k3",
                "conv_k3",
                "mbconv_k3_e2",
                "identity",
                "zero",
            ),
            "early_exits": early_exits,
        }
    )
    return StagedSpace(config, input_shape=Shape(3, 12, 12), num_classes=7)


def sampled(*, early_exits: bool, seed: int = 0) -> Trained:
    """A random architecture; with all exits on if there are any."""
    space = staged_space(early_exits=early_exits)
    rng = np.random.default_rng(seed)
    choices = space.sample(rng)
    for position, decision in enumerate(space.decisions):
        if decision.name.endswith(".exit"):
            choices = (*choices[:position], decision.choices.index(True), *choices[position + 1 :])
    return trained(space, space.check(choices), seed)


@pytest.fixture
def with_exits() -> Trained:
    return sampled(early_exits=True)


@pytest.fixture
def without_exits() -> Trained:
    return sampled(early_exits=False)


@pytest.fixture
def cell_network() -> Trained:
    config = NasBench201SpaceConfig(channels=8, cells_per_stage=2)
    space = NasBench201Space(config, input_shape=Shape(3, 16, 16), num_classes=10)
    return trained(space, space.from_arch_str(CELL))


@pytest.fixture
def sample() -> Callable[..., Trained]:
    """Makes more of them: ``sample(early_exits=…, seed=…)``."""
    return sampled


@pytest.fixture
def change_network() -> Callable[..., Trained]:
    """Another network in place of the document's, with fields of `Network` replaced."""

    def change(original: Trained, **fields: Any) -> Trained:
        network = replace(original.document.network, **fields)
        document = replace(original.document, network=network, digest=network.digest)
        return replace(original, document=document)

    return change
