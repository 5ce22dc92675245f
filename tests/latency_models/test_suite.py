"""What a measuring suite holds, and that it is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from archspace import StagedSpace, network_to_dict
from latency_models import SuiteConfig, SuiteError, SuiteManifest, suite, write_suite
from latency_models.features import block_digest
from latency_models.sampling import blocks_to_measure
from tests.latency_models.suite_samples import SMALL, read_table


@pytest.fixture(scope="module")
def written(space: StagedSpace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("suites") / "suite"
    write_suite(space, folder, SMALL.model_copy(update={"batch_size": 2}))
    return folder


@pytest.fixture(scope="module")
def manifest(written: Path) -> SuiteManifest:
    return SuiteManifest.load(written)


def test_holds_what_was_asked_for(written: Path, manifest: SuiteManifest) -> None:
    roles = ("reference", "call", "held_out", "block", "network")
    assert [len(manifest.of_role(role)) for role in roles] == [1, 1, 16, 40, 40]  # type: ignore[arg-type]
    assert {p.name for p in written.iterdir()} == {
        "README.md", "manifest.json", "measurements.csv", "onnx",
    }  # fmt: skip
    names = {f"onnx/{path.name}" for path in (written / "onnx").iterdir()}
    assert names == {file.file for file in manifest.files}
    first = manifest.of_role("held_out")[0]
    assert first.file == f"onnx/held-out-000-{first.network_digest}.onnx"


def test_no_held_out_network_is_fitted_on(manifest: SuiteManifest) -> None:
    fitted = {file.network_digest for file in manifest.of_role("network")}
    assert not fitted & {file.network_digest for file in manifest.of_role("held_out")}
    assert len(fitted) == 40


def test_every_file_runs_as_the_manifest_says(written: Path, manifest: SuiteManifest) -> None:
    for file in manifest.files[::6]:
        content = (written / file.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file.sha256
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        assert file.input_shape[0] == 2
        images = np.zeros(file.input_shape, dtype=np.float32)
        assert len(session.run(None, {file.input_name: images})[0]) == 2


def test_networks_and_blocks_come_back_from_the_manifest(
    space: StagedSpace, manifest: SuiteManifest
) -> None:
    expected = {block_digest(block) for block in blocks_to_measure(space, ())}
    for file in manifest.of_role("block"):
        (block,) = file.resolve().blocks
        assert block_digest(block) == file.block_digest
        assert file.block_digest in expected
    for file in manifest.of_role("held_out"):
        assert file.resolve().digest == file.network_digest


def test_rows_hold_the_reference_every_sixteen_and_held_out_networks_three_times(
    written: Path, manifest: SuiteManifest
) -> None:
    rows = read_table(written)
    at = [i for i, row in enumerate(rows) if row["file"] == "onnx/reference.onnx"]
    assert at == [*range(0, len(rows) - 1, 16), len(rows) - 1]
    often = [*manifest.of_role("held_out"), *manifest.of_role("call")]
    for file in often:
        mine = [i for i, row in enumerate(rows) if row["file"] == file.file]
        assert [rows[i]["run"] for i in mine] == ["1", "2", "3"]
        assert mine[2] - mine[0] > len(rows) / 2
    once = 40 + 40
    assert len(rows) == len(at) + 3 * len(often) + once
    assert len({(row["file"], row["run"]) for row in rows}) == len(rows)
    assert {row["latency_ms"] + row["energy_mj"] for row in rows} == {""}


def test_equal_input_gives_equal_files(written: Path, space: StagedSpace, tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"batch_size": 2})
    write_suite(space, tmp_path / "again", config)
    paths = [path.relative_to(written) for path in written.rglob("*.*")]
    assert all((tmp_path / "again" / p).read_bytes() == (written / p).read_bytes() for p in paths)
    other = write_suite(space, tmp_path / "other", config.model_copy(update={"seed": 2}))
    assert {f.file for f in other.files} != {f.file for f in SuiteManifest.load(written).files}


def test_the_readme_says_how_to_measure(written: Path) -> None:
    text = (written / "README.md").read_text()
    for words in ("Warm up", "median", "at least 50", "batch size is 2", "in the order given"):
        assert words in text
    assert "{" not in text


def test_refuses_a_folder_with_something_in_it(space: StagedSpace, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not an empty folder"):
        write_suite(space, tmp_path, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_will_do(space: StagedSpace, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    few = SuiteConfig(num_networks=8, num_held_out=8, num_blocks=8)
    write_suite(space, tmp_path / "empty", few)
    assert len(SuiteManifest.load(tmp_path / "empty").files) == 2 + 3 * 8


def test_a_failure_leaves_nothing(
    space: StagedSpace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(manifest: SuiteManifest) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(suite, "_readme", fail)
    with pytest.raises(OSError, match="disk full"):
        write_suite(space, tmp_path / "suite", SMALL)
    assert list(tmp_path.iterdir()) == []


def changed(written: Path, folder: Path, change: dict[str, Any]) -> Path:
    data = json.loads((written / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(data | change))
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "netlathe_device"}, "expected the manifest of a suite"),
        ({"schema_version": 2}, "expected schema_version 1, got 2"),
        ({"batch_size": 0}, "damaged at batch_size"),
        ({"surprise": 1}, "damaged at surprise"),
        ({"files": []}, "expected one file of role reference, got 0"),
    ],
)
def test_manifests_that_are_not_right(
    written: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(SuiteError, match=message):
        SuiteManifest.load(changed(written, tmp_path, change))


def test_a_file_that_stands_twice(written: Path, tmp_path: Path) -> None:
    files = json.loads((written / "manifest.json").read_text())["files"]
    with pytest.raises(SuiteError, match="stands in it 2 times"):
        SuiteManifest.load(changed(written, tmp_path, {"files": [*files, files[5]]}))


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_manifests_that_are_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(SuiteError, match="expected"):
        SuiteManifest.load(tmp_path)


def test_networks_changed_by_hand_are_noticed(manifest: SuiteManifest) -> None:
    file = manifest.of_role("held_out")[0]
    wrong = manifest.of_role("held_out")[1].resolve()
    with pytest.raises(SuiteError, match="changed by hand or damaged"):
        file.model_copy(update={"network": network_to_dict(wrong)}).resolve()
    with pytest.raises(SuiteError, match="cannot be read"):
        file.model_copy(update={"network": {}}).resolve()
