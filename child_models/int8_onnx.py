"""A network as ONNX with 8-bit integers, which ONNX Runtime executes with its INT8 kernels.

ONNX Runtime's own quantiser writes the graph (static, QDQ, one scale a channel). All scales are the caller's, so what was
calibrated in whatever way, or trained, is what runs. Dynamic quantisation is not used: it is slower than float32 for
convolutions.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, WEIGHTED, Network
from child_models.folding import fold_batch_norm
from child_models.int8_maps import computes_in_int8, logit_layers, quantised_maps
from child_models.layer_rules import UnbuildableNetwork
from child_models.onnx_graph import IMAGE, build_onnx, onnx_output_names, random_weights

if TYPE_CHECKING:
    from onnx import ModelProto

_OPS = ["Conv", "Gemm", "Add", "GlobalAveragePool", "Flatten", "Relu"]
_LARGEST_BIAS = 2.0**30
"""Of an int32 bias, in steps; half of what fits, since weights are added to it."""
_LEAST_SCALE = 1e-12
"""Of a weight: a tensor of zeros has no width."""

Override = dict[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class Int8Scales:
    """Distance between two of the numbers that 8 bits can tell apart.

    Attributes:
        weights: by conv or linear layer, before BatchNorm is folded in: float32, (out_channels,) or (). Zero points are 0.
        maps: by map of `quantised_maps`: (scale, zero point in 0-255).
    """

    weights: Mapping[str, NDArray[np.float32]]
    maps: Mapping[str, tuple[float, int]]


def build_int8_onnx(
    network: Network,
    weights: Mapping[str, NDArray[Any]] | None = None,
    scales: Int8Scales | None = None,
    *,
    batch: int | None = None,
) -> ModelProto:
    """The network with INT8 weights and maps; inputs, outputs and metadata as `build_onnx` gives them.

    Args:
        weights: as for `build_onnx`; None for random ones, good for measuring only.
        scales: None for ones that `weights` fit into and any for the maps, good for measuring only.
        batch: fixed batch size ≥ 1, or None for any.

    Raises:
        UnbuildableNetwork: a layer that cannot be executed, or nodes that ONNX Runtime left in float32.
        WeightMismatch: `weights` of another network.
    """
    if weights is None:
        weights = random_weights(network)
    if scales is None:
        scales = _scales_for_measuring(network, weights)
    plain = build_onnx(network, weights, batch=batch, fold_batch_norm=True)
    maps = _map_overrides(network, scales)
    overrides = {**maps, **_weight_overrides(plain, network, weights, scales)}
    quantised = _quantise_static(plain, _nodes(plain, network), overrides, network)
    _check(quantised, network, set(maps))
    return quantised


def build_for_measuring(network: Network, *, batch: int) -> ModelProto:
    """What a device executes of `network`, with random weights: INT8 where all weights have 8 bits or fewer."""
    if network.is_int8:
        return build_int8_onnx(network, batch=batch)
    return build_onnx(network, None, batch=batch)


def quantised_nodes(model: ModelProto) -> int:
    """Conv and Gemm nodes whose map and weights both come from integers."""
    integers = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(
        node.op_type in ("Conv", "Gemm") and set(node.input[:2]) <= integers
        for node in model.graph.node
    )


def _scales_for_measuring(network: Network, weights: Mapping[str, NDArray[Any]]) -> Int8Scales:
    largest = {
        layer.name: np.abs(weights[f"layers.{layer.name}.{layer.op}.weight"]).max()
        for layer in network.layers
        if layer.op in WEIGHTED
    }
    return Int8Scales(
        weights={name: np.array(value / 127, np.float32) for name, value in largest.items()},
        maps=dict.fromkeys(quantised_maps(network), (0.05, 128)),
    )


def _map_overrides(network: Network, scales: Int8Scales) -> dict[str, list[Override]]:
    names = {INPUT: IMAGE} | {n.name: f"layers.{n.name}" for n in network.layers}
    names |= dict(zip(network.heads, onnx_output_names(network), strict=True))
    return {
        names[name]: [
            {
                "scale": np.array(scale, dtype=np.float32),
                "zero_point": np.array(zero_point, dtype=np.uint8),
            }
        ]
        for name, (scale, zero_point) in scales.maps.items()
    }


def _weight_overrides(
    plain: ModelProto,
    network: Network,
    weights: Mapping[str, NDArray[Any]],
    scales: Int8Scales,
) -> dict[str, list[Override]]:
    """Scales of the folded weights: what BatchNorm multiplies the weights with, it multiplies their scale with."""
    from onnx import numpy_helper

    constants = {t.name: numpy_helper.to_array(t) for t in plain.graph.initializer}
    overrides = {}
    for layer in network.layers:
        if layer.op not in WEIGHTED:
            continue
        prefix = f"layers.{layer.name}.{layer.op}."
        bias = constants.get(prefix + "bias", np.zeros(layer.out_channels, np.float32))
        own = np.broadcast_to(scales.weights[layer.name].astype(np.float64), layer.out_channels)
        steps = own * np.abs(fold_batch_norm(layer, weights).scale)
        # a channel that is almost nothing but its bias: the bias must fit into 32 bits
        least = np.abs(bias) / (float(scales.maps[layer.inputs[0]][0]) * _LARGEST_BIAS)
        folded = np.maximum(np.maximum(steps, least), _LEAST_SCALE).astype(np.float32)
        overrides[prefix + "weight"] = [
            {"scale": np.array(scale), "zero_point": np.array(0, dtype=np.int8), "axis": 0}
            for scale in folded
        ]
    return overrides


def _nodes(plain: ModelProto, network: Network) -> list[str]:
    """Names of the nodes that are to be quantised: those of layers that have 8-bit kernels, and ReLUs."""
    logits = logit_layers(network)
    chosen = {
        layer.name
        for layer in network.layers
        if (computes_in_int8(layer) or layer.op == "relu")
        and (layer.op == "linear" or layer.name not in logits)
    }
    return [node.name for node in plain.graph.node if node.name.rpartition(".")[0] in chosen]


def _quantise_static(
    plain: ModelProto, nodes: list[str], overrides: dict[str, list[Override]], network: Network
) -> ModelProto:
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class OneImage(CalibrationDataReader):  # type: ignore[misc]
        """ONNX Runtime wants to calibrate; its ranges are overridden."""

        def __init__(self) -> None:
            batch = plain.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
            self._left = [{IMAGE: np.zeros((batch, *network.input_shape), np.float32)}]

        def get_next(self) -> Override | None:
            return self._left.pop() if self._left else None

    with tempfile.TemporaryDirectory(prefix="netlathe-int8-") as folder, _quiet():
        source, target = Path(folder) / "plain.onnx", Path(folder) / "int8.onnx"
        onnx.save_model(plain, source)  # from a file: it would change the model that it is given
        quantize_static(
            source,
            target,
            OneImage(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPS,
            nodes_to_quantize=nodes,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            extra_options={
                "TensorQuantOverrides": overrides,
                "OpTypesToExcludeOutputQuantization": ["Gemm"],
                "QDQDisableWeightAdjustForInt32Bias": True,
            },
        )
        return onnx.load_model(target)


@contextmanager
def _quiet() -> Iterator[None]:
    """It advises, on the root logger, to pre-process: for such graphs that changes nothing."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _check(model: ModelProto, network: Network, maps: set[str]) -> None:
    wanted = sum(layer.op in WEIGHTED for layer in network.layers)
    found = quantised_nodes(model)
    if found != wanted:
        raise UnbuildableNetwork(
            f"ONNX Runtime quantised {found} of {wanted} convolutions and linear layers"
        )
    flat = {node.output[0] for node in model.graph.node if node.op_type == "Flatten"}
    # a map that is an output of the graph, as a block's is, gets another name before it is rounded
    rounded = {
        node.input[0].removesuffix("_QuantizeLinear_Input")
        for node in model.graph.node
        if node.op_type == "QuantizeLinear"
    }
    if rounded - flat != maps:
        raise UnbuildableNetwork(
            f"ONNX Runtime rounds other maps than fake quantisation: {sorted((rounded - flat) ^ maps)}"
        )
