"""A quantised model's weights as they are stored where space counts: the file that `deploy.packed_weights` describes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from archspace import WEIGHTED, Layer
from child_models.folding import fold_batch_norm
from compress.quantisation.codebook import Codebook
from compress.quantisation.grids import Grid
from compress.quantisation.module import weight_name
from compress.quantisation.result import WeightForm
from compress.trained_model import TrainedModel
from deploy.packed_weights import folded_weights
from deploy.packing import Packed, pack


def packed_file(model: TrainedModel) -> bytes | None:
    """Content of ``model.packed.safetensors``; None where there is nothing to pack, or a layer has an affine grid.

    BatchNorm cannot be folded into an affine grid.
    """
    forms = model.quantisation.weights if model.quantisation else {}
    affine = [name for name, form in forms.items() if isinstance(form, Grid) and not form.symmetric]
    if not forms or affine:
        return None
    arrays: dict[str, NDArray[np.generic]] = dict(folded_weights(model.network, model.weights))
    for layer in model.network.layers:
        if layer.op in WEIGHTED and layer.name in forms:
            del arrays[f"{layer.name}.weight"]
            arrays |= _packed(model, layer, forms[layer.name])
    # One entry of metadata only: their order in the file is not fixed
    content: bytes = save(dict(sorted(arrays.items())), metadata={"format": "netlathe-packed-1"})
    return content


def _packed(model: TrainedModel, layer: Layer, form: WeightForm) -> dict[str, NDArray[np.generic]]:
    weight = model.weights[f"layers.{layer.name}.{weight_name(layer.op)}"]
    scale = fold_batch_norm(layer, model.weights).scale
    if isinstance(form, Codebook):
        arrays = {f"{layer.name}.packed": _bytes(form.packed(weight))}
        if layer.norm:
            arrays[f"{layer.name}.scale"] = scale.astype(np.float32)
        return arrays
    steps = (np.broadcast_to(form.scale, layer.out_channels) * scale).astype(np.float32)
    integers = (form.quantise(weight) - form.q_min).astype(np.uint8)
    return {f"{layer.name}.packed": _bytes(Packed(steps, integers.ravel(), form.bits))}


def _bytes(packed: Packed) -> NDArray[np.generic]:
    return np.frombuffer(pack(packed), dtype=np.uint8)
