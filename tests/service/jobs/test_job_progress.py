"""What is said of a job while it runs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from evaluation import Ledger
from service.errors import NetlatheError
from service.jobs.progress import SessionProgress, _front_size, pace, read_progress
from service.run_folder import RunFolder


def session(paid: float, budget: float = 64) -> SessionProgress:
    return SessionProgress(
        name="ppo-0", paid=paid, budget=budget, children=int(paid), front=1, train_seconds=0.0,
        best_reward=None,
        best_accuracy=None, best_latency_ms=None, best_digest=None,
    )  # fmt: skip


def test_pace_by_hand() -> None:
    """16 children in 10 minutes; 32 and a control's 64 are left: one hour, ± 50 %."""
    found = pace([session(32)], [session(16)], 600, 32 + 64)
    assert found is not None
    assert found.per_hour == pytest.approx(96)
    assert (found.hours_low, found.hours_high) == (pytest.approx(0.5), pytest.approx(2.0))


def test_a_ledger_that_was_only_just_made_shows_nothing(tmp_path: Path) -> None:
    assert read_progress(RunFolder(tmp_path)) == []
    (tmp_path / "ledger.db").touch()
    assert read_progress(RunFolder(tmp_path)) == []


def test_no_pace_before_two_children() -> None:
    assert pace([session(1)], [], 60, 63) is None
    assert pace([], [], 60, 64) is None


def test_front_by_hand() -> None:
    assert _front_size([]) == 0
    assert _front_size([(0.9, 2.0), (0.8, 1.0), (0.7, 1.5), (0.9, 3.0), (0.8, 1.0)]) == 2


def test_a_ledger_whose_tables_are_not_there_yet(tmp_path: Path) -> None:
    """Its search has made the file a moment ago; and so has the next one, after the run was deleted."""
    folder = RunFolder(tmp_path)
    folder.ledger_file.touch()
    assert read_progress(folder) == []
    Ledger(folder.ledger_url).close()
    assert read_progress(folder) == []
    for file in tmp_path.iterdir():
        file.unlink()
    sqlite3.connect(folder.ledger_file).execute("PRAGMA journal_mode=WAL").close()
    assert read_progress(folder) == []


def test_a_ledger_that_is_something_else_is_told(tmp_path: Path) -> None:
    RunFolder(tmp_path).ledger_file.write_bytes(b"this is no database at all" * 100)
    with pytest.raises(NetlatheError, match="not a database"):
        read_progress(RunFolder(tmp_path))
