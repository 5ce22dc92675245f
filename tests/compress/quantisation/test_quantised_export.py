"""Exports of quantised networks: written, checked, and found out where they are changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save

from archspace import ArchitectureDocument, Network
from child_models import build_onnx
from compress.quantisation.export import quantised_files
from compress.quantisation.result import Quantisation
from compress.trained_model import TrainedModel
from deploy import ExportError, ExportInfo, export_architecture, verify_export
from deploy.files import CHECKSUMS, INT8_ONNX, PACKED, QUANTISATION, WEIGHTS, read_weights

Make = Callable[..., tuple[TrainedModel, NDArray[np.float32]]]

INFO = ExportInfo(
    pick="best", device="a device", dataset="digits", accuracies=(), costs=(), measurements=()
)


def export(model: TrainedModel, directory: Path) -> Path:
    digest = model.network.digest
    document = ArchitectureDocument(digest=digest, label=digest, network=model.network)
    return export_architecture(
        document, model.weights, directory, info=INFO, extra=quantised_files(model)
    )


@pytest.fixture(scope="module")
def int8(
    digits_network: Network, quantised_at_random: Make, tmp_path_factory: pytest.TempPathFactory
) -> tuple[TrainedModel, Path]:
    model, _ = quantised_at_random(digits_network, 0)
    return model, export(model, tmp_path_factory.mktemp("int8") / "best")


def copy(folder: Path, target: Path, **changed: bytes) -> Path:
    """With files changed, and sums that fit."""
    target.mkdir()
    for path in folder.iterdir():
        if path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    for name, content in changed.items():
        (target / name.replace("__", ".")).write_bytes(content)
    names = [line.split("  ")[1] for line in (folder / CHECKSUMS).read_text().splitlines()]
    (target / CHECKSUMS).write_text(
        "".join(f"{hashlib.sha256((target / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    )
    return target


def failures(folder: Path) -> dict[str, str]:
    return {check.name: check.detail for check in verify_export(folder).failures}


@pytest.mark.slow
def test_an_export_passes_and_can_be_written_again(int8: tuple[TrainedModel, Path]) -> None:
    model, folder = int8
    report = verify_export(folder)
    assert report.ok, report.failures
    details = {check.name: check.detail for check in report.checks}
    assert "7 nodes in INT8" in details["int8"]
    assert "7 layers on their grids, 9 maps" in details["quantisation"]
    assert {INT8_ONNX, PACKED, QUANTISATION} <= {file.name for file in report.files}
    assert "bytes, of" in details["packed"]
    assert "INT8" in (folder / "README.md").read_text()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    export(model, folder)
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_weights_alone_have_no_int8_graph(
    digits_network: Network, quantised_at_random: Make, tmp_path: Path
) -> None:
    model, _ = quantised_at_random(digits_network, 1, 4)
    assert model.quantisation is not None
    only = TrainedModel(
        network=model.network,
        weights=model.weights,
        quantisation=Quantisation(weights=model.quantisation.weights),
    )
    folder = export(only, tmp_path / "best")
    report = verify_export(folder)
    assert report.ok, report.failures
    assert not (folder / INT8_ONNX).exists()
    assert "executed in float32" in {c.name: c.detail for c in report.checks}["int8"]


def test_a_float_model_has_no_further_files(random_model: TrainedModel) -> None:
    assert quantised_files(random_model) == {}


@pytest.mark.slow
def test_a_float_graph_in_its_place_is_found_out(
    int8: tuple[TrainedModel, Path], tmp_path: Path
) -> None:
    model, folder = int8
    plain = build_onnx(model.network, model.weights).SerializeToString()
    broken = copy(folder, tmp_path / "broken", model__int8__onnx=plain)
    assert "0 nodes with integers, expected 7" in failures(broken)["int8"]


@pytest.mark.slow
def test_other_scales_are_found_out(int8: tuple[TrainedModel, Path], tmp_path: Path) -> None:
    _, folder = int8
    for name, message in (
        ("layers.sum_scale", r"rounds maps ['sum'] otherwise"),
        ("layers.wide.conv.weight_scale", "off fake quantisation (root mean square)"),
    ):
        graph = onnx.load_model(folder / INT8_ONNX)
        (scale,) = [tensor for tensor in graph.graph.initializer if tensor.name == name]
        larger = onnx.numpy_helper.to_array(scale) * np.float32(1.2)
        scale.CopyFrom(onnx.numpy_helper.from_array(larger, name))
        broken = copy(folder, tmp_path / name, model__int8__onnx=graph.SerializeToString())
        assert message in failures(broken)["int8"]


@pytest.mark.slow
def test_weights_off_their_grid_are_found_out(
    int8: tuple[TrainedModel, Path], tmp_path: Path
) -> None:
    _, folder = int8
    data = json.loads((folder / QUANTISATION).read_text())
    data["weights"]["deep"]["scale"] = [1.3 * s for s in data["weights"]["deep"]["scale"]]
    broken = copy(folder, tmp_path / "broken", quantisation__json=json.dumps(data).encode())
    assert "weights of layer deep are not numbers of its grid" in failures(broken)["quantisation"]


@pytest.mark.slow
def test_other_packed_weights_are_found_out(
    int8: tuple[TrainedModel, Path], tmp_path: Path
) -> None:
    _, folder = int8
    arrays = load_file(folder / PACKED)
    arrays["deep.packed"][-1] ^= 1
    broken = copy(folder, tmp_path / "broken", model__packed__safetensors=save(arrays))
    assert "deep.weight is not what model.safetensors holds" in failures(broken)["packed"]
    garbled = copy(folder, tmp_path / "garbled", model__packed__safetensors=b"no")
    assert "cannot be read" in failures(garbled)["packed"]


@pytest.mark.slow
def test_missing_and_unreadable_files_are_found_out(
    int8: tuple[TrainedModel, Path], tmp_path: Path
) -> None:
    _, folder = int8
    without = copy(folder, tmp_path / "without")
    (without / INT8_ONNX).unlink()
    found = failures(without)
    assert "checksums" in found
    assert "is missing" in found["int8"]
    garbled = copy(folder, tmp_path / "garbled", quantisation__json=b"[]")
    assert "cannot be read" in failures(garbled)["quantisation"]


def test_files_that_do_not_belong_are_refused(random_model: TrainedModel, tmp_path: Path) -> None:
    digest = random_model.network.digest
    document = ArchitectureDocument(digest=digest, label=digest, network=random_model.network)
    for extra, message in (({"x.py": b""}, "got"), ({INT8_ONNX: b""}, "cannot be checked without")):
        with pytest.raises(ExportError, match=message):
            export_architecture(
                document, random_model.weights, tmp_path / "best", info=INFO, extra=extra
            )
    assert not (tmp_path / "best").exists()


def test_reloaded_weights_give_equal_outputs(int8: tuple[TrainedModel, Path]) -> None:
    model, folder = int8
    assert (folder / WEIGHTS).exists()
    document = ArchitectureDocument.load(folder / "architecture.json")
    again = TrainedModel(
        network=document.network,
        weights=read_weights(folder),
        quantisation=Quantisation.from_json((folder / QUANTISATION).read_text()),
    )
    assert again.network == model.network
    for name, values in model.weights.items():
        np.testing.assert_array_equal(again.weights[name], values)
