"""A quantised model as ONNX with 8-bit integers, which ONNX Runtime executes with its INT8 kernels.

ONNX Runtime's own quantiser writes the graph (static, QDQ, one scale a channel). All scales are ours, so what was calibrated
in whatever way, or trained, is what runs. Dynamic quantisation is not used: it is slower than float32 for convolutions.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archspace import INPUT, Layer, Network
from child_models import build_onnx, onnx_output_names
from child_models.layer_rules import BATCH_NORM_EPSILON
from child_models.onnx_graph import IMAGE
from compress.quantisation.errors import NotExecutableInInt8
from compress.quantisation.grids import SCALE_FLOOR, Grid
from compress.quantisation.maps import computes_in_int8, logit_layers, quantised_maps
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel, Weights

if TYPE_CHECKING:
    from onnx import ModelProto

_OPS = ["Conv", "Gemm", "Add", "GlobalAveragePool", "Flatten", "Relu"]
_LARGEST_BIAS = 2.0**30
"""Of an int32 bias, in steps; half of what fits, since weights are added to it."""

Override = dict[str, Any]


def int8_onnx(model: TrainedModel, *, batch: int | None = None) -> ModelProto:
    """The model with INT8 weights and maps; inputs, outputs and metadata as `build_onnx` gives them.

    Args:
        batch: fixed batch size ≥ 1, or None for any.

    Raises:
        NotExecutableInInt8: weights or maps that 8-bit kernels cannot run, or nodes that ONNX Runtime left in float32.
    """
    quantisation = _executable(model)
    plain = build_onnx(model.network, model.weights, batch=batch, fold_batch_norm=True)
    maps = _map_overrides(model.network, quantisation.maps)
    overrides = {**maps, **_weight_overrides(plain, model, quantisation)}
    quantised = _quantise_static(plain, _nodes(plain, model.network), overrides, model.network)
    _check(quantised, model.network, set(maps))
    return quantised


def quantised_nodes(model: ModelProto) -> int:
    """Conv and Gemm nodes whose map and weights both come from integers."""
    integers = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return sum(
        node.op_type in ("Conv", "Gemm") and set(node.input[:2]) <= integers
        for node in model.graph.node
    )


def _executable(model: TrainedModel) -> Quantisation:
    quantisation = model.quantisation or Quantisation()
    layers = [n.name for n in model.network.layers if n.op in ("conv", "linear")]
    wide = [name for name in layers if name not in quantisation.weights]
    why = quantisation.why_not_int8 or (wide and f"layers {wide[:3]} have float32 weights")
    missing = set(quantised_maps(model.network)) - set(quantisation.maps)
    if not why and missing:
        why = f"maps {sorted(missing)[:3]} have no grid"
    if why:
        raise NotExecutableInInt8(
            f"INT8 execution needs 8-bit maps and symmetric weight grids everywhere: {why}"
        )
    return quantisation


def _map_overrides(network: Network, maps: Mapping[str, Grid]) -> dict[str, list[Override]]:
    names = {INPUT: IMAGE} | {n.name: f"layers.{n.name}" for n in network.layers}
    names |= dict(zip(network.heads, onnx_output_names(network), strict=True))
    return {
        names[name]: [
            {
                "scale": np.array(grid.scale, dtype=np.float32),
                "zero_point": np.array(grid.zero_point, dtype=np.uint8),
            }
        ]
        for name, grid in maps.items()
    }


def _weight_overrides(
    plain: ModelProto, model: TrainedModel, quantisation: Quantisation
) -> dict[str, list[Override]]:
    """Scales of the folded weights: what BatchNorm multiplies the weights with, it multiplies their scale with."""
    from onnx import numpy_helper

    constants = {t.name: numpy_helper.to_array(t) for t in plain.graph.initializer}
    overrides = {}
    for layer in model.network.layers:
        if layer.op not in ("conv", "linear"):
            continue
        prefix = f"layers.{layer.name}.{layer.op}."
        form = quantisation.weights[layer.name]
        assert isinstance(form, Grid)
        bias = constants.get(prefix + "bias", np.zeros(layer.out_channels, np.float32))
        steps = _folded_steps(layer, form, model.weights)
        # a channel that is almost nothing but its bias: the bias must fit into 32 bits
        least = np.abs(bias) / (float(quantisation.maps[layer.inputs[0]].scale) * _LARGEST_BIAS)
        scales = np.maximum(np.maximum(steps, least), SCALE_FLOOR).astype(np.float32)
        overrides[prefix + "weight"] = [
            {"scale": np.array(scale), "zero_point": np.array(0, dtype=np.int8), "axis": 0}
            for scale in scales
        ]
    return overrides


def _folded_steps(layer: Layer, grid: Grid, weights: Weights) -> NDArray[np.float64]:
    """(channels,) |γ/√(σ² + ε)| · scale, or the scale alone where there is no BatchNorm."""
    scale = np.broadcast_to(grid.scale.astype(np.float64), layer.out_channels)
    if not layer.norm:
        return scale
    gamma, variance = (
        weights[f"layers.{layer.name}.norm.{part}"].astype(np.float64)
        for part in ("weight", "running_var")
    )
    return np.asarray(scale * np.abs(gamma) / np.sqrt(variance + BATCH_NORM_EPSILON))


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
    wanted = sum(layer.op in ("conv", "linear") for layer in network.layers)
    found = quantised_nodes(model)
    if found != wanted:
        raise NotExecutableInInt8(
            f"ONNX Runtime quantised {found} of {wanted} convolutions and linear layers"
        )
    flat = {node.output[0] for node in model.graph.node if node.op_type == "Flatten"}
    rounded = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    if rounded - flat != maps:
        raise NotExecutableInInt8(
            f"ONNX Runtime rounds other maps than fake quantisation: {sorted((rounded - flat) ^ maps)}"
        )
