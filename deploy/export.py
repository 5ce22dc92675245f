"""Writes an architecture with its weights as a folder that other trainers and run times can use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import ArchitectureDocument
from child_models import build_onnx, count_macs, count_params, weight_shapes
from child_models.layer_rules import check_weights
from deploy import files
from deploy.drawing import draw_architecture
from deploy.errors import ExportError
from deploy.info import ExportInfo
from deploy.model_config import config_json
from deploy.model_source import model_code
from deploy.readme import readme

Weights = Mapping[str, NDArray[Any]]


def export_architecture(
    document: ArchitectureDocument,
    weights: Weights,
    directory: Path,
    *,
    info: ExportInfo,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the export and return its folder.

    Everything but ``measurements.json`` is byte for byte the same for equal input. An earlier export in
    `directory` is replaced at once; an interrupted export leaves `directory` as it was.

    Args:
        document: with a threshold for each exit; its counts of parameters and MACs are filled in.
        weights: every parameter and buffer of `build_module`, by name.
        extra: content of the files that only a quantised network has (`files.OPTIONAL`).

    Raises:
        ExportError: weights that do not fit the network, other `extra` files, or a `directory` that holds something else.
        UnsupportedNetwork: a network that a stand-alone ``model.py`` cannot express.
    """
    contents = export_contents(document, weights, info, extra)
    with files.folder_at_once(directory) as partial:
        for name, content in contents.items():
            (partial / name).write_bytes(content)
    return directory


def export_contents(
    document: ArchitectureDocument,
    weights: Weights,
    info: ExportInfo,
    extra: Mapping[str, bytes] | None = None,
) -> dict[str, bytes]:
    """File name → content of everything that an export holds."""
    network = document.network
    extra = _checked_extra(extra or {})
    document = replace(document, num_params=count_params(network), macs=count_macs(network))
    texts = {
        files.CODE: model_code(document),
        files.ARCHITECTURE: document.to_json(),
        files.CONFIG: config_json(document),
        files.PICTURE: draw_architecture(network),
        files.README: readme(document, info, frozenset(extra)),
    }
    tensors = checked_weights(document, weights)
    contents = {name: text.encode() for name, text in texts.items()}
    contents[files.WEIGHTS] = _safetensors(tensors)
    contents[files.ONNX] = build_onnx(network, tensors).SerializeToString(deterministic=True)
    contents |= extra
    contents[files.CHECKSUMS] = files.checksums_text(contents).encode()
    contents[files.MEASUREMENTS] = measurements_json(info).encode()
    return contents


def _checked_extra(extra: Mapping[str, bytes]) -> Mapping[str, bytes]:
    unknown = sorted(set(extra) - set(files.OPTIONAL))
    if unknown:
        raise ExportError(f"extra: expected {' and '.join(files.OPTIONAL)}, got {unknown}")
    alone = sorted(set(extra) - {files.QUANTISATION})
    if alone and files.QUANTISATION not in extra:
        raise ExportError(f"extra: {alone[0]} cannot be checked without {files.QUANTISATION}")
    return extra


def checked_weights(
    document: ArchitectureDocument, weights: Weights
) -> dict[str, NDArray[np.float32]]:
    """What inference needs of `weights`, float32 and contiguous, in the network's order.

    BatchNorm's batch counters are left out: they change nothing at inference.

    Raises:
        ExportError: a missing, unknown, misshapen or non-finite array; the message names it.
    """
    shapes = weight_shapes(document.network)
    unknown = [n for n in weights if n not in shapes and not n.endswith(".num_batches_tracked")]
    if unknown:
        raise ExportError(f"weights: {unknown[:3]} do not belong to this network")
    try:
        check_weights(document.network, weights)
    except ValueError as error:
        raise ExportError(str(error)) from error
    tensors = {name: np.ascontiguousarray(weights[name], dtype=np.float32) for name in shapes}
    broken = [name for name, values in tensors.items() if not np.isfinite(values).all()]
    if broken:
        raise ExportError(f"weights: {broken[:3]} hold NaN or infinity")
    return tensors


def _safetensors(tensors: dict[str, NDArray[np.float32]]) -> bytes:
    from safetensors.numpy import save

    # One entry of metadata only: their order in the file is not fixed. Readers ask for "format".
    content: bytes = save(tensors, metadata={"format": "pt"})
    return content


def measurements_json(info: ExportInfo) -> str:
    """Measured figures of the device at hand: the one file that differs from run to run."""
    data = {
        "schema_version": 1,
        "device": info.device,
        "figures": [asdict(figure) for figure in info.measurements],
    }
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
