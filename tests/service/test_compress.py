"""`netlathe compress`, and a run that compresses its best network, from a user's seat."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from archspace import ArchitectureDocument
from child_models import Dataset, DigitsConfig, TrainingConfig, load_data, train_child
from compress import StoredModel, TrainedModel
from compress.stored_models import write_model
from deploy import verify_export
from service.cli import app
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from tests.compress.pruning.pruning_networks import mixed_network

CONFIGS = Path(__file__).parents[2] / "configs"
PLAN: dict[str, Any] = {
    "data": {"kind": "digits"},
    "training": {"learning_rate": 0.01},
    "steps": [
        {
            "step": "prune",
            "pruning": {
                "method": "l1",
                "keep_params": 0.7,
                "rounds": 1,
                "epochs": 1,
                "multiple": 1,
            },
        },
        {"step": "quantise"},
    ],
}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as an export holds it."""
    data: Dataset = load_data(DigitsConfig())
    trained = train_child(mixed_network(), data, TrainingConfig(), epochs=2, seed=0)
    network = mixed_network().with_thresholds(trained.exit_choice.thresholds)
    document = ArchitectureDocument(
        digest=network.digest,
        label="by hand",
        network=network,
        class_names=data.class_names,
        normalization=data.normalization,
    )
    folder = tmp_path_factory.mktemp("source")
    write_model(
        folder, StoredModel(model=TrainedModel.of(network, trained.weights), document=document)
    )
    return folder


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(PLAN))
    return path


def compress(*arguments: object) -> str:
    done = CliRunner().invoke(app, ["compress", *map(str, arguments)])
    if isinstance(done.exception, NetlatheError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_json_holds_what_each_step_changed(source: Path, plan: Path, tmp_path: Path) -> None:
    told = json.loads(compress(source, "--plan", plan, "--to", tmp_path / "small", "--json"))
    assert [step["name"] for step in told["steps"]] == ["prune", "quantise"]
    figures = {
        "accuracy", "num_params", "num_macs", "size_bytes", "latency_ms_b1", "latency_ms_b16",
        "energy_mj", "energy_source",
    }  # fmt: skip
    for step in told["steps"]:
        assert figures <= set(step["before"]) & set(step["after"])
    assert told["steps"][0]["after"] == told["steps"][1]["before"]
    assert verify_export(tmp_path / "small").ok
    assert Path(told["report"]).is_file()
    assert json.loads((tmp_path / "small-steps" / "steps.json").read_text()) == told


def test_what_cannot_be_done_is_said(source: Path, plan: Path, tmp_path: Path) -> None:
    to = tmp_path / "small"
    with pytest.raises(NotFoundError, match="no export or weights"):
        compress(tmp_path / "nowhere", "--plan", plan, "--to", to)
    with pytest.raises(NotFoundError, match="no config"):
        compress(source, "--plan", tmp_path / "nothing.yaml", "--to", to)
    with pytest.raises(ConflictError, match="already exists"):
        compress(source, "--plan", plan, "--to", tmp_path)
    with pytest.raises(UsageError, match=r"did you mean 'keep_params'"):
        compress(source, "--plan", plan, "--to", to, "--set", "steps.0.pruning.keep_param=0.5")
    with pytest.raises(UsageError, match="data: missing"):
        compress(source, "--plan", plan, "--to", to, "--set", "data=null")
    with pytest.raises(UsageError, match="is for images of"):
        compress(source, "--plan", plan, "--to", to, "--set", "data={kind: shapes}")
    with pytest.raises(UsageError, match=r"keep_params: 0\.001 cannot be reached"):
        compress(source, "--plan", plan, "--to", to, "--set", "steps.0.pruning.keep_params=0.001")
    with pytest.raises(UsageError, match="other data, or another split"):
        compress(source, "--plan", plan, "--to", to, "--set", "data.split_seed=3")
    assert not to.exists()


@pytest.mark.slow
def test_a_killed_compression_goes_on_after_its_last_step(
    source: Path, plan: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "service.cli", "compress", source, "--plan", plan]
    more = ["--set", "steps.1={step: quantise, quantisation: {mode: qat, epochs: 200}}"]
    killed = subprocess.Popen([*command, "--to", tmp_path / "killed", *more])
    first = tmp_path / "killed-steps" / "1-prune" / "step.json"
    deadline = time.monotonic() + 120
    while not first.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    before = first.stat().st_mtime_ns
    assert not (tmp_path / "killed").exists()
    quick = ["--set", "steps.1={step: quantise}"]
    subprocess.run([*command, "--to", tmp_path / "killed", *quick], check=True, timeout=300)
    assert first.stat().st_mtime_ns == before
    subprocess.run([*command, "--to", tmp_path / "whole", *quick], check=True, timeout=300)
    for name in ("architecture.json", "model.safetensors", "model.int8.onnx", "quantisation.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_a_run_compresses_its_best_network(tmp_path: Path) -> None:
    run = tmp_path / "run"
    overrides = [
        "search.budget=6", "schedule.search_epochs=2", "schedule.final_epochs=4", "profile.budget_s=5",
        "evaluator.kind=local", "compression.steps.0.pruning.epochs=1", "mirror.enabled=false",
    ]  # fmt: skip
    command = [sys.executable, "-m", "service.cli", "search", CONFIGS / "digits-compress.yaml"]
    command += ["--out", run, "--json", *(part for o in overrides for part in ("--set", o))]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["compressed_dir"] == str(run / "compressed")
    assert verify_export(run / "compressed").ok
    steps = json.loads((run / "compression" / "steps.json").read_text())["steps"]
    assert steps[0]["after"]["num_params"] <= 0.5 * steps[0]["before"]["num_params"]
    # what is lost of the compression alone is done again
    before = (run / "compressed" / "model.safetensors").read_bytes()
    subprocess.run(["rm", "-r", run / "compressed"], check=True)
    resumed = subprocess.run(
        [sys.executable, "-m", "service.cli", "resume", str(run)], timeout=300, check=False
    )
    assert resumed.returncode == 0
    assert (run / "compressed" / "model.safetensors").read_bytes() == before
