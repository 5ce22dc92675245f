"""A copy of a run for Optuna's dashboard: one study a run. Never the source of truth, never in the way.

Whatever goes wrong here (a locked or broken database, a full disk, a missing package) is logged once; the search
goes on, and the mirror tries again later. What it could not write then, it writes with the next batch.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from archspace import SearchSpace
from evaluation import Evaluation
from search.config import ScheduleConfig
from search.mirror_store import MirrorStore, dashboard_command
from search.mirror_trials import MirrorTrial, final_trials, trial_of

if TYPE_CHECKING:
    from search.finals import Final

__all__ = ["OptunaMirror", "dashboard_command"]

_log = logging.getLogger(__name__)

MAX_TRIALS = 5000
"""A run's trials in the mirror, its few finals apart. The dashboard takes 14 s to open 10,000."""

BATCH = 16
"""Trials written together."""

EVERY_S = 15.0
"""Seconds after which an unfinished batch is written too."""

RETRY_S = 60.0
"""Seconds without another attempt after a failure."""


class MirroredRun(Protocol):
    """What the mirror needs to know of a run; `RunParts` is one."""

    @property
    def run_dir(self) -> Path: ...
    @property
    def mirror_dir(self) -> Path | None: ...
    @property
    def space(self) -> SearchSpace: ...
    @property
    def schedule(self) -> ScheduleConfig: ...


class OptunaMirror:
    """Writes evaluations to ``optuna.db`` in the run's `mirror_dir`; does nothing where that is None.

    Only a session's first proposal of an architecture becomes a trial: repeats would show nothing new. A resumed
    run adds what is missing, each proposal once. No method raises, save for KeyboardInterrupt and the like.
    """

    def __init__(self, run: MirroredRun) -> None:
        self._run = run
        self._enabled = run.mirror_dir is not None
        self._store: MirrorStore | None = None
        self._waiting: dict[str, MirrorTrial] = {}  # by key, in order
        self._full = False
        self._failed = False
        self._retry_at = 0.0
        self._written_at = time.monotonic()

    def add(self, session: str, evaluation: Evaluation) -> None:
        """Take an evaluation; it is written with its batch. `session` as in ``"ppo-0"``."""
        if not self._enabled or self._full or not (evaluation.is_new or evaluation.charged):
            return
        trial = trial_of(self._run.space, session, evaluation, self._run.schedule.search)
        self._waiting[trial.key] = trial
        now = time.monotonic()
        due = len(self._waiting) >= BATCH or now - self._written_at >= EVERY_S
        if due and now >= self._retry_at:
            self.flush()

    def add_finals(self, finals: Sequence[Final]) -> None:
        """Write the picks after the full schedule, with measured costs and test accuracy."""
        if not self._enabled:
            return
        for trial in final_trials(self._run.space, finals, self._run.schedule.final):
            self._waiting[trial.key] = trial
        self.flush()

    def flush(self) -> None:
        """Write what waits, now; what cannot be written goes on waiting."""
        if not self._enabled or not self._waiting:
            return
        self._written_at = time.monotonic()
        try:
            self._write()
        except Exception as error:  # the search must go on, whatever a copy's storage does
            self._close_store()
            self._retry_at = time.monotonic() + RETRY_S
            if not self._failed:
                _log.warning(
                    "the copy for Optuna's dashboard is behind; the search goes on: %s", error
                )
            self._failed = True

    def close(self) -> None:
        """Write what waits and let go of the database. Safe to call twice."""
        self.flush()
        self._close_store()

    def _write(self) -> None:
        if self._store is None:
            assert self._run.mirror_dir is not None
            self._store = MirrorStore.open(
                self._run.mirror_dir, self._run.run_dir, self._run.space.decisions
            )
        store = self._store
        for key, trial in list(self._waiting.items()):
            fits = store.size < MAX_TRIALS or trial.is_final or store.has(key)
            if fits:
                store.add(trial)
            else:
                self._say_full()
            del self._waiting[key]

    def _say_full(self) -> None:
        if self._full:
            return
        self._full = True
        _log.warning(
            "the copy for Optuna's dashboard ends at %d trials; the run's own tables have all of them",
            MAX_TRIALS,
        )

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()
