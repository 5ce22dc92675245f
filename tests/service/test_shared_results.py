"""Searches at the same time that share their children's results, from a user's seat."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

from evaluation import Evaluator, SharingEvaluator, TrainingEvaluator
from service.config_file import apply_overrides, read_mapping, validate
from service.data_and_space import load_dataset, make_space
from service.deployment import SHARED_RESULTS
from service.errors import UsageError
from service.evaluators import make_evaluator
from service.problem import Problem
from service.run_config import RunConfig
from tests.service.command_line import netlathe
from tests.service.test_end_to_end import assert_same_result, started

CONFIG = Path(__file__).parents[2] / "configs" / "digits-quick.yaml"
TINY = [
    "--set", "search.budget=10",
    "--set", "search.strategy={name: random, batch_size: 5}",
    "--set", "schedule.search_epochs=2",
    "--set", "schedule.final_epochs=3",
    "--set", "profile.budget_s=6",
    "--set", "evaluator.kind=local",
    "--set", "mirror.enabled=false",
]  # fmt: skip
SEARCHES = {"a": "evolution", "b": "local"}
"""By name: the control beside the random search that both have."""


def arguments(name: str, to: Path, *more: object) -> list[object]:
    controls = f"search.controls=[{{name: {SEARCHES[name]}}}]"
    return ["search", CONFIG, "--out", to, *TINY, "--set", controls, *more]


def searched(name: str, to: Path, *more: object) -> None:
    done = netlathe(*arguments(name, to, *more))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Each with nobody to share with, on one device."""
    folder = tmp_path_factory.mktemp("alone")
    runs = {name: folder / name for name in SEARCHES}
    searched("a", runs["a"])
    searched("b", runs["b"], "--device-file", runs["a"] / "device.json")
    return runs


def trained(runs: Sequence[Path]) -> Counter[str]:
    """How often each child was trained, by its digest."""
    counts: Counter[str] = Counter()
    for run in runs:
        keys = ["session", "sequence"]
        rows = pd.read_parquet(run / "timings.parquet").merge(
            pd.read_parquet(run / "trials.parquet"), on=keys
        )
        counts.update(rows["digest"][rows["worker"] != ""])
    return counts


def claims(database: Path) -> int:
    """Number of children that are being trained."""
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM shared_claims").fetchone()[0])
        except sqlite3.OperationalError:
            return 0  # its tables are not made yet


def asked_for(run: Path) -> set[str]:
    return set(pd.read_parquet(run / "trials.parquet")["digest"])


@pytest.mark.slow
def test_two_searches_at_once_train_each_child_once_and_find_the_same(
    alone: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARED_RESULTS, f"sqlite:///{tmp_path / 'results.db'}")
    device = ("--device-file", alone["a"] / "device.json")
    runs = {name: tmp_path / name for name in SEARCHES}
    with ThreadPoolExecutor(2) as pool:
        for each in [pool.submit(searched, name, run, *device) for name, run in runs.items()]:
            each.result()
    counts = trained(list(runs.values()))
    assert counts == dict.fromkeys(asked_for(runs["a"]) | asked_for(runs["b"]), 1)
    assert sum(trained(list(alone.values())).values()) >= counts.total() + 10
    for name, run in runs.items():
        assert (run / "trials.parquet").read_bytes() == (
            alone[name] / "trials.parquet"
        ).read_bytes()
        assert_same_result(run, alone[name])


@pytest.mark.slow
def test_a_search_that_is_killed_hands_its_child_on(
    alone: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SHARED_RESULTS, f"sqlite:///{tmp_path / 'results.db'}")
    device = ("--device-file", alone["a"] / "device.json")
    runs = {name: tmp_path / name for name in SEARCHES}
    killed = started(*arguments("a", runs["a"], *device))
    end = time.monotonic() + 120
    while not claims(tmp_path / "results.db"):
        assert time.monotonic() < end
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert claims(tmp_path / "results.db") == 1  # it died over a child
    searched("b", runs["b"], *device)
    assert netlathe("resume", runs["a"]).returncode == 0
    counts = trained(list(runs.values()))
    assert set(counts.values()) == {1}
    # a result may have been shared and not yet written into the killed one's ledger
    assert counts.total() >= len(asked_for(runs["a"]) | asked_for(runs["b"])) - 1
    for name, run in runs.items():
        assert_same_result(run, alone[name])


def evaluator_of(config: RunConfig, cache_dir: Path) -> Evaluator:
    dataset = load_dataset(config)
    space = make_space(config, dataset)
    problem = Problem(config=config, space=space, costing=None, dataset=dataset)  # type: ignore[arg-type]
    return make_evaluator(problem, cache_dir)


def test_only_where_the_environment_names_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = ["evaluator.kind=local"]
    config = validate(RunConfig, apply_overrides(read_mapping(CONFIG), changes), str(CONFIG))
    monkeypatch.delenv(SHARED_RESULTS, raising=False)
    plain = evaluator_of(config, tmp_path)
    assert type(plain) is TrainingEvaluator
    monkeypatch.setenv(SHARED_RESULTS, f"sqlite:///{tmp_path / 'results.db'}")
    with evaluator_of(config, tmp_path) as sharing:
        assert type(sharing) is SharingEvaluator
        assert sharing.key == plain.key
    assert not (tmp_path / "results.db").exists()  # nobody has asked for anything yet
    monkeypatch.setenv(SHARED_RESULTS, "mysql://host/db")
    with pytest.raises(UsageError, match=f"{SHARED_RESULTS}: .*expected sqlite"):
        evaluator_of(config, tmp_path)
