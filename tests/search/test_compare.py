"""Runs side by side: numbers, averages over seeds, and folders that cannot be compared."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pandas as pd
import pytest

from evaluation import Evaluation
from search.compare import COLUMNS, STRATEGY_COLUMNS, compare_runs
from search.compare_plots import progress_by_strategy
from search.run_errors import DamagedRun, NotARun, OtherVersion
from search.summary import SUMMARY_FILE
from search.trials import trials_frame
from tests.search.run_samples import SampleRun, make_evaluation


@pytest.fixture(scope="module")
def run_dirs(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    return [
        SampleRun(seed=seed, name=f"digits-s{seed}", children=16).write(root / f"digits-s{seed}")
        for seed in range(3)
    ]


@pytest.fixture(scope="module")
def comparison(run_dirs):
    return compare_runs(run_dirs)


def test_a_row_for_each_session_and_pick(comparison):
    rows = comparison.rows
    assert comparison.columns == COLUMNS
    assert all(len(row) == len(COLUMNS) for row in rows)
    assert all(isinstance(cell, str) for row in rows for cell in row)
    for seed in range(3):
        own = [row[1] for row in rows if row[0] == f"digits-s{seed}"]
        assert own[:3] == [f"ppo-{seed}", f"random-{seed}", f"evolution-{seed}"]
        assert "best" in own[3]
        assert all("(test, measured)" in what for what in own[3:])
    assert comparison.notes == ()


def test_strategies_are_averaged_over_runs(comparison, run_dirs):
    by_name = {row.strategy: row for row in comparison.strategies}
    assert list(by_name) == ["ppo", "random", "evolution"]
    rewards = [
        s.best_reward for r in comparison.runs for s in r.summary.sessions if s.strategy == "ppo"
    ]
    assert by_name["ppo"].best_reward.mean == pytest.approx(sum(rewards) / 3)
    assert by_name["ppo"].best_reward.std == pytest.approx(pd.Series(rewards).std())
    assert sum(row.first_in for row in comparison.strategies) >= 3
    assert all(len(row) == len(STRATEGY_COLUMNS) for row in comparison.strategy_rows)
    assert all(row.std == 0 for row in [compare_runs(run_dirs[:1]).strategies[0].best_reward])


def test_hypervolumes_have_one_reference(comparison):
    slowest = max(
        run.trials.loc[run.trials["status"] == "ok", "latency_ms"].max() for run in comparison.runs
    )
    assert comparison.reference == (0.0, pytest.approx(slowest))
    assert all(0 < row.hypervolume.mean < slowest for row in comparison.strategies)


def test_json_has_numbers(comparison):
    data = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [run["title"] for run in data["runs"]] == ["digits-s0", "digits-s1", "digits-s2"]
    assert data["strategies"][0]["best_reward"]["mean"] == comparison.strategies[0].best_reward.mean


def test_picture_is_one_offline_page(comparison, tmp_path):
    path = comparison.write_picture(tmp_path / "compare.html")
    text = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert text.count('type="application/json"') == 2
    assert "digits-s2: ppo-2" in text


def test_differences_are_said(run_dirs, tmp_path):
    other = SampleRun(seed=5, name="other", children=4)
    folder = other.write(tmp_path / "other")
    summary = replace(other.summary, device="another", objective="inverse")
    (folder / SUMMARY_FILE).write_text(summary.to_json())
    notes = " ".join(compare_runs([run_dirs[0], folder]).notes)
    assert "different devices" in notes
    assert "different objectives" in notes
    assert "search spaces" not in notes


def test_runs_of_one_name_are_told_apart(run_dirs, tmp_path):
    copy = shutil.copytree(run_dirs[0], tmp_path / run_dirs[0].name)
    titles = [run.title for run in compare_runs([run_dirs[0], copy]).runs]
    assert len(set(titles)) == 2


def test_run_in_which_nothing_worked(tmp_path):
    run = SampleRun(children=4)
    run.sessions = {"ppo-0": [make_evaluation(0, rejected="latency_ms 3 > 2")]}
    folder = tmp_path / "failed"
    folder.mkdir()
    session = replace(
        SampleRun(children=4).summary.sessions[0],
        best_reward=None,
        best_accuracy=None,
        front_size=0,
    )
    summary = replace(SampleRun(children=4).summary, picks=(), sessions=(session,))
    (folder / SUMMARY_FILE).write_text(summary.to_json())
    trials_frame(run.sessions, fidelity="search").to_parquet(folder / "trials.parquet")
    comparison = compare_runs([folder])
    assert comparison.rows[0][2] == "–"
    assert comparison.strategies == ()
    comparison.write_picture(tmp_path / "compare.html")


def test_folders_that_are_no_runs_are_refused(run_dirs, tmp_path):
    with pytest.raises(NotARun, match="at least one"):
        compare_runs([])
    with pytest.raises(NotARun, match="is not a run"):
        compare_runs([run_dirs[0], tmp_path])
    old = shutil.copytree(run_dirs[0], tmp_path / "old")
    data = json.loads((old / SUMMARY_FILE).read_text())
    (old / SUMMARY_FILE).write_text(json.dumps(data | {"schema_version": 0}))
    with pytest.raises(OtherVersion, match="use the version that wrote it"):
        compare_runs([old])
    broken = shutil.copytree(run_dirs[0], tmp_path / "broken")
    (broken / "trials.parquet").write_bytes(b"nothing")
    with pytest.raises(DamagedRun, match=r"trials\.parquet"):
        compare_runs([broken])


def test_progress_goes_on_where_a_session_has_no_news():
    def session(*rewards: float) -> list[Evaluation]:
        return [make_evaluation(i, reward=r) for i, r in enumerate(rewards)]

    frames = [
        trials_frame({"ppo-0": session(0.1, 0.3, 0.2)}, fidelity="search"),
        trials_frame({"ppo-1": session(0.5, 0.4)}, fidelity="search"),
    ]
    curves = progress_by_strategy(frames)["ppo"]
    assert curves.index.tolist() == [1, 2], "as far as both went"
    assert curves[0].tolist() == [0.1, 0.3]
    assert curves[1].tolist() == [0.5, 0.5]
