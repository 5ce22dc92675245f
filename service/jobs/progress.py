"""How far a job's search is, read from its ledger without touching it."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from threading import Lock
from typing import Any, TypeAlias, TypeVar

import sqlalchemy as sa

from evaluation.database import make_engine, make_url
from evaluation.tables import (
    in_scope,
    proposals_table,
    scope_prefix,
    session_name,
    sessions_table,
)
from service.errors import NetlatheError
from service.run_folder import RunFolder

T = TypeVar("T")
Signature: TypeAlias = tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionProgress:
    """One strategy of a run.

    Attributes:
        paid, budget: in children trained in full.
        children: results that were new.
        train_seconds: that workers spent training them, all together; 0 for what a cache or a table answered.
        front: networks that no other beats in both accuracy and expected latency.
        best_reward, best_accuracy: accuracy (share 0-1) is that of the network with the best reward; None before the first.
        best_digest: of that network.
    """

    name: str
    paid: float
    budget: float
    children: int
    train_seconds: float
    front: int
    best_reward: float | None
    best_accuracy: float | None
    best_latency_ms: float | None
    best_digest: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast, and when it will be over: hours, from the rate's own spread (a Poisson count's, ± 2 σ)."""

    per_hour: float
    hours_low: float
    hours_high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One result of a session.

    `accuracy` (share 0-1) and `latency_ms` (predicted, exits taken as measured) are None for a child that failed, and for one
    that was trained at a reduced fidelity.
    """

    session: str
    sequence: int
    digest: str
    is_new: bool
    paid: float
    accuracy: float | None
    latency_ms: float | None
    reward: float | None


_TRIAL_KEYS = tuple(field.name for field in fields(Trial))


def read_progress(folder: RunFolder) -> list[SessionProgress]:
    """The sessions that have begun, in order; [] before the first."""
    return _reader(folder).progress()


def read_trials(folder: RunFolder, session: str | None = None) -> list[Trial]:
    """All results so far, or one session's, in order of proposal."""
    return _reader(folder).trials(session)


def read_trials_json(folder: RunFolder) -> str:
    """All results so far as a JSON list of `Trial`s, made once for each change of the ledger."""
    return _reader(folder).trials_json()


@lru_cache(maxsize=512)
def _reader(folder: RunFolder) -> _LedgerReader:
    return _LedgerReader(folder)


@dataclass
class _Session:
    """What was read of one session; `unsettled` is the first sequence that may still change."""

    row: sa.Row[Any]
    trials: dict[int, Trial]
    seconds: dict[int, float] = field(default_factory=dict)
    unsettled: int = 0
    progress: SessionProgress | None = None


class _LedgerReader:
    """Reads a ledger once, and then what has come to it. Several threads may ask at once."""

    def __init__(self, folder: RunFolder) -> None:
        self._folder = folder
        self._lock = Lock()
        self._seen: Signature = ()
        self._sessions: dict[int, _Session] = {}
        self._json: str | None = None

    def progress(self) -> list[SessionProgress]:
        with self._lock:
            self._read()
            for session in self._sessions.values():
                session.progress = session.progress or _progress_of(session)
            return [session.progress for session in self._sessions.values() if session.progress]

    def trials(self, name: str | None) -> list[Trial]:
        with self._lock:
            self._read()
            return self._trials(name)

    def trials_json(self) -> str:
        with self._lock:
            self._read()
            if self._json is None:
                # thousands of rows: written as they are, not copied as `asdict` does
                rows = [{key: getattr(t, key) for key in _TRIAL_KEYS} for t in self._trials(None)]
                self._json = json.dumps(rows, allow_nan=False)
            return self._json

    def _trials(self, name: str | None) -> list[Trial]:
        return [
            trial
            for session in self._sessions.values()
            if name in (None, _name(session.row))
            for _, trial in sorted(session.trials.items())
        ]

    def _read(self) -> None:
        signature = _signature(self._folder)
        if signature == self._seen:
            return
        self._json = None
        if not signature or not self._seen or signature[0][:2] != self._seen[0][:2]:
            self._sessions.clear()  # another ledger than before, or none
        read_ledger(self._folder, self._read_sessions)
        self._seen = signature

    def _read_sessions(self, connection: sa.Connection) -> None:
        scope = scope_prefix(self._folder.ledger_scope)
        query = sa.select(sessions_table).where(in_scope(scope))
        for row in connection.execute(query.order_by(sessions_table.c.id)).all():
            session = self._sessions.setdefault(row.id, _Session(row, {}))
            session.row, session.progress = row, None  # its budget may have grown
            _read_session(connection, session)


def _read_session(connection: sa.Connection, session: _Session) -> None:
    table = proposals_table
    query = (
        sa.select(table.c.sequence, table.c.digest, table.c.is_new, table.c.charged)
        .add_columns(table.c.reward, table.c.result, table.c.costs, table.c.fidelity)
        .where(table.c.session_id == session.row.id, table.c.status == "done")
        .where(table.c.sequence >= session.unsettled)
        .order_by(table.c.sequence)
    )
    settled = True
    for row in connection.execute(query):
        result = json.loads(row.result) if row.result else {}
        # a lost child is evaluated again when its search goes on
        settled = settled and row.sequence == session.unsettled and result.get("failure") != "LOST"
        session.unsettled += settled
        session.trials[row.sequence] = _trial(session.row, row, result.get("accuracy"))
        session.seconds[row.sequence] = result.get("train_seconds", 0.0)


def _trial(session: sa.Row[Any], row: sa.Row[Any], accuracy: float | None) -> Trial:
    full = row.fidelity is None and accuracy is not None
    return Trial(
        session=_name(session),
        sequence=row.sequence,
        digest=row.digest,
        is_new=bool(row.is_new),
        paid=row.charged or 0.0,
        accuracy=accuracy if full else None,
        latency_ms=json.loads(row.costs)["latency_ms"]["value"] if full and row.costs else None,
        reward=row.reward if full else None,
    )


def _name(session: sa.Row[Any]) -> str:
    return session_name(session.strategy, session.seed)


def read_ledger(folder: RunFolder, read: Callable[[sa.Connection], T]) -> T | None:
    """What `read` finds in the run's ledger; None where there is none yet. Raises NetlatheError where it cannot be read."""
    if not (folder.ledger_is_elsewhere or folder.ledger_file.is_file()):
        return None
    engine = _engine(folder.ledger_url)
    try:
        try:
            with engine.connect() as connection:
                return read(connection)
        except sa.exc.DBAPIError:
            if sa.inspect(engine).has_table(proposals_table.name):
                raise
            return None  # its search has only just made the file
    except (sa.exc.DBAPIError, ValueError) as error:  # ValueError: no UTF-8, or no JSON
        where = "its database" if folder.ledger_is_elsewhere else folder.ledger_file
        cause = getattr(error, "orig", error)
        raise NetlatheError(f"the ledger of {folder.path}, {where}: {cause}") from error
    finally:
        if not folder.ledger_is_elsewhere:
            engine.dispose()  # thousands of files may be looked at


@lru_cache(maxsize=512)
def _engine(url: str) -> sa.Engine:
    """A new one would compile each query anew."""
    return make_engine(make_url(url))


def _signature(folder: RunFolder) -> Signature:
    """Of the ledger and of what was written to it last; of one in a database, another each time."""
    if folder.ledger_is_elsewhere:
        return (("database", 0, time.monotonic_ns(), 0),)
    found = []
    for file in (folder.ledger_file, folder.ledger_file.with_name("ledger.db-wal")):
        try:
            status = file.stat()
        except FileNotFoundError:
            continue
        found.append((file.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return tuple(found)


def _progress_of(session: _Session) -> SessionProgress:
    trials = list(session.trials.values())
    scored = [trial for trial in trials if trial.reward is not None]
    best = max(scored, key=lambda trial: trial.reward or 0.0, default=None)
    points = [
        (trial.accuracy, trial.latency_ms)
        for trial in scored
        if trial.accuracy is not None and trial.latency_ms is not None
    ]
    return SessionProgress(
        name=_name(session.row),
        paid=sum(trial.paid for trial in trials),
        budget=session.row.budget,
        children=sum(trial.is_new for trial in trials),
        train_seconds=sum(session.seconds.values()),
        front=_front_size(points),
        best_reward=best.reward if best else None,
        best_digest=best.digest if best else None,
        best_accuracy=best.accuracy if best else None,
        best_latency_ms=best.latency_ms if best else None,
    )


def _front_size(points: Sequence[tuple[float, float]]) -> int:
    """Points that no other beats; the fastest first, each further one must be more accurate."""
    size, best = 0, -math.inf
    for accuracy, _ in sorted(set(points), key=lambda p: (p[1], -p[0])):
        if accuracy > best:
            size, best = size + 1, accuracy
    return size


def pace(
    sessions: Sequence[SessionProgress],
    before: Sequence[SessionProgress],
    seconds: float,
    left: float,
) -> Pace | None:
    """From what was paid in the last `seconds`, since `before`; None while that is too little to tell.

    Args:
        left: children that are still to be paid for.
    """
    done = sum(s.paid for s in sessions) - sum(s.paid for s in before)
    if done < 2 or seconds <= 0:
        return None
    per_hour = 3600 * done / seconds
    spread = min(0.9, 2 / math.sqrt(done))
    hours = left / per_hour
    return Pace(per_hour=per_hour, hours_low=hours * (1 - spread), hours_high=hours / (1 - spread))


def utilisation(
    sessions: Sequence[SessionProgress],
    before: Sequence[SessionProgress],
    seconds: float,
    workers: int | None,
) -> float | None:
    """Share (0-1) of the workers' last `seconds` that went into training, about: a child counts when it ends, with all its
    training. None while none has ended, or where nobody trains or the number of workers is not known."""
    busy = sum(s.train_seconds for s in sessions) - sum(s.train_seconds for s in before)
    if busy <= 0 or seconds <= 0 or workers is None:
        return None
    return min(1.0, busy / (workers * seconds))
