"""Networks made by hand, so that these tests stand without any search space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from archspace import INPUT, Exit, Layer, Network, Shape


class _Rows:
    """Layers with their channel counts filled in."""

    def __init__(self, input_shape: Shape) -> None:
        self.input_shape = input_shape
        self.layers: list[Layer] = []
        self.channels = {INPUT: input_shape.channels}

    def add(self, op: str, *inputs: str, out: int | None = None, **fields: object) -> str:
        name = f"n{len(self.layers)}"
        channels = self.channels[inputs[0]]
        row = {"name": name, "op": op, "inputs": inputs, "block": "b", "in_channels": channels}
        row["out_channels"] = channels if out is None else out
        self.layers.append(Layer(**row, **fields))  # type: ignore[arg-type]
        self.channels[name] = self.layers[-1].out_channels
        return name

    def head(self, source: str, num_classes: int) -> str:
        return self.add("linear", self.add("global_avg_pool", source), out=num_classes)

    def network(self, num_classes: int, output: str, *exit_layers: str) -> Network:
        exits = tuple(Exit(name=f"exit{i}", layer=layer) for i, layer in enumerate(exit_layers))
        return Network(
            input_shape=self.input_shape,
            num_classes=num_classes,
            layers=tuple(self.layers),
            output=output,
            exits=exits,
        )


@pytest.fixture(scope="session")
def residual_network() -> Network:
    """1×8×8 images, 10 classes: stem, exit, depthwise-separable block of stride 2 with projected skip."""
    rows = _Rows(Shape(1, 8, 8))
    stem = rows.add("conv", INPUT, out=8, kernel=3, padding=1, norm=True, activation="relu")
    early = rows.head(stem, 10)
    depth = rows.add(
        "conv", stem, kernel=3, stride=2, padding=1, groups=8, norm=True, activation="relu"
    )
    point = rows.add("conv", depth, out=12, norm=True)
    skip = rows.add("conv", stem, out=12, stride=2, bias=True)
    joined = rows.add("add", point, skip, activation="relu")
    return rows.network(10, rows.head(joined, 10), early)


@pytest.fixture(scope="session")
def cell_network() -> Network:
    """3×9×9 images, 10 classes: a NAS-Bench-201 cell (ReLU-conv-BatchNorm, pooling, zeros, sum of three)."""
    rows = _Rows(Shape(3, 9, 9))
    stem = rows.add("conv", INPUT, out=4, kernel=3, padding=1, norm=True)
    conv = rows.add("conv", rows.add("relu", stem), kernel=3, padding=1, norm=True)
    pool = rows.add("avg_pool", stem, kernel=3, padding=1)
    nothing = rows.add("zeros", stem)
    node = rows.add("add", conv, pool, nothing)
    point = rows.add("conv", rows.add("relu", node), out=6, norm=True)
    halved = rows.add("avg_pool", point, kernel=2, stride=2)
    last = rows.add("batch_norm", halved, activation="relu")
    return rows.network(10, rows.head(last, 10))


@pytest.fixture(scope="session")
def random_network() -> Callable[[int], Network]:
    """Seed → a random graph of 6–25 layers over every operation, with 0–2 exits."""

    def make(seed: int) -> Network:
        rng = np.random.default_rng(seed)
        shape = Shape(int(rng.integers(1, 4)), int(rng.integers(7, 17)), int(rng.integers(7, 17)))
        rows = _Rows(shape)
        live = [rows.add("conv", INPUT, out=8, kernel=3, padding=1, norm=True)]
        exits: list[str] = []
        for _ in range(int(rng.integers(3, 20))):
            source = str(rng.choice(live))
            live.append(_random_layer(rows, source, live, rng))
            if rows.channels[live[-1]] != rows.channels[source] or rng.random() < 0.2:
                live = live[-1:]  # maps of one shape stay together
            if len(exits) < 2 and rng.random() < 0.15:
                exits.append(rows.head(live[-1], 5))
        return rows.network(5, rows.head(live[-1], 5), *exits)

    return make


def _random_layer(rows: _Rows, source: str, live: list[str], rng: np.random.Generator) -> str:
    channels = rows.channels[source]
    activation = str(rng.choice(["none", "relu"]))
    match rng.integers(7):
        case 0:
            return rows.add("relu", source)
        case 1:
            return rows.add("avg_pool", source, kernel=3, padding=1)
        case 2:
            return rows.add("batch_norm", source, activation=activation)
        case 3 if rng.random() < 0.3:
            return rows.add("zeros", source)
        case 4:
            sources = [str(rng.choice(live)) for _ in range(int(rng.integers(2, 4)))]
            return rows.add("add", *sources, activation=activation)
        case _:
            kernel = int(rng.choice([1, 3, 5]))
            groups = int(rng.choice([1, 2, channels]))
            out = channels * int(rng.choice([1, 1, 2])) if channels < 32 else channels
            return rows.add(
                "conv",
                source,
                out=out,
                kernel=kernel,
                padding=kernel // 2,
                groups=groups,
                norm=bool(rng.random() < 0.7),
                bias=bool(rng.random() < 0.5),
                activation=activation,
            )


@pytest.fixture(scope="session")
def with_layer() -> Callable[..., Network]:
    """(network, layer name, **fields) → the network with that layer's fields changed."""

    def change(network: Network, target: str, /, **fields: object) -> Network:
        layers = tuple(
            replace(layer, **fields) if layer.name == target else layer  # type: ignore[arg-type]
            for layer in network.layers
        )
        return replace(network, layers=layers)

    return change
