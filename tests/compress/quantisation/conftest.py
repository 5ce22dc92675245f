"""Small trained models and data, made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from archspace import INPUT, Exit, Layer, Network, Shape
from archspace.builder import LayerBuilder
from child_models import (
    AugmentationConfig,
    Dataset,
    DigitsConfig,
    TrainingConfig,
    load_data,
    train_child,
    weight_shapes,
)
from compress.quantisation.plan import BitPlan
from compress.quantisation.post_training import (
    WeightCalibration,
    observed,
    weight_forms,
    with_weights_rounded,
)
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel


def _row(name: str, op: str, *inputs: str, channels: tuple[int, int], **fields: object) -> Layer:
    before, after = channels
    return Layer(  # type: ignore[arg-type]
        name=name,
        op=op,  # type: ignore[arg-type]
        inputs=inputs,
        block="b",
        in_channels=before,
        out_channels=after,
        **fields,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="session")
def digits_network() -> Network:
    """1×8×8: full, depthwise, pointwise and grouped convolutions, a sum, an early exit."""
    three = {"kernel": 3, "padding": 1, "norm": True}
    layers = (
        _row("stem", "conv", INPUT, channels=(1, 16), activation="relu", **three),
        _row("pool0", "global_avg_pool", "stem", channels=(16, 16)),
        _row("early", "linear", "pool0", channels=(16, 10)),
        _row("deep", "conv", "stem", channels=(16, 16), groups=16, activation="relu", **three),
        _row("point", "conv", "deep", channels=(16, 16), norm=True),
        _row("sum", "add", "point", "stem", channels=(16, 16), activation="relu"),
        _row(
            "group",
            "conv",
            "sum",
            channels=(16, 16),
            groups=4,
            stride=2,
            activation="relu",
            **three,
        ),
        _row("wide", "conv", "group", channels=(16, 24), bias=True, activation="relu"),
        _row("pool1", "global_avg_pool", "wide", channels=(24, 24)),
        _row("logits", "linear", "pool1", channels=(24, 10)),
    )
    return Network(
        input_shape=Shape(1, 8, 8),
        num_classes=10,
        layers=layers,
        output="logits",
        exits=(Exit(name="exit0", layer="early", threshold=0.1),),
    )


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture(scope="session")
def trained_digits(digits_network: Network, digits: Dataset) -> TrainedModel:
    """About 96 % right: two seconds of training."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    still = AugmentationConfig(shift=0, flip=False)
    config = TrainingConfig(batch_size=32, augmentation=still)
    trained = train_child(digits_network, digits, config, epochs=8, seed=0)
    torch.set_num_threads(before)
    network = digits_network.with_thresholds(trained.exit_choice.thresholds)
    return TrainedModel.of(network, trained.weights)


def random_weights(network: Network, seed: int) -> dict[str, NDArray[np.float32]]:
    """With BatchNorm statistics that do something; some of its scales are negative."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(network).items():
        values = rng.normal(0, np.sqrt(2 / max(1, np.prod(shape[1:]))), shape)
        if name.endswith("norm.weight"):
            values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        elif name.endswith("running_var"):
            values = rng.uniform(0.5, 1.5, shape)
        weights[name] = values.astype(np.float32)
    return weights


@pytest.fixture(scope="session")
def random_model(digits_network: Network) -> TrainedModel:
    return TrainedModel.of(digits_network, random_weights(digits_network, 0))


@pytest.fixture(scope="session")
def random_network() -> Callable[[int], Network]:
    """Seed → a random graph over every operation, 2×9×9, 5 classes, sometimes with an exit."""

    def make(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        builder = LayerBuilder(2, "b")
        live = [builder.conv(INPUT, 8, kernel=3, activation="relu")]
        exits: list[Exit] = []
        for _ in range(int(rng.integers(3, 12))):
            source = str(rng.choice(live))
            live.append(_random_layer(builder, source, live, rng))
            if builder.channels(live[-1]) != builder.channels(source):
                live = live[-1:]
            if not exits and rng.random() < 0.2:
                exits.append(Exit(name="exit0", layer=builder.classifier(live[-1], 5)))
        return Network(
            input_shape=Shape(2, 9, 9),
            num_classes=5,
            output=builder.classifier(live[-1], 5),
            layers=tuple(builder.layers),
            exits=tuple(exits),
        )

    return make


def _random_layer(
    builder: LayerBuilder, source: str, live: list[str], rng: np.random.Generator
) -> str:
    activation = "relu" if rng.random() < 0.5 else "none"
    match rng.integers(8):
        case 0 | 1:
            return builder.relu(source)
        case 2:
            return builder.avg_pool(source, kernel=3, stride=1, padding=1)
        case 3:
            return builder.batch_norm(source, activation=activation)  # type: ignore[arg-type]
        case 4 if rng.random() < 0.2:
            return builder.zeros(source)
        case 5:
            count = int(rng.integers(2, 4))
            sources = tuple(str(rng.choice(live)) for _ in range(count))
            return builder.add(sources, activation=activation)  # type: ignore[arg-type]
        case _:
            channels = builder.channels(source)
            return builder.conv(
                source,
                channels * int(rng.choice([1, 1, 2])) if channels < 32 else channels,
                kernel=int(rng.choice([1, 3])),
                groups=int(rng.choice([1, 2, channels])),
                norm=bool(rng.random() < 0.7),
                activation=activation,  # type: ignore[arg-type]
            )


@pytest.fixture(scope="session")
def quantised_at_random() -> Callable[..., tuple[TrainedModel, NDArray[np.float32]]]:
    """(network, seed, bits) → random weights, quantised with 8-bit maps, and the images that they were calibrated on."""

    def make(
        network: Network, seed: int, bits: int = 8
    ) -> tuple[TrainedModel, NDArray[np.float32]]:
        model = TrainedModel.of(network, random_weights(network, seed))
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((32, *network.input_shape), dtype=np.float32)
        seen = observed(model, [torch.from_numpy(images)], histograms=False)
        forms = weight_forms(model, BitPlan.uniform(bits).bits(network), WeightCalibration())
        maps = {name: observer.grid(8, method="minmax") for name, observer in seen.items()}
        rounded = with_weights_rounded(model, forms)
        return replace(rounded, quantisation=Quantisation(weights=forms, maps=maps)), images

    return make
