"""A run that gets a larger budget afterwards ends as one that had it from the start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from service.enlarging import enlarge_run
from service.errors import UsageError
from service.run_folder import RunFolder, create_run, open_run
from tests.service.command_line import netlathe

CONFIG = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"


def begun(path: Path, search: dict[str, Any] | None = None) -> RunFolder:
    config: dict[str, Any] = {
        "name": "digits",
        "data": {"kind": "digits"},
        "space": {"kind": "staged", "stages": [{"channels": 8, "layers": 1}]},
    }
    if search is not None:
        config["search"] = search
    return create_run(path, config, seed=3)


def search_of(folder: RunFolder) -> Any:
    return open_run(folder.path)[1].config["search"]


def test_trials_are_added_and_a_budget_in_all_is_reached_once(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", {"budget": 8, "strategy": {"name": "local"}})
    enlarge_run(folder, add_trials=4)
    enlarge_run(folder, add_trials=1)
    assert search_of(folder)["budget"] == 13
    for _ in range(2):
        enlarge_run(folder, at_least=20)
    enlarge_run(folder, at_least=10)
    assert search_of(folder)["budget"] == 20
    assert search_of(folder)["strategy"] == {"name": "local"}
    assert open_run(folder.path)[1].seed == 3


def test_a_budget_that_was_left_to_the_default_grows(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run")
    enlarge_run(folder, add_trials=4)
    assert search_of(folder)["budget"] == 68


@pytest.mark.parametrize(("budget", "every"), [(190, 0), (200, 100)])
def test_whether_it_measures_in_between_stays_as_it_was_begun(
    tmp_path: Path, budget: int, every: int
) -> None:
    folder = begun(tmp_path / "run", {"budget": budget})
    enlarge_run(folder, add_trials=100)
    assert search_of(folder)["recalibration"] == {"every": every}


def test_what_was_compressed_is_compressed_again(tmp_path: Path) -> None:
    folder = begun(tmp_path / "run", {"budget": 8})
    for name in ("compressed", ".compressed.removed"):  # the second: of a kill
        (folder.path / name).mkdir()
        (folder.path / name / "x").touch()
    enlarge_run(folder, at_least=8)
    assert folder.compressed.is_dir()
    enlarge_run(folder, at_least=9)
    assert not any("compressed" in path.name for path in folder.path.iterdir())


def test_settings_that_follow_the_budget_are_refused_by_name(tmp_path: Path) -> None:
    strategy = {"name": "ppo", "keep_schedule": {}}
    folder = begun(tmp_path / "run", {"budget": 8, "strategy": strategy})
    before = folder.run_file.read_bytes()
    with pytest.raises(UsageError, match=r"ppo\.keep_schedule follows the share of the budget"):
        enlarge_run(folder, add_trials=1)
    enlarge_run(folder, at_least=8)  # nothing is asked for
    assert folder.run_file.read_bytes() == before


@pytest.mark.slow
def test_an_ended_run_goes_on_with_more_trials(tmp_path: Path) -> None:
    options = [
        "--set", "search.strategy.batch_size=3",
        "--set", "schedule.search_epochs=2",
        "--set", "schedule.final_epochs=3",
        "--set", "profile.budget_s=6",
        "--set", "evaluator.kind=local",
        "--json",
    ]  # fmt: skip
    grown, whole = tmp_path / "grown", tmp_path / "whole"
    done = netlathe("search", CONFIG, "--out", grown, *options, "--set", "search.budget=8")
    assert done.returncode == 0, done.stderr
    device = ("--device-file", grown / "device.json")
    done = netlathe(
        "search", CONFIG, "--out", whole, *options, *device, "--set", "search.budget=12"
    )
    assert done.returncode == 0, done.stderr
    done = netlathe("resume", grown, "--add-trials", 4, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert {(s["budget"], s["spent"]) for s in summary["sessions"]} == {(12, 12)}
    assert {pick["digest"] for pick in summary["picks"]} == {
        pick["digest"] for pick in json.loads((whole / "summary.json").read_text())["picks"]
    }
    pd.testing.assert_frame_equal(
        pd.read_parquet(grown / "trials.parquet"), pd.read_parquet(whole / "trials.parquet")
    )
    for path in (whole / "best").iterdir():
        if path.name != "measurements.json":
            assert (grown / "best" / path.name).read_bytes() == path.read_bytes(), path.name
    again = netlathe("resume", grown, "--budget", 12, "--json")
    assert (again.returncode, "has ended already" in again.stderr) == (0, True)
