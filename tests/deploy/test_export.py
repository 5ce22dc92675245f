"""The exported folder: complete, the same for equal input, usable, and never half there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from archspace import ArchitectureDocument
from child_models import count_macs, count_params
from deploy import AccuracyFigure, CostFigure, ExportError, export_architecture
from deploy.files import DETERMINISTIC, EXPORT_FILES, sha256


def export(made, directory: Path) -> Path:
    return export_architecture(made.document, made.weights, directory, info=made.info)


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_holds_every_file_and_nothing_beside_it(with_exits, tmp_path):
    export(with_exits, tmp_path / "runs" / "best")
    assert {path.name for path in (tmp_path / "runs" / "best").iterdir()} == set(EXPORT_FILES)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["best"]


def test_architecture_has_thresholds_and_counts(with_exits, tmp_path):
    document = ArchitectureDocument.load(export(with_exits, tmp_path / "e") / "architecture.json")
    network = with_exits.document.network
    assert document.network == network
    assert document.num_params == count_params(network)
    assert document.macs == count_macs(network)


def test_weights_come_back_as_they_were(with_exits, tmp_path):
    weights = load_file(export(with_exits, tmp_path / "e") / "model.safetensors")
    assert weights.keys() == with_exits.weights.keys()
    for name, values in weights.items():
        np.testing.assert_array_equal(values, with_exits.weights[name])


def test_config_has_what_timm_and_hugging_face_look_for(with_exits, tmp_path):
    config = json.loads((export(with_exits, tmp_path / "e") / "config.json").read_text())
    network = with_exits.document.network
    assert config["architecture"] == f"netlathe_{with_exits.document.digest}"
    assert config["num_classes"] == network.num_classes
    assert config["pretrained_cfg"]["input_size"] == list(network.input_shape)
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5]
    assert config["id2label"]["0"] == "class 0"
    classifier = config["pretrained_cfg"]["classifier"]
    assert f"{classifier}.weight" in with_exits.weights
    assert f"{config['pretrained_cfg']['first_conv']}.weight" in with_exits.weights


def test_equal_input_gives_equal_bytes_whatever_was_measured(with_exits, tmp_path):
    first = contents(export(with_exits, tmp_path / "a"))
    other = CostFigure(name="latency", value=9.9, std=0.5, unit="ms", source="measured")
    noisy = replace(with_exits, info=replace(with_exits.info, measurements=(other,)))
    # A trainer's dictionary may be in any order, and hold batch counters.
    weights = dict(reversed(noisy.weights.items()))
    weights["layers.n0.norm.num_batches_tracked"] = np.array(7)
    second = contents(export(replace(noisy, weights=weights), tmp_path / "b"))
    assert {name for name in first if first[name] != second[name]} == {"measurements.json"}


@pytest.mark.slow
def test_equal_bytes_in_another_process(with_exits, tmp_path):
    export(with_exits, tmp_path / "a")
    script = (
        "import sys; from pathlib import Path; from safetensors.numpy import load_file;"
        "from archspace import ArchitectureDocument; from deploy import *; d = Path(sys.argv[1]);"
        "document = ArchitectureDocument.load(d / 'architecture.json');"
        "export_architecture(document, load_file(d / 'model.safetensors'), Path(sys.argv[2]),"
        " info=ExportInfo(pick='knee', device='', dataset=''))"
    )
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, str(tmp_path / "a"), str(tmp_path / seed)]
        subprocess.run(command, check=True, env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"})
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    for name in set(DETERMINISTIC) - {"README.md"}:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "1" / name).read_bytes()


def test_measured_figures_stay_out_of_the_readme(with_exits, tmp_path):
    folder = export(with_exits, tmp_path / "e")
    assert "1.31" not in (folder / "README.md").read_text()
    assert json.loads((folder / "measurements.json").read_text())["figures"][0]["value"] == 1.31


def test_readme_shows_figures_exits_and_marks(with_exits, tmp_path):
    info = replace(with_exits.info, marks=("picked after the test",))
    text = (export(replace(with_exits, info=info), tmp_path / "e") / "README.md").read_text()
    assert "| final test accuracy | 97.12% ± 0.31% |" in text
    assert "| latency | 1.25 ± 0.1 ms | predicted |" in text
    assert "**picked after the test**" in text
    assert "| exit1 | 0.6000 |" in text


def test_readme_takes_no_markup_from_names(without_exits, tmp_path):
    info = replace(
        without_exits.info,
        dataset="<script>x</script>",
        accuracies=(AccuracyFigure(name="a|b", value=0.5, standard_error=0.1),),
    )
    text = (export(replace(without_exits, info=info), tmp_path / "e") / "README.md").read_text()
    assert "<script>" not in text
    assert "a\\|b" in text


@pytest.mark.parametrize("kind", ["with_exits", "without_exits"])
def test_readme_code_for_torch_and_onnx_runs(kind, request, tmp_path, monkeypatch):
    folder = export(request.getfixturevalue(kind), tmp_path / "e")
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "model", raising=False)
    torch_names: dict[str, object] = {}
    exec(blocks[0], torch_names)
    monkeypatch.delitem(sys.modules, "model")
    assert torch_names["classes"].shape == (4,)  # type: ignore[attr-defined]
    onnx_names: dict[str, object] = {}
    exec(blocks[1], onnx_names)
    assert onnx_names["outputs"][-1].shape == (4, 7)  # type: ignore[index]


def test_checksums_are_what_sha256sum_expects(with_exits, tmp_path):
    folder = export(with_exits, tmp_path / "e")
    lines = dict(
        reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines()
    )
    assert lines == {name: sha256(folder / name) for name in DETERMINISTIC}


def test_an_earlier_export_is_replaced(with_exits, without_exits, tmp_path):
    export(with_exits, tmp_path / "e")
    (tmp_path / "e" / "__pycache__").mkdir()  # someone imported model.py there
    export(without_exits, tmp_path / "e")
    assert contents(tmp_path / "e") == contents(export(without_exits, tmp_path / "f"))


def test_a_folder_with_something_else_is_left_alone(with_exits, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ExportError, match=r"thesis\.tex"):
        export(with_exits, tmp_path)
    assert contents(tmp_path) == {"thesis.tex": b"years of work"}


def test_a_file_in_the_way_is_left_alone(with_exits, tmp_path):
    (tmp_path / "e").write_text("mine")
    with pytest.raises(ExportError, match="not a folder"):
        export(with_exits, tmp_path / "e")
    assert (tmp_path / "e").read_text() == "mine"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left on device")])
@pytest.mark.parametrize("before", [False, True])
def test_an_interrupted_export_leaves_things_as_they_were(
    with_exits, without_exits, tmp_path, monkeypatch, error, before
):
    if before:
        export(without_exits, tmp_path / "e")
    expected = contents(tmp_path / "e") if before else None
    write, calls = Path.write_bytes, []

    def write_some(path: Path, data: bytes) -> int:
        calls.append(path)
        if len(calls) == 4:
            raise error
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", write_some)
    with pytest.raises(ExportError if isinstance(error, OSError) else KeyboardInterrupt):
        export(with_exits, tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == (["e"] if before else [])
    assert (contents(tmp_path / "e") if before else None) == expected


def test_what_a_killed_export_left_is_cleared_away(with_exits, tmp_path):
    (tmp_path / ".e.partial").mkdir()
    (tmp_path / ".e.partial" / "model.py").write_text("half")
    export(with_exits, tmp_path / "e")
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_weights_that_do_not_fit_are_refused(with_exits, tmp_path):
    name = next(iter(with_exits.weights))
    missing = {key: value for key, value in with_exits.weights.items() if key != name}
    broken = {**with_exits.weights, name: np.full_like(with_exits.weights[name], np.nan)}
    wrong = {**with_exits.weights, name: np.zeros(3, np.float32)}
    extra = {**with_exits.weights, "layers.n999.conv.weight": np.zeros(3, np.float32)}
    for weights in (missing, broken, wrong, extra):
        with pytest.raises(ExportError, match="weights"):
            export(replace(with_exits, weights=weights), tmp_path / "e")
    assert not (tmp_path / "e").exists()


def test_measured_and_predicted_figures_cannot_be_mixed_up(with_exits):
    measured = with_exits.info.measurements
    with pytest.raises(ValueError, match="measurements"):
        replace(with_exits.info, costs=measured)
    with pytest.raises(ValueError, match="measured costs only"):
        replace(with_exits.info, measurements=with_exits.info.costs)
