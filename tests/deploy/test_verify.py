"""`verify_export` passes what is right and names what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file, save_file

from child_models import normalised_entropy
from deploy import BrokenExport, ExportNotFound, VerifyReport, export_architecture, verify_export
from deploy.files import DETERMINISTIC, checksums_text, read_document, sha256
from deploy.verify_files import check_checksums, check_config
from deploy.verify_outputs import BLOCKED, _too_close, check_exits, rebuild


def export(made, directory: Path) -> Path:
    return export_architecture(made.document, made.weights, directory, info=made.info)


def sign_again(folder: Path) -> None:
    """As someone would who wants a change to go unnoticed."""
    contents = {name: (folder / name).read_bytes() for name in DETERMINISTIC}
    (folder / "SHA256SUMS").write_text(checksums_text(contents))


def failed(report: VerifyReport) -> str:
    """Name of the single failed check."""
    assert not report.ok
    (check,) = report.failures
    return check.name


@pytest.mark.parametrize("kind", ["with_exits", "without_exits", "cell_network"])
def test_exports_pass(kind, request, tmp_path):
    folder = export(request.getfixturevalue(kind), tmp_path / "e")
    report = verify_export(folder)
    assert report.ok, report.failures
    assert [check.name for check in report.checks][-3:] == [
        "parameters and MACs",
        "outputs",
        "early exits",
    ]
    assert {file.name: file.sha256 for file in report.files}["model.onnx"] == sha256(
        folder / "model.onnx"
    )
    details = {check.name: check.detail for check in report.checks}
    assert ("decisions equal" in details["early exits"]) == (kind == "with_exits")


def test_weights_changed_in_one_file_show_in_the_outputs(with_exits, tmp_path):
    folder = export(with_exits, tmp_path / "e")
    weights = load_file(folder / "model.safetensors")
    head = f"layers.{with_exits.document.network.output}.linear.bias"
    weights[head] = weights[head] + np.float32(0.05)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    sign_again(folder)
    report = verify_export(folder)
    assert failed(report) == "outputs"
    assert "model.onnx" in report.failures[0].detail


def test_any_changed_byte_shows_in_the_checksums(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    with (folder / "README.md").open("a") as file:
        file.write("better than it is")
    with pytest.raises(BrokenExport, match=r"changed since the export: README\.md"):
        check_checksums(folder)


def test_edited_code_is_not_run(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    witness = tmp_path / "it ran"
    with (folder / "model.py").open("a") as file:
        file.write(f"\nPath({str(witness)!r}).touch()\n")
    sign_again(folder)
    report = verify_export(folder)
    assert failed(report) == "code"
    assert not witness.exists()
    assert "outputs" not in {check.name for check in report.checks}


def test_changed_threshold_shows(with_exits, tmp_path):
    folder = export(with_exits, tmp_path / "e")
    text = (
        (folder / "architecture.json").read_text().replace('"threshold": 0.6', '"threshold": 0.9')
    )
    (folder / "architecture.json").write_text(text)
    sign_again(folder)
    assert failed(verify_export(folder)) == "code"


def test_wrong_counts_show(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    data = json.loads((folder / "architecture.json").read_text())
    data["macs"] += 1
    (folder / "architecture.json").write_text(json.dumps(data))
    sign_again(folder)
    report = verify_export(folder)
    assert failed(report) == "architecture"
    assert "MACs" in report.failures[0].detail


def test_wrong_config_shows(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_classes": 3}))
    with pytest.raises(BrokenExport, match="num_classes"):
        check_config(folder, read_document(folder))


@pytest.mark.parametrize("name", ["model.safetensors", "model.onnx", "architecture.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "junk"])
def test_corrupt_files_are_named(without_exits, tmp_path, name, damage):
    folder = export(without_exits, tmp_path / "e")
    content = (folder / name).read_bytes()
    damaged = {"cut": content[: len(content) // 2], "empty": b"", "junk": b"\x80\xff" * 500}
    (folder / name).write_bytes(damaged[damage])
    sign_again(folder)
    report = verify_export(folder)
    assert not report.ok
    assert name in report.failures[0].detail


@pytest.mark.parametrize("name", ["model.py", "model.onnx", "SHA256SUMS"])
def test_missing_file_is_named(without_exits, tmp_path, name):
    folder = export(without_exits, tmp_path / "e")
    (folder / name).unlink()
    report = verify_export(folder)
    assert failed(report) == "files"
    assert name in report.failures[0].detail


def test_links_are_refused(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    (folder / "model.onnx").rename(tmp_path / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
    report = verify_export(folder)
    assert failed(report) == "files"
    assert "link" in report.failures[0].detail


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "weights.bin"])
def test_external_data_in_onnx_is_refused(without_exits, tmp_path, location):
    folder = export(without_exits, tmp_path / "e")
    model = onnx.load_model(folder / "model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    sign_again(folder)
    report = verify_export(folder)
    assert failed(report) == "onnx"
    assert "other files" in report.failures[0].detail


def test_onnx_of_another_network_is_refused(with_exits, without_exits, tmp_path):
    folder = export(with_exits, tmp_path / "a")
    other = export(without_exits, tmp_path / "b")
    (folder / "model.onnx").write_bytes((other / "model.onnx").read_bytes())
    sign_again(folder)
    assert failed(verify_export(folder)) == "onnx"


def test_missing_folder(tmp_path):
    with pytest.raises(ExportNotFound, match="no such folder"):
        verify_export(tmp_path / "nothing")


def test_slow_clean_process_is_stopped(without_exits, tmp_path):
    folder = export(without_exits, tmp_path / "e")
    report = verify_export(folder, timeout_s=0.01)
    assert failed(report) == "clean process"
    assert "longer than" in report.failures[0].detail


def test_the_wall_is_what_keeps_the_clean_process_from_importing_us():
    """Without it, the same interpreter, started the same way, finds our packages."""
    import deploy.clean_process

    script = Path(deploy.clean_process.__file__).read_text()
    body = script.split('if __name__ == "__main__":')[0]
    names = json.dumps(["archspace", "deploy"])
    probe = (
        f"{body}\n"
        f"names = {names}\n"
        "before = [n for n in names if importlib.util.find_spec(n)]\n"
        "sys.meta_path.insert(0, Wall(names))\n"
        "print(json.dumps([before, importable(names)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", probe], capture_output=True, text=True, check=True
    )
    before, after = json.loads(done.stdout)
    assert before == ["archspace", "deploy"]
    assert after == []


def test_every_package_of_ours_is_blocked():
    root = Path(__file__).parents[2]
    packages = {path.parent.name for path in root.glob("*/__init__.py")}
    assert packages <= set(BLOCKED)


def test_decisions_within_the_tolerance_are_not_judged():
    logits = np.array([[[4.0, 0.0], [0.0, 0.0]], [[4.0, 0.0], [1.0, 0.0]]], dtype=np.float32)
    # Image 0 is clear at both heads; image 1's classes are alike at the exit.
    assert _too_close(logits, (0.5,), 1e-3).tolist() == [False, True]
    entropy = float(normalised_entropy(logits[0])[0])
    assert _too_close(logits, (entropy * 1.001,), 1e-3).tolist() == [True, True]
    assert _too_close(logits, (entropy * 1.1,), 1e-3).tolist() == [False, True]


def test_wrong_decisions_show(with_exits, tmp_path):
    folder = export(with_exits, tmp_path / "e")
    document = read_document(folder)
    rebuilt = rebuild(folder, document, timeout_s=100)
    assert "decisions equal" in check_exits(rebuilt, document)
    thresholds, classes, heads = rebuilt.decisions["median"]
    late = {"median": (thresholds, classes, np.full_like(heads, 2))}
    with pytest.raises(BrokenExport, match="leave elsewhere"):
        check_exits(replace(rebuilt, decisions=late), document)
