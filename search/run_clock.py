"""How long a run's phases take, and how much of the search its workers spend training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from evaluation import Evaluation, Ledger

RECORD = "clock"
BUSY = "busy"
"""Beside the phases: seconds that workers spent training children of the search."""


class RunClock:
    """Wall-clock seconds a phase, summed over all processes that worked on the run and ended a phase.

    A process that is killed leaves no time behind, nor are its children counted.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._busy = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what happens inside; kept even if it ends with an exception."""
        started = time.monotonic()
        try:
            yield
        finally:
            record = self.seconds
            record[name] = record.get(name, 0.0) + time.monotonic() - started
            record[BUSY] = record.get(BUSY, 0.0) + self._busy
            self._busy = 0.0
            self._ledger.put_record(RECORD, record)

    def count(self, evaluation: Evaluation) -> None:
        """A child that was trained now (not replayed from the log); its repeats, and what a cache answers, took 0 s."""
        if evaluation.result is not None:
            self._busy += evaluation.result.train_seconds

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by phase, and under `BUSY`."""
        return dict(self._ledger.get_record(RECORD) or {})

    def utilisation(self, workers: int) -> float | None:
        """Share of the workers' time in the search that went into training; None before there is any.

        None, too, without workers: a process that goes on after the last training only replays, and starts none.
        """
        seconds = self.seconds
        if not seconds.get("search") or workers == 0:
            return None
        return seconds.get(BUSY, 0.0) / (workers * seconds["search"])
