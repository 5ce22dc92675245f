"""`netlathe latency profile` from a user's seat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from latency_models import DeviceFile, ProfileConfig
from service.commands.latency_profile import parse_budget
from service.errors import UsageError
from tests.service.wide_config import write_wide_config

QUICK = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "service.cli", "latency", "profile", *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("3m", 180), ("1.5 m", 90), ("1h", 3600), ("20", 20)]
)
def test_budgets(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "3 days", "-1m", "25h", "m"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="such as 90s, 3m or 1h"):
        parse_budget(text)


def test_more_time_measures_more_and_less_time_as_much_as_fits() -> None:
    usual = ProfileConfig()
    longer, shorter = usual.with_budget(4 * usual.budget_s), usual.with_budget(5)
    assert longer.num_networks == 4 * usual.num_networks
    assert longer.num_held_out == 2 * usual.num_held_out
    assert longer.rounds > usual.rounds
    assert shorter == usual.model_copy(update={"budget_s": 5.0})
    assert usual.with_budget(86400).num_networks == 2000


@pytest.mark.slow
def test_profile_is_a_device_file_with_its_error_and_can_be_stopped(tmp_path: Path) -> None:
    out = tmp_path / "me.json"
    journal = tmp_path / "me.json.journal"
    arguments = (
        write_wide_config(tmp_path),
        "--out",
        out,
        "--device",
        "my board",
        "--budget",
        "30s",
    )
    process = subprocess.Popen(
        command(*arguments), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 120
    while not journal.is_file() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not out.exists()
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert "going on with" in done.stderr
    told = json.loads(done.stdout)
    file = DeviceFile.load(out)
    assert file.device.name == "my board"
    assert told["spearman"] == file.report.spearman > 0.8
    assert told["num_rounds"] >= 2 * told["num_fit"]
    assert not journal.exists()
    again = run(*arguments)
    assert again.returncode == 4
    assert "--force" in again.stderr
    shown = run(*arguments, "--force", "--set", "profile.num_networks=20")
    assert shown.returncode == 0, shown.stderr
    assert "rounds thrown away" in shown.stdout


@pytest.mark.slow
def test_faults_have_their_exit_code(tmp_path: Path) -> None:
    table = QUICK.with_name("nasbench201-table.yaml")
    for code, message, arguments in (
        (3, "no config", ("nowhere.yaml",)),
        (3, "no folder", (QUICK, "--out", tmp_path / "no" / "d.json")),
        (2, "such as 90s", (QUICK, "--out", tmp_path / "d.json", "--budget", "soon")),
        (2, "takes its costs from there", (table, "--out", tmp_path / "d.json")),
        (2, "threads", (QUICK, "--out", tmp_path / "d.json", "--set", "device.threads=1000")),
    ):
        done = run(*arguments)
        assert (done.returncode, message in done.stderr) == (code, True), done.stderr
        assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
