"""A search with halving from a user's seat, on Ray: the same for any number of workers and any kill."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.service.test_end_to_end import CONFIGS, assert_same_result, netlathe, started

HALVED = [
    "--set", "search.budget=5",
    "--set", "search.strategy={name: surrogate, batch_size: 4, initial: 8}",
    "--set", "search.halving={rungs: [{epochs: 1, data_fraction: 0.5}, {epochs: 2, resolution: 6}], reduction: 3, window: 6}",
    "--set", "schedule.search_epochs=6",
    "--set", "schedule.final_epochs=3",
]  # fmt: skip

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """On two workers, undisturbed."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    done = netlathe(
        "search", CONFIGS / "digits-quick.yaml", "--out", run, *HALVED, "--set", "evaluator.workers=2"
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run


def test_the_tables_tell_rungs_apart(finished: Path) -> None:
    trials = pd.read_parquet(finished / "trials.parquet")
    full = trials[trials["is_full"]]
    assert set(trials["fidelity"]) == {"epochs1-data0.5", "epochs2-6px", "search"}
    assert (full["fidelity"] == "search").all()
    assert 0 < len(full) < len(trials) / 3
    assert (trials.groupby("session")["charged"].sum() <= 5).all()
    costs = trials.groupby("fidelity")["charged"].first()
    assert costs.to_dict() == pytest.approx(
        {"epochs1-data0.5": 1 / 12, "epochs2-6px": 1 / 3 * (6 / 8) ** 2, "search": 1.0}
    )
    front = pd.read_csv(finished / "pareto.csv")
    assert front["is_full"].all()
    summary = json.loads((finished / "summary.json").read_text())
    own = full[full["session"] == "surrogate-0"]
    assert summary["sessions"][0]["best_accuracy"] == own["accuracy"].max()
    assert {pick["digest"] for pick in summary["picks"]} <= set(own["digest"])
    analysis = json.loads((finished / "analysis.json").read_text())
    assert [rung["name"] for rung in analysis["rungs"]][-1] == "search"
    assert len(analysis["rung_correlations"]) == 3
    assert "rank correlation (Spearman)" in (finished / "report.html").read_text()
    with sqlite3.connect(finished.parent / "optuna.db") as database:
        states = dict(database.execute("SELECT state, count(*) FROM trials GROUP BY state"))
    assert states["PRUNED"] == int((~trials["is_full"]).sum())


def test_only_what_was_trained_in_full_is_exported(finished: Path, tmp_path: Path) -> None:
    trials = pd.read_parquet(finished / "trials.parquet")
    own = trials[trials["session"] == "surrogate-0"]
    cheap = sorted(set(own["digest"]) - set(own[own["is_full"]]["digest"]))[0]
    refused = netlathe("export", finished, "--pick", cheap, "--to", tmp_path / "no")
    assert refused.returncode == 3, refused.stderr


def test_killed_on_one_worker_it_ends_as_on_two(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    command: tuple[object, ...] = (
        "search", CONFIGS / "digits-quick.yaml", "--out", run, *HALVED,
        "--set", "evaluator.workers=1", "--device-file", finished / "device.json",
    )  # fmt: skip
    kill_when(lambda: results(run) >= 7, *command)
    done = netlathe("resume", run)
    assert done.returncode == 0, done.stderr
    assert_same_result(finished, run)


def test_an_asynchronous_search_that_is_killed_goes_on_where_it_was(
    finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "killed"
    command: tuple[object, ...] = (
        "search", CONFIGS / "digits-quick.yaml", "--out", run, *HALVED,
        "--set", "search.asynchronous={window: 4}", "--set", "search.controls=[]",
        "--set", "evaluator.workers=2", "--device-file", finished / "device.json",
    )  # fmt: skip
    kill_when(lambda: results(run) >= 7, *command)
    before = arrivals(run)
    assert len(before) >= 7
    done = netlathe("resume", run)
    assert done.returncode == 0, done.stderr
    after = arrivals(run)
    assert after[: len(before)] == before
    assert [arrival for arrival, *_ in after] == list(range(len(after)))
    trials = pd.read_parquet(run / "trials.parquet")
    assert trials["sequence"].tolist() == [sequence for _, sequence, _ in after]
    assert trials["charged"].sum() <= 5
    (run / "summary.json").unlink()  # so that it is done again, from the log alone
    done = netlathe("resume", run)
    assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(run / "trials.parquet"), trials)


def arrivals(run: Path) -> list[tuple[int, int, float]]:
    """(arrival, sequence, reward) of the run's results."""
    with sqlite3.connect(run / "ledger.db") as database:
        query = (
            "SELECT arrival, sequence, reward FROM proposals WHERE status = 'done' ORDER BY arrival"
        )
        return list(database.execute(query))


SHARED = [
    *HALVED,
    "--set", "search.controls=[]",
    "--set", "search.halving={supernet: {training: {epochs: 12}, probes: 5, least_correlation: -1, cost: 0.1}, window: 6}",
    "--set", "search.budget=9",
    "--set", "evaluator.workers=1",
]  # fmt: skip


def test_killed_while_shared_weights_are_trained_it_ends_as_undisturbed(
    finished: Path, tmp_path: Path
) -> None:
    def command(run: Path) -> tuple[object, ...]:
        device = ("--device-file", finished / "device.json")
        return ("search", CONFIGS / "digits-quick.yaml", "--out", run, *SHARED, *device)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = netlathe(*command(whole))
    assert done.returncode == 0, done.stderr
    kill_when((killed / "supernet.safetensors").is_file, *command(killed))
    assert results(killed) == 0
    done = netlathe("resume", killed)
    assert done.returncode == 0, done.stderr
    assert_same_result(whole, killed)
    analysis = json.loads((killed / "analysis.json").read_text())
    assert analysis["learnt"]["supernet"]["used"]
    assert "Supernet: rank correlation" in (killed / "report.html").read_text()
    trials = pd.read_parquet(killed / "trials.parquet")
    assert (trials["fidelity"] == "supernet").sum() > 10


def kill_when(happened: Callable[[], bool], *command: object) -> None:
    """Start a search, and kill it with its children when that is so."""
    process = started(*command)
    end = time.monotonic() + 240
    while not happened():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def results(run: Path) -> int:
    """Children of the run with a result."""
    if not (run / "ledger.db").is_file():
        return 0
    try:
        with sqlite3.connect(run / "ledger.db") as database:
            query = "SELECT count(*) FROM proposals WHERE status = 'done'"
            return int(database.execute(query).fetchone()[0])
    except sqlite3.Error:  # it is just being made
        return 0
