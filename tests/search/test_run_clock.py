"""Time by phase, over all processes that worked on a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluation import Ledger
from search.run_clock import BUSY, RunClock


def test_time_adds_up_over_processes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    for _ in range(2):
        with Ledger(url) as ledger, RunClock(ledger).phase("search"):
            pass
    with Ledger(url) as ledger:
        seconds = RunClock(ledger).seconds
        assert set(seconds) == {"search", BUSY}
        ledger.put_record("clock", {"search": 10.0, BUSY: 15.0})
        assert RunClock(ledger).utilisation(2) == pytest.approx(0.75)


def test_a_process_that_only_replays_has_no_workers(tmp_path: Path) -> None:
    """A run killed between its last training and its summary."""
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        clock = RunClock(ledger)
        assert clock.utilisation(2) is None
        ledger.put_record("clock", {"search": 10.0, BUSY: 15.0})
        assert clock.utilisation(0) is None
