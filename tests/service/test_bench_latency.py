"""`netlathe bench latency` from a user's seat."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from archspace import NasBench201Space
from service.bench_cli import app
from service.commands.bench_latency import parse_counts
from service.errors import NetlatheError, NotFoundError, UsageError

SPACE = NasBench201Space()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = list({tuple(row): None for row in rng.integers(0, 5, (1500, 6)).tolist()})
    cost = 1 + np.array([[0.1, 0.3, 1.0, 2.5, 0.7][op] for row in rows for op in row])
    costs = cost.reshape(len(rows), 6).sum(axis=1)
    frame = pd.DataFrame({"arch_str": [SPACE.arch_str(row) for row in rows], "flat": 3.0})
    for name in ("a", "b", "c"):
        frame[name] = costs * rng.normal(1, 0.02, len(rows))
    path = tmp_path_factory.mktemp("table") / "t.csv"
    frame.to_csv(path, index=False)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["latency", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_table_and_records(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    shown = run(
        "--table", table, "--space", "nasbench201", "--device", "a", "b", "--reference", "c",
        "--samples", "20,10", "--seeds", 2, "--json", out,
    )  # fmt: skip
    assert "Spearman" in shown
    assert str(out) in shown.replace("\n", "")
    records = json.loads(out.read_text())["records"]
    assert len(records) == 8
    assert set(records[0]) == {
        "device", "samples", "seed", "spearman", "kendall", "mape", "within_5", "within_10",
        "coverage_90", "fit_seconds",
    }  # fmt: skip
    assert {(r["device"], r["samples"]) for r in records} == {
        ("a", 10), ("a", 20), ("b", 10), ("b", 20)
    }  # fmt: skip


def test_several_values_and_repeated_options_are_the_same(table: Path, tmp_path: Path) -> None:
    common = ["--table", table, "--samples", "10", "--seeds", 1]
    run(*common, "--device", "a", "b", "--json", tmp_path / "x.json")
    run(*common, "--device", "a", "--device", "b", "--json", tmp_path / "y.json")
    first, second = (
        [r["device"] for r in json.loads((tmp_path / name).read_text())["records"]]
        for name in ("x.json", "y.json")
    )
    assert first == second == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"--table": "nowhere.csv"}, NotFoundError, "no table"),
        ({"--device": "aa"}, UsageError, "did you mean"),
        ({"--device": "flat"}, UsageError, "cost the same"),
        ({"--samples": "10;20"}, UsageError, "whole numbers with commas"),
        ({"--samples": "3"}, UsageError, "at least 5"),
        ({"--samples": "5000"}, UsageError, "fewer samples"),
        ({"--space": "nasbench202"}, NotFoundError, "nasbench201 or a run file"),
        ({"--select": "best"}, UsageError, "designed or random"),
        ({"--json": "nowhere/out.json"}, NotFoundError, "no folder"),
    ],
)
def test_wrong_input(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    error: type[NetlatheError],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"--table": str(table), "--device": "a", "--samples": "10", "--seeds": "1"} | changes
    with pytest.raises(error, match=message):
        CliRunner().invoke(
            app,
            ["latency"] + [part for pair in options.items() for part in pair],
            catch_exceptions=False,
        )
    assert not list(tmp_path.iterdir())


def test_samples_are_sorted_and_single() -> None:
    assert parse_counts("--samples", "50, 10,50") == [10, 50]
