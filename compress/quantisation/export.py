"""What an export of a quantised model holds beside the usual files."""

from __future__ import annotations

from compress.quantisation.onnx_int8 import int8_onnx
from compress.quantisation.packed_file import packed_file
from compress.trained_model import TrainedModel
from deploy.files import INT8_ONNX, PACKED, QUANTISATION


def quantised_files(model: TrainedModel) -> dict[str, bytes]:
    """File name → content, for `export_architecture(…, extra=…)`; nothing for a float32 model.

    ``quantisation.json`` always (grids or centroids, bits); ``model.int8.onnx`` where INT8 executes the model;
    ``model.packed.safetensors`` where weights can be packed.
    """
    quantisation = model.quantisation
    if quantisation is None:
        return {}
    files = {QUANTISATION: quantisation.to_json().encode()}
    packed = packed_file(model)
    if packed is not None:
        files[PACKED] = packed
    if not quantisation.why_not_int8:
        files[INT8_ONNX] = int8_onnx(model).SerializeToString(deterministic=True)
    return files
