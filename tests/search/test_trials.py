"""The run's tables and summary: columns, types, round trips, and files that are not what they should be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest

from evaluation import FailureReason
from search.pareto import pareto_front
from search.run_errors import DamagedRun, NotARun, OtherVersion
from search.summary import SUMMARY_FILE, RunSummary, merged_picks, read_summary
from search.trials import (
    TRIAL_COLUMNS,
    TRIALS_FILE,
    pareto_frame,
    read_trials,
    timings_frame,
    trials_frame,
    write_csv_atomic,
    write_parquet_atomic,
)
from tests.search.run_samples import make_evaluation


def test_one_row_of_each_kind():
    history = [
        make_evaluation(
            0, 0.9, 1.5, choices=(1, 2), exit_thresholds=(0.2,), exit_shares=(0.4, 0.6)
        ),
        make_evaluation(1, failure=FailureReason.OOM, message="too big"),
        make_evaluation(2, rejected="latency_ms 3.1 > 2.0"),
        make_evaluation(3, 0.9, latency_ms=None, is_new=False),
    ]
    frame = trials_frame({"local-search-7": history}, fidelity="search")
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == TRIAL_COLUMNS
    assert set(frame["strategy"]) == {"local-search"}
    assert set(frame["seed"]) == {7}
    assert list(frame["status"]) == ["ok", "failed", "rejected", "ok"]
    assert list(frame["failure"]) == ["", "OOM", "", ""]
    assert list(frame["message"]) == ["", "too big", "latency_ms 3.1 > 2.0", ""]
    assert list(frame["charged"]) == [1, 1, 0, 0]
    assert list(frame["accuracy"].isna()) == [False, True, True, False]
    assert list(frame["num_params"].isna()) == [False, False, False, True]
    assert json.loads(frame["choices"][0]) == [1, 2]
    assert json.loads(frame["exit_thresholds"][0]) == [0.2]
    assert json.loads(frame["exit_shares"][0]) == [0.4, 0.6]
    assert frame["latency_worst_ms"][0] == pytest.approx(1.8)


def test_trials_say_nothing_about_time_or_workers(sample_run):
    slow = {
        name: [
            replace(e, result=e.result and replace(e.result, train_seconds=99.0, worker="other"))
            for e in history
        ]
        for name, history in sample_run.sessions.items()
    }
    pd.testing.assert_frame_equal(trials_frame(slow, fidelity="search"), sample_run.trials)
    timings = timings_frame(slow)
    assert set(timings["worker"]) == {"other"}
    assert len(timings) == sum(e.is_new and not e.rejected for h in slow.values() for e in h)


def test_parquet_round_trip_is_exact_and_repeatable(sample_run, tmp_path):
    path = tmp_path / TRIALS_FILE
    write_parquet_atomic(sample_run.trials, path)
    pd.testing.assert_frame_equal(read_trials(tmp_path), sample_run.trials)
    first = path.read_bytes()
    write_parquet_atomic(sample_run.trials, path)
    assert path.read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [TRIALS_FILE], "no temporary file stays"


def test_empty_run_has_all_columns(tmp_path):
    write_parquet_atomic(trials_frame({"ppo-0": []}, fidelity="search"), tmp_path / TRIALS_FILE)
    assert list(read_trials(tmp_path).columns) == list(TRIAL_COLUMNS)


def test_failed_write_leaves_the_old_file(sample_run, tmp_path, monkeypatch):
    path = tmp_path / TRIALS_FILE
    write_parquet_atomic(sample_run.trials, path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("archspace.atomic_file.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_parquet_atomic(sample_run.trials.head(1), path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_unusable_trial_files_are_named(tmp_path):
    with pytest.raises(NotARun, match=TRIALS_FILE):
        read_trials(tmp_path)
    (tmp_path / TRIALS_FILE).write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DamagedRun, match="cannot be read"):
        read_trials(tmp_path)
    pd.DataFrame({"session": ["ppo-0"]}).to_parquet(tmp_path / TRIALS_FILE)
    with pytest.raises(OtherVersion, match="lacks the columns strategy"):
        read_trials(tmp_path)


def test_pareto_table_marks_the_picks(sample_run, tmp_path):
    front = pareto_front(sample_run.main)
    frame = pareto_frame(front, sample_run.picks, fidelity="search", session="ppo-0")
    named = " ".join(frame["pick"]).split()
    assert sorted(named) == ["best", "fastest", "knee"]
    assert list(frame["digest"]) == [e.architecture.digest for e in front]
    write_csv_atomic(frame, tmp_path / "pareto.csv")
    with (tmp_path / "pareto.csv").open(newline="") as file:
        back = list(csv.DictReader(file))
    assert [float(row["latency_ms"]) for row in back] == list(frame["latency_ms"])


def test_summary_round_trip(sample_run):
    summary = sample_run.summary
    huge = replace(summary, space=replace(summary.space, sequences=7 * 10**41))
    assert RunSummary.from_json(huge.to_json()) == huge


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.update(schema_version=2), OtherVersion, "schema_version is 2.*netlathe 0.1.0"),
        (lambda d: d.pop("picks"), DamagedRun, "picks"),
        (lambda d: d.update(colour="red"), DamagedRun, "colour"),
        (lambda d: d["sessions"][0].update(spent="all"), DamagedRun, "sessions.0.spent"),
        (lambda d: d["picks"][0]["energy"].update(source="guessed"), DamagedRun, "energy"),
    ],
)
def test_summaries_of_other_forms_are_refused(sample_run, change, error, message):
    data = json.loads(sample_run.summary.to_json())
    change(data)
    with pytest.raises(error, match=message):
        RunSummary.from_json(json.dumps(data))


@pytest.mark.parametrize("text", ["", "{", "[]", '"a"', "[" * 3000])
def test_what_is_no_summary_is_said(text, tmp_path):
    (tmp_path / SUMMARY_FILE).write_text(text)
    with pytest.raises(DamagedRun, match="cannot be read"):
        read_summary(tmp_path)


def test_folders_without_a_summary(tmp_path):
    with pytest.raises(NotARun, match="is not a run"):
        read_summary(tmp_path)
    (tmp_path / "run.yaml").write_text("format: 1\n")
    with pytest.raises(NotARun, match="netlathe resume"):
        read_summary(tmp_path)


def test_not_a_number_never_reaches_the_file(sample_run):
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(sample_run.summary, utilisation=float("nan")).to_json()


def test_picks_that_coincide_are_named_together(sample_run):
    best = sample_run.summary.picks[0]
    same = replace(best, pick="fastest")
    assert [p.pick for p in merged_picks([best, same])] == ["best = fastest"]
