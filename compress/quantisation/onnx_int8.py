"""A quantised model as the INT8 network that ONNX Runtime executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from archspace import WEIGHTED
from child_models.int8_maps import quantised_maps
from child_models.int8_onnx import Int8Scales, build_int8_onnx
from child_models.layer_rules import UnbuildableNetwork
from compress.quantisation.errors import NotExecutableInInt8
from compress.quantisation.grids import Grid
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel

if TYPE_CHECKING:
    from onnx import ModelProto


def int8_onnx(model: TrainedModel, *, batch: int | None = None) -> ModelProto:
    """The model with INT8 weights and maps; inputs, outputs and metadata as `build_onnx` gives them.

    Args:
        batch: fixed batch size ≥ 1, or None for any.

    Raises:
        NotExecutableInInt8: weights or maps that 8-bit kernels cannot run, or nodes that ONNX Runtime left in float32.
    """
    quantisation = _executable(model)
    grids = {name: form for name, form in quantisation.weights.items() if isinstance(form, Grid)}
    scales = Int8Scales(
        weights={name: grid.scale for name, grid in grids.items()},
        maps={
            name: (float(grid.scale), int(grid.zero_point))
            for name, grid in quantisation.maps.items()
        },
    )
    try:
        return build_int8_onnx(model.network, model.weights, scales, batch=batch)
    except UnbuildableNetwork as error:
        raise NotExecutableInInt8(str(error)) from error


def _executable(model: TrainedModel) -> Quantisation:
    quantisation = model.quantisation or Quantisation()
    layers = [n.name for n in model.network.layers if n.op in WEIGHTED]
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
