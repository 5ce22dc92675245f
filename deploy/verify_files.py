"""The checks that need no run: are the files there, unchanged, well-formed, and about one architecture?

Each returns what it found as a line for people, or raises BrokenExport.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archspace import ArchitectureDocument
from child_models import count_macs, count_params, weight_shapes
from child_models.layer_rules import check_weights
from deploy import files
from deploy.errors import BrokenExport
from deploy.model_config import config_json
from deploy.model_source import model_code

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

_MAX_BYTES = {
    files.WEIGHTS: 4 << 30,
    files.ONNX: 2 << 30,
    files.INT8_ONNX: 2 << 30,
    files.QUANTISATION: 64 << 20,
}
_MAX_TEXT_BYTES = 4 << 20


def check_files(directory: Path) -> str:
    """All files are there, are plain files (no links), and none is absurdly large."""
    missing = [n for n in files.EXPORT_FILES if not os.path.lexists(directory / n)]
    if missing:
        raise BrokenExport(f"missing: {', '.join(missing)}; export again")
    present = (*files.EXPORT_FILES, *files.optional_here(directory))
    for name in present:
        path = directory / name
        if path.is_symlink() or not path.is_file():
            raise BrokenExport(f"{name} is a link or no plain file; an export has neither")
        limit = _MAX_BYTES.get(name, _MAX_TEXT_BYTES)
        if path.stat().st_size > limit:
            raise BrokenExport(f"{name} has {path.stat().st_size:,} bytes, more than {limit:,}")
    others = sorted({path.name for path in directory.iterdir()} - {*present, files.BYTECODE})
    beside = f"; not part of it: {', '.join(others[:5])}" if others else ""
    return f"{len(present)} files{beside}"


def check_checksums(directory: Path) -> str:
    """Every file but the measurements has the hash that SHA256SUMS gives."""
    lines = (directory / files.CHECKSUMS).read_text(errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    wanted = {*files.DETERMINISTIC, *files.optional_here(directory)}
    if set(listed) != wanted:
        raise BrokenExport(f"{files.CHECKSUMS} does not list exactly {sorted(wanted)}")
    changed = [name for name in listed if files.sha256(directory / name) != listed[name]]
    if changed:
        raise BrokenExport(f"changed since the export: {', '.join(sorted(changed))}")
    return f"{len(listed)} files as they were written"


def check_architecture(directory: Path) -> str:
    """``architecture.json`` fits its schema, and its counts are those of its layers."""
    document = files.read_document(directory)
    network = document.network
    counted = (count_params(network), count_macs(network))
    if (document.num_params, document.macs) != counted:
        raise BrokenExport(
            f"{files.ARCHITECTURE} says {document.num_params} parameters and {document.macs} MACs; "
            f"its layers have {counted[0]} and {counted[1]}"
        )
    return f"{document.digest}: {len(network.layers)} layers, {len(network.exits)} early exits"


def check_config(directory: Path, document: ArchitectureDocument) -> str:
    """``config.json`` says what ``architecture.json`` says; fields that someone added may stand."""
    try:
        config = json.loads((directory / files.CONFIG).read_bytes())
    except (ValueError, RecursionError) as error:
        raise BrokenExport(f"{files.CONFIG} is no JSON: {error}") from error
    expected = json.loads(config_json(document))
    if not isinstance(config, dict):
        raise BrokenExport(f"{files.CONFIG} holds {type(config).__name__}, expected an object")
    wrong = [key for key, value in expected.items() if config.get(key) != value]
    if wrong:
        raise BrokenExport(f"{files.CONFIG}: {', '.join(wrong)} do not fit {files.ARCHITECTURE}")
    return str(config["architecture"])


def check_weights_file(directory: Path, document: ArchitectureDocument) -> str:
    """The safetensors file is whole and holds exactly this network's arrays, all finite."""
    weights = files.read_weights(directory)
    try:
        check_weights(document.network, weights)
    except ValueError as error:
        raise BrokenExport(f"{files.WEIGHTS}: {error}") from error
    unknown = sorted(set(weights) - set(weight_shapes(document.network)))
    if unknown:
        raise BrokenExport(f"{files.WEIGHTS}: {unknown[:3]} do not belong to this network")
    broken = [name for name, values in weights.items() if not np.isfinite(values).all()]
    if broken:
        raise BrokenExport(f"{files.WEIGHTS}: {broken[:3]} hold NaN or infinity")
    return f"{len(weights)} arrays, {sum(values.nbytes for values in weights.values()):,} bytes"


def check_onnx(directory: Path, document: ArchitectureDocument, name: str = files.ONNX) -> str:
    """``model.onnx``, or another one, is valid, about this architecture, and points to no file outside itself."""
    model = read_onnx(directory, document, name)
    return f"opset {model.opset_import[0].version}, {len(model.graph.node)} nodes"


def read_onnx(directory: Path, document: ArchitectureDocument, name: str) -> ModelProto:
    """The ONNX file called `name`, checked. Raises BrokenExport."""
    import onnx

    from child_models.onnx_graph import DIGEST_KEY

    try:
        model = onnx.load_model(directory / name, load_external_data=False)
    except Exception as error:  # protobuf has several error classes, none of them public
        raise BrokenExport(f"{name} cannot be read: {error}") from error
    outside = [t.name for t in _tensors(model) if t.external_data or t.data_location]
    if outside:
        raise BrokenExport(f"{name} takes {outside[:3]} from other files; that is refused")
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:  # ValueError: text that is no UTF-8
        raise BrokenExport(f"{name} is not valid: {error}") from error
    digest = {entry.key: entry.value for entry in model.metadata_props}.get(DIGEST_KEY)
    if digest != document.network.digest:
        raise BrokenExport(f"{name} is about network {digest}, expected {document.network.digest}")
    return model


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor of the model, wherever it hides."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: object) -> Iterator[TensorProto]:
    for node in nodes:  # type: ignore[attr-defined]  # protobuf's container has no public type
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)


def check_code(directory: Path, document: ArchitectureDocument) -> str:
    """``model.py`` is what `model_code` writes: only then is it run."""
    expected = model_code(document).encode()
    if (directory / files.CODE).read_bytes() != expected:
        raise BrokenExport(
            f"{files.CODE} is not what this version writes for {files.ARCHITECTURE}: it was edited, or "
            "written by another version. It was not run. Export again to check it"
        )
    return f"as generated from {files.ARCHITECTURE}"
