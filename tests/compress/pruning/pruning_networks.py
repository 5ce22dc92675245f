"""A network made by hand that holds everything that pruning must cope with."""

from __future__ import annotations

import numpy as np
import torch

from archspace import Exit, Layer, Network, Shape
from child_models import build_module
from compress import TrainedModel


def layer(name: str, op: str, inputs: str, channels: tuple[int, int], **fields: object) -> Layer:
    """A layer of block b; `inputs` are names with spaces between."""
    return Layer(
        name=name,
        op=op,  # type: ignore[arg-type]
        inputs=tuple(inputs.split()),
        block="b",
        in_channels=channels[0],
        out_channels=channels[1],
        **fields,  # type: ignore[arg-type]
    )


def mixed_network() -> Network:
    """1×8×8, 10 classes: residual sum over a depthwise path, grouped convolutions, all kinds of layers, an exit."""
    relu = {"norm": True, "activation": "relu"}
    return Network(
        input_shape=Shape(1, 8, 8),
        num_classes=10,
        output="logits",
        exits=(Exit(name="exit0", layer="early", threshold=0.1),),
        layers=(
            layer("stem", "conv", "input", (1, 16), kernel=3, padding=1, **relu),
            layer("deep", "conv", "stem", (16, 16), kernel=3, padding=1, groups=16, **relu),
            layer("point", "conv", "deep", (16, 16), norm=True),
            layer("sum", "add", "stem point", (16, 16), activation="relu"),
            layer("grouped", "conv", "sum", (16, 24), kernel=3, padding=1, groups=4, **relu),
            layer("small", "avg_pool", "grouped", (24, 24), kernel=2, stride=2),
            layer("norm", "batch_norm", "small", (24, 24), activation="relu"),
            layer("strided", "conv", "norm", (24, 32), stride=2, bias=True),
            layer("active", "relu", "strided", (32, 32)),
            layer("last", "conv", "active", (32, 32), groups=8, norm=True),
            layer("pool", "global_avg_pool", "last", (32, 32)),
            layer("early_pool", "global_avg_pool", "grouped", (24, 24)),
            layer("early", "linear", "early_pool", (24, 10)),
            layer("logits", "linear", "pool", (32, 10)),
        ),
    )


def random_model(network: Network, seed: int = 0) -> TrainedModel:
    """`network` with random weights and BatchNorm statistics that are not the initial ones."""
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        state = build_module(network).state_dict()
    weights = {}
    for name, tensor in state.items():
        values = tensor.numpy()
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2, values.shape)
        elif values.ndim == 1:
            values = rng.normal(0, 0.5, values.shape) + name.endswith("norm.weight")
        weights[name] = values
    return TrainedModel.of(network, weights)
