"""A resolved network as an ONNX model, written node by node.

`torch.onnx.export` gives the same function but takes seconds; this takes milliseconds, so hundreds of networks
can be measured. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from archspace import INPUT, Layer, Network
from child_models.folding import fold_batch_norm
from child_models.layer_rules import (
    BATCH_NORM_EPSILON,
    check_buildable,
    check_weights,
    has_norm,
    weight_shapes,
)

OPSET = 17
IR_VERSION = 8
IMAGE = "image"
LOGITS = "logits"
DIGEST_KEY = "netlathe_digest"


class _Link(NamedTuple):
    """One node of a layer: it reads the link before it, then `constants` or other layers' results."""

    op: str
    others: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = {}


def build_onnx(
    network: Network,
    weights: Mapping[str, NDArray[Any]] | None,
    *,
    batch: int | None = None,
    fold_batch_norm: bool = True,
) -> ModelProto:
    """The network in evaluation mode.

    Input ``"image"``: float32, (batch, channels, height, width). Outputs in the order of `network.heads`: float32,
    (batch, num_classes), ``"logits_<exit name>"`` for each exit, then ``"logits"``. All heads are computed:
    thresholds are the caller's matter. A block on its own, whose last layer is a map, gives that map as
    ``"logits"``. The metadata hold `network.digest` under ``"netlathe_digest"``.

    Args:
        network: what to build.
        weights: arrays by their state-dict names (see `weight_shapes`); None for random ones, the same each
            time, good for measuring only.
        batch: fixed batch size ≥ 1, or None for any.
        fold_batch_norm: put each convolution's BatchNorm into its weights and bias; exact up to rounding.

    Raises:
        UnbuildableNetwork: a layer that cannot be executed.
        WeightMismatch: `weights` of another network.
        ValueError: `batch` < 1.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"batch: expected a number ≥ 1, or None for any, got {batch}")
    check_buildable(network)
    if weights is None:
        weights = random_weights(network)
    check_weights(network, weights)
    writer = _Writer(network, weights, fold_batch_norm)
    for layer in network.layers:
        writer.add(layer)
    model = helper.make_model(
        helper.make_graph(
            writer.nodes,
            f"netlathe_{network.digest}",
            [_value(IMAGE, batch, network.input_shape)],
            writer.outputs(batch),
            writer.constants,
        ),
        producer_name="netlathe",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, {DIGEST_KEY: network.digest})
    return model


def onnx_output_names(network: Network) -> tuple[str, ...]:
    """Names of the outputs of `build_onnx`, in order: the exits', then ``"logits"``."""
    return (*(f"{LOGITS}_{exit_.name}" for exit_ in network.exits), LOGITS)


def random_weights(network: Network) -> dict[str, NDArray[np.float32]]:
    """Weights that keep activations in the usual range: uniform, variance 2 / fan-in (He et al. 2015).

    Equal networks get equal weights. BatchNorm has scale and variance 1, shift and mean 0; biases are 0.
    """
    rng = np.random.default_rng(0)
    weights = {}
    for name, shape in weight_shapes(network).items():
        if len(shape) > 1:
            limit = np.float32((6.0 / prod(shape[1:])) ** 0.5)
            weights[name] = (2 * rng.random(shape, dtype=np.float32) - 1) * limit
        else:
            is_one = name.endswith(("norm.weight", "norm.running_var"))
            weights[name] = np.full(shape, 1.0 if is_one else 0.0, dtype=np.float32)
    return weights


class _Writer:
    """Collects nodes and constants. Layer ``n0``'s result is called ``layers.n0``, a head's as the output."""

    def __init__(
        self, network: Network, weights: Mapping[str, NDArray[Any]], fold_batch_norm: bool
    ) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._network = network
        self._weights = weights
        self._fold = fold_batch_norm
        self._flat: set[str] = set()  # layers whose result is (batch, channels)
        self._results = {INPUT: IMAGE} | {n.name: f"layers.{n.name}" for n in network.layers}
        self._results |= dict(zip(network.heads, onnx_output_names(network), strict=True))

    def add(self, layer: Layer) -> None:
        """Append the nodes of `layer`."""
        result = self._results[layer.name]
        value = self._results[layer.inputs[0]]
        links = list(self._links(layer))
        for number, link in enumerate(links, start=1):
            target = result if number == len(links) else f"layers.{layer.name}.step{number}"
            self.nodes.append(
                helper.make_node(
                    link.op,
                    [value, *link.others],
                    [target],
                    name=f"{layer.name}.{link.op}{number}",
                    **link.attributes,
                )
            )
            value = target
        if layer.op == "linear" or layer.inputs[0] in self._flat:
            self._flat.add(layer.name)

    def outputs(self, batch: int | None) -> list[ValueInfoProto]:
        """The graph's outputs; a layer that is two heads at once is copied."""
        values = []
        for head, name in zip(self._network.heads, onnx_output_names(self._network), strict=True):
            if self._results[head] != name:
                self.nodes.append(
                    helper.make_node("Identity", [self._results[head]], [name], name=f"copy_{name}")
                )
            shape: tuple[int, ...] = self._network.shapes[head]
            values.append(_value(name, batch, shape[:1] if head in self._flat else shape))
        return values

    def _links(self, layer: Layer) -> Iterator[_Link]:
        match layer.op:
            case "conv":
                yield from self._conv(layer)
            case "batch_norm":
                yield self._batch_norm(layer)
            case "relu":
                yield _Link("Relu")
            case "avg_pool":
                yield _Link("AveragePool", (), {**_window(layer), "count_include_pad": 0})
            case "add":
                for source in layer.inputs[1:]:
                    yield _Link("Add", (self._results[source],))
            case "zeros":
                yield _Link("Mul", (self._constant(layer, "zero", np.zeros((), np.float32)),))
            case "global_avg_pool":
                yield _Link("GlobalAveragePool")
            case "linear":
                yield _Link("Flatten")
                names = tuple(self._own(layer, f"linear.{part}") for part in ("weight", "bias"))
                yield _Link("Gemm", names, {"transB": 1})
        if layer.activation == "relu" and layer.op in ("conv", "batch_norm", "add"):
            yield _Link("Relu")

    def _conv(self, layer: Layer) -> Iterator[_Link]:
        attributes = {**_window(layer), "group": layer.groups}
        if has_norm(layer) and self._fold:
            weight, bias = self._folded(layer)
            names = [
                self._constant(layer, "conv.weight", weight),
                self._constant(layer, "conv.bias", bias),
            ]
        else:
            parts = ("weight", "bias") if layer.bias else ("weight",)
            names = [self._own(layer, f"conv.{part}") for part in parts]
        yield _Link("Conv", tuple(names), attributes)
        if has_norm(layer) and not self._fold:
            yield self._batch_norm(layer)

    def _batch_norm(self, layer: Layer) -> _Link:
        parts = ("weight", "bias", "running_mean", "running_var")
        names = tuple(self._own(layer, f"norm.{part}") for part in parts)
        return _Link("BatchNormalization", names, {"epsilon": BATCH_NORM_EPSILON})

    def _folded(self, layer: Layer) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights and bias of convolution and BatchNorm in one."""
        folded = fold_batch_norm(layer, self._weights)
        weight = self._array(layer, "conv.weight") * folded.scale[:, None, None, None]
        return weight, folded.bias

    def _array(self, layer: Layer, part: str) -> NDArray[Any]:
        return self._weights[f"layers.{layer.name}.{part}"]

    def _own(self, layer: Layer, part: str) -> str:
        return self._constant(layer, part, self._array(layer, part))

    def _constant(self, layer: Layer, part: str, values: NDArray[Any]) -> str:
        name = f"layers.{layer.name}.{part}"
        # little-endian, row-major: what ONNX's raw_data means on every machine
        raw = np.ascontiguousarray(values, dtype="<f4").tobytes()
        tensor = TensorProto(
            name=name, data_type=TensorProto.FLOAT, dims=values.shape, raw_data=raw
        )
        self.constants.append(tensor)
        return name


def _window(layer: Layer) -> dict[str, list[int]]:
    return {
        "kernel_shape": [layer.kernel] * 2,
        "strides": [layer.stride] * 2,
        "pads": [layer.padding] * 4,
    }


def _value(name: str, batch: int | None, shape: tuple[int, ...]) -> ValueInfoProto:
    size: int | str = "batch" if batch is None else batch
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, *shape])
