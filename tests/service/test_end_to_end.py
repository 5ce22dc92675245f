"""The main job from a user's seat, on a tiny config: search, verify, export, train, compare, stop, kill, resume."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.service.command_line import netlathe

CONFIGS = Path(__file__).parents[2] / "configs"
TINY = [
    "--set", "search.budget=8",
    "--set", "schedule.search_epochs=2",
    "--set", "schedule.final_epochs=3",
    "--set", "evaluator.kind=local",
]  # fmt: skip

pytestmark = pytest.mark.slow


def started(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service.cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One undisturbed run that the other tests look at."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = netlathe("search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "digits-quick"
    return run


def best_files(run: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in (run / "best").iterdir()
        if path.name != "measurements.json"
    }


def assert_same_result(run: Path, other: Path) -> None:
    pd.testing.assert_frame_equal(
        pd.read_parquet(run / "trials.parquet"), pd.read_parquet(other / "trials.parquet")
    )
    assert best_files(run) == best_files(other)


def test_a_run_leaves_what_is_promised(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names >= {
        "run.yaml", "device.json", "ledger.db", "checkpoints", "trials.parquet", "timings.parquet",
        "pareto.csv", "summary.json", "analysis.json", "report.html", "best", "log.jsonl",
    }  # fmt: skip
    trials = pd.read_parquet(finished / "trials.parquet")
    assert trials.groupby("session")["charged"].sum().to_dict() == {"ppo-0": 8.0, "random-0": 8.0}
    assert (finished.parent / "optuna.db").is_file()
    summary = json.loads((finished / "summary.json").read_text())
    assert [pick["pick"] for pick in summary["picks"]] == ["best", "knee", "fastest"]
    for pick in summary["picks"]:
        assert pick["latency_measured"]["source"] == "measured"
        assert pick["energy"]["value"] > 0


def test_verify_accepts_the_export_and_notices_changes(finished: Path, tmp_path: Path) -> None:
    assert netlathe("verify", finished / "best").returncode == 0
    copy = tmp_path / "copy"
    assert netlathe("export", finished, "--pick", "knee", "--to", copy).returncode == 0
    assert netlathe("verify", copy).returncode == 0
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-3] ^= 0x40
    (copy / "model.safetensors").write_bytes(weights)
    refused = netlathe("verify", copy)
    assert refused.returncode == 1
    assert "does not hold what it says" in refused.stderr


def test_any_network_of_the_run_can_be_exported_and_says_so(finished: Path, tmp_path: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    picked = {pick["digest"] for pick in summary["picks"]}
    trials = pd.read_parquet(finished / "trials.parquet")
    rows = trials[(trials["session"] == "ppo-0") & ~trials["digest"].isin(picked)]
    digest = rows["digest"].iloc[0]
    done = netlathe("export", finished, "--pick", digest, "--to", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    assert "picked after the test" in (tmp_path / "other" / "README.md").read_text()
    assert netlathe("export", finished, "--pick", "no", "--to", tmp_path / "n").returncode == 3


def test_a_network_for_another_limit(finished: Path, tmp_path: Path) -> None:
    trials = pd.read_parquet(finished / "trials.parquet")
    own = trials[(trials["session"] == "ppo-0") & trials["accuracy"].notna()]
    limit = float(own["latency_worst_ms"].median())
    done = netlathe(
        "export", finished, "--max-latency-ms", 1.3 * limit, "--to", tmp_path / "fast", "--json"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["from"] in ("archive", "policy")
    if answer["from"] == "archive":
        worst = own.set_index("digest").loc[answer["digest"], "latency_worst_ms"]
        assert worst <= 1.3 * limit
    refused = netlathe("export", finished, "--max-latency-ms", 1e-6, "--to", tmp_path / "no")
    assert refused.returncode == 3
    assert "the fastest takes" in refused.stderr
    assert not (tmp_path / "no").exists()
    for wrong in (("--pick", "best", "--max-latency-ms", 1), ("--max-energy-mj", -1)):
        assert netlathe("export", finished, *wrong, "--to", tmp_path / "no").returncode == 2


def test_train_is_the_reference_consumer(finished: Path, tmp_path: Path) -> None:
    done = netlathe(
        "train",
        finished / "best",
        "--data",
        "digits",
        "--epochs",
        2,
        "--to",
        tmp_path / "t",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert 0.0 < json.loads(done.stdout)["test_accuracy"] <= 1.0
    assert netlathe("verify", tmp_path / "t").returncode == 0
    wrong = netlathe("train", finished / "best", "--data", "shapes", "--epochs", 1)
    assert wrong.returncode == 2
    assert "expects images of 1×8×8" in wrong.stderr


def test_compare_and_an_ended_run(finished: Path, tmp_path: Path) -> None:
    done = netlathe("compare", finished, "--out", tmp_path / "c.html", "--json")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c.html").stat().st_size > 10_000
    before = (finished / "ledger.db").read_bytes()
    again = netlathe("resume", finished)
    assert again.returncode == 0
    assert (finished / "ledger.db").read_bytes() == before


def test_drift_pauses_until_it_is_accepted(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "drifting"
    always = (
        "--set",
        "search.recalibration.every=4",
        "--set",
        "search.recalibration.max_drift=1e-9",
    )
    command = ("search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY, *always)
    paused = netlathe(*command, "--device-file", finished / "device.json")
    assert paused.returncode == 75, paused.stderr
    assert "max_drift" in paused.stderr
    assert netlathe("resume", run).returncode == 75
    accepted = netlathe("resume", run, "--accept-drift", "--json")
    assert accepted.returncode == 0, accepted.stderr
    found = json.loads(accepted.stdout)["recalibrations"]
    assert [(f["session"], f["count"], f["version"]) for f in found[:1]] == [("ppo-0", 4, 2)]
    versions = pd.read_parquet(run / "trials.parquet").groupby("session")["model_version"]
    assert versions.min().to_dict() == {"ppo-0": 1, "random-0": 1}
    assert versions.max().to_dict() == {"ppo-0": 2, "random-0": 2}
    assert "most promising children were measured" in (run / "report.html").read_text()


def test_a_deadline_stops_and_a_later_one_goes_on(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "late"
    command = ("search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY)
    device = ("--device-file", finished / "device.json")
    late = netlathe(*command, *device, "--set", "search.deadline_hours=1e-6")
    assert late.returncode == 1, late.stderr
    assert "--deadline-hours" in late.stderr
    assert netlathe("resume", run).returncode == 1
    assert netlathe("resume", run, "--deadline-hours", "0").returncode == 2
    done = netlathe("resume", run, "--deadline-hours", "24")
    assert done.returncode == 0, done.stderr
    assert_same_result(finished, run)


def test_a_search_whose_children_fail_stops(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "failing"
    command = ("search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY)
    device = ("--device-file", finished / "device.json")
    failed = netlathe(*command, *device, "--set", "evaluator.child_timeout_s=0.001")
    assert failed.returncode == 1, failed.stderr
    assert "10 of 10 children failed (10 TIMEOUT)" in failed.stderr


def test_stopped_with_ctrl_c_then_resumed(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "stopped"
    command = ("search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY)
    process = started(*command, "--device-file", finished / "device.json")
    wait_for(lambda: any((run / "checkpoints").glob("*/*")), process)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "netlathe resume" in errors
    assert netlathe("resume", run).returncode == 0
    assert_same_result(finished, run)


def test_killed_then_resumed(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    command: tuple[object, ...] = (
        "search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY,
        "--device-file", finished / "device.json",
    )  # fmt: skip
    for signs in ("run.yaml", "checkpoints/*/*", "finals/*"):
        process = started(*command)
        wait_for(lambda signs=signs: any(run.glob(signs)), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        command = ("resume", run)
    assert netlathe("resume", run).returncode == 0
    assert_same_result(finished, run)


def test_damage_is_refused_and_undone_by_a_copy(finished: Path, tmp_path: Path) -> None:
    """A run that was killed over its report: each of its files is needed again."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.rmtree(run / "best")
    (run / "summary.json").unlink()
    ledger, device = run / "ledger.db", run / "device.json"
    (final, *_) = (run / "finals").glob("*.safetensors")
    whole = {path: path.read_bytes() for path in (ledger, device, final)}
    number = re.search(rb'"value": \d\.\d*([1-8])', whole[device]) or re.search(
        rb": \d+\.\d*([1-8])", whole[device]
    )
    assert number is not None
    place = number.start(1)
    changed = {
        ledger: b"",
        device: whole[device][:place] + b"9" + whole[device][place + 1 :],
        final: whole[final][:-1] + bytes([whole[final][-1] ^ 1]),
    }
    says = {ledger: "were written, but there are 0 proposals", device: "SHA-256", final: "finals/"}
    for path, damaged in changed.items():
        path.write_bytes(damaged)
        refused = netlathe("resume", run)
        assert refused.returncode == 2, refused.stderr
        assert says[path] in " ".join(refused.stderr.split())
        path.write_bytes(whole[path])
    assert netlathe("resume", run).returncode == 0
    assert_same_result(finished, run)


def test_a_search_over_bits_exports_what_int8_executes(tmp_path: Path) -> None:
    command: tuple[object, ...] = (
        "search", CONFIGS / "digits-bits.yaml", *TINY, "--set", "space.bits=[8,4]",
        "--set", "profile.budget_s=6", "--set", "search.strategy.batch_size=4",
    )  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = netlathe(*command, "--out", whole)
    assert done.returncode == 0, done.stderr
    trials = pd.read_parquet(whole / "trials.parquet")
    assert (trials["size_bytes"] <= 12000).all()
    checked = netlathe("verify", whole / "best", "--json")
    assert checked.returncode == 0, checked.stdout
    assert "int8" in checked.stdout
    assert (whole / "best" / "model.int8.onnx").is_file()
    process = started(*command, "--out", killed, "--device-file", whole / "device.json")
    wait_for(lambda: any(killed.glob("finals/*.quantisation.json")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert netlathe("resume", killed).returncode == 0
    assert_same_result(whole, killed)


def wait_for(condition: object, process: subprocess.Popen[str], seconds: float = 120) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        if process.poll() is not None:
            break
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["search", "no.yaml"], 3, "no config"),
        (["search", "{configs}/digits.yaml", "--set", "search.budgte=1"], 2, "did you mean"),
        (["resume", "nowhere"], 3, "not a run"),
        (["verify", "nowhere"], 3, "no export"),
        (["train", "nowhere", "--data", "digits"], 3, "no architecture"),
        (["init", "--data", "nowhere"], 3, "no data"),
        (["compare", "nowhere"], 3, "no run"),
        (["dashboard", "--results", "nowhere"], 3, "optuna.db"),
        (["search"], 2, "Missing argument"),
    ],
)
def test_faults_have_their_exit_code(
    tmp_path: Path, arguments: list[str], code: int, message: str
) -> None:
    done = netlathe(*(a.format(configs=CONFIGS) for a in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists() or not any((tmp_path / "results").iterdir())


def test_impossible_target_is_refused_before_anything_is_trained(
    finished: Path, tmp_path: Path
) -> None:
    done = netlathe(
        "search", CONFIGS / "digits-quick.yaml", "--out", tmp_path / "run", *TINY,
        "--device-file", finished / "device.json", "--set", "limits.latency_ms=0.0001",
    )  # fmt: skip
    assert done.returncode == 2
    assert "the smallest network of this space needs" in done.stderr
    assert not (tmp_path / "run").exists()


def test_damaged_newest_checkpoint_falls_back(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "damaged"
    process = started(
        "search", CONFIGS / "digits-quick.yaml", "--out", run, *TINY,
        "--device-file", finished / "device.json",
    )  # fmt: skip
    wait_for(lambda: len(list((run / "checkpoints").glob("*/*"))) >= 2, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    for path in sorted((run / "checkpoints").rglob("*"))[-3:]:
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert netlathe("resume", run).returncode == 0
    assert_same_result(finished, run)
