"""`netlathe bench search`: the command, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from archspace import NasBench201Space
from service.cli import app
from service.errors import ConflictError, NotFoundError, UsageError

FIELDS = {
    "strategy", "seed", "budget", "best", "regret", "report", "hypervolume", "new_evaluations", "strategy_seconds",
}  # fmt: skip


def netlathe(*arguments: object) -> Result:
    done = CliRunner().invoke(app, ["bench", "search", *map(str, arguments)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 cells, some without a latency."""
    space, rng = NasBench201Space(), np.random.default_rng(0)
    cells = sorted({space.sample(rng) for _ in range(150)})
    latency = [1 + cell.count(3) + 0.1 * cell.count(2) for cell in cells]
    frame = pd.DataFrame(
        {
            "arch_str": [space.arch_str(cell) for cell in cells],
            "val": [80 + 2 * cell.count(3) - 3 * cell.count(0) + 0.1 * cell[5] for cell in cells],
            "test": [79 + 2 * cell.count(3) for cell in cells],
            "ms": [None if i % 10 == 0 else value for i, value in enumerate(latency)],
            "mj": [3 * value for value in latency],
        }
    )
    path = tmp_path_factory.mktemp("table") / "cells.csv"
    frame.to_csv(path, index=False)
    return path


def test_records_table_and_plot(table: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "out.json", tmp_path / "plot.html"
    done = netlathe(
        "--table", table, "--accuracy", "val", "--latency", "ms", "--energy", "mj", "--report", "test", "ms",
        "--objective", "weighted", "--strategies", "surrogate,random", "--budgets", "10,20", "--seeds", "2",
        "--json", out, "--plot", plot,
    )  # fmt: skip
    assert done.exit_code == 0
    records = json.loads(out.read_text())["records"]
    assert len(records) == 2 * 2 * 2
    assert all(set(record) == FIELDS for record in records)
    assert [(r["strategy"], r["seed"], r["budget"]) for r in records][:3] == [
        ("surrogate", 0, 10), ("surrogate", 0, 20), ("surrogate", 1, 10),
    ]  # fmt: skip
    assert set(records[0]["report"]) == {"test", "ms"}
    assert "surrogate" in done.stdout
    assert "hypervolume" in plot.read_text()
    assert not out.with_name("out.json.partial").exists()


@pytest.mark.slow
def test_workers_give_the_same_records(table: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        netlathe(
            "--table", table, "--accuracy", "val", "--strategies", "ppo,random", "--budgets", "15", "--seeds", "2",
            "--workers", workers, "--json", out,
        )  # fmt: skip
        records = json.loads(out.read_text())["records"]
        found.append([{**record, "strategy_seconds": 0} for record in records])
    assert found[0] == found[1]


def test_a_stopped_bench_goes_on(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from search import SearchBench

    out = tmp_path / "out.json"
    arguments = (
        "--table", table, "--accuracy", "val", "--strategies", "random", "--budgets", "10", "--seeds", "3", "--json", out,
    )  # fmt: skip
    run, calls = SearchBench.run, []

    def stopped(self: SearchBench, strategy: str, seed: int):  # type: ignore[no-untyped-def]
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return run(self, strategy, seed)

    monkeypatch.setattr(SearchBench, "run", stopped)
    assert netlathe(*arguments).exit_code != 0
    partial = out.with_name("out.json.partial")
    partial.write_bytes(partial.read_bytes()[:-20])  # torn by the kill
    with pytest.raises(ConflictError, match="other settings"):
        netlathe(*arguments, "--batch", "3")
    netlathe(*arguments)
    assert calls == [0, 1, 2, 1, 2]
    assert len(json.loads(out.read_text())["records"]) == 3


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (("--strategies", "pp0"), UsageError, "pp0"),
        (("--strategies", ","), UsageError, "none"),
        (("--objective", "best"), UsageError, "accuracy, weighted, pareto"),
        (("--objective", "pareto"), UsageError, "latency column"),
        (("--budgets", "10,x"), UsageError, "--budgets"),
        (("--budgets", "5000"), UsageError, "5000"),
        (("--costs", "guess"), UsageError, "table or fitted"),
        (("--window", "4"), UsageError, "local wait for whole batches"),
        (("--accuracy", "vall"), UsageError, "did you mean val"),
        (("--table", "no.csv"), NotFoundError, "no table"),
        (("--json", "no/where.json"), NotFoundError, "no folder"),
    ],
)
def test_wrong_input(
    table: Path, changes: tuple[str, str], error: type[Exception], message: str
) -> None:
    given = {"--table": str(table), "--accuracy": "val", "--seeds": "1"} | {changes[0]: changes[1]}
    with pytest.raises(error, match=message):
        netlathe(*(part for pair in given.items() for part in pair))
