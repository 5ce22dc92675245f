"""How far a job's search is, read from its ledger without touching it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from evaluation.storage import make_engine, make_url
from evaluation.tables import proposals_table, session_name, sessions_table
from service.errors import NetlatheError
from service.jobs.states import JobState
from service.jobs.store import JobEvent
from service.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionProgress:
    """One strategy of a run.

    Attributes:
        paid, budget: in children trained in full.
        children: results that were new.
        front: networks that no other beats in both accuracy and expected latency.
        best_reward, best_accuracy: accuracy (share 0-1) is that of the network with the best reward; None before the first.
        best_digest: of that network.
    """

    name: str
    paid: float
    budget: float
    children: int
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


def read_progress(folder: RunFolder) -> list[SessionProgress]:
    """The sessions that have begun, in order; [] before the first."""
    if not (folder.path / "ledger.db").is_file():
        return []
    engine = make_engine(make_url(folder.ledger_url))
    try:
        if not sa.inspect(engine).has_table(proposals_table.name):
            return []  # its search has only just made the file
        with engine.connect() as connection:
            rows = connection.execute(sa.select(sessions_table).order_by(sessions_table.c.id)).all()
            return [_session(connection, row) for row in rows]
    except sa.exc.DBAPIError as error:
        raise NetlatheError(f"{folder.path / 'ledger.db'}: {error.orig}") from error
    finally:
        engine.dispose()


def _session(connection: sa.Connection, session: sa.Row[tuple[object, ...]]) -> SessionProgress:
    table = proposals_table
    query = (
        sa.select(table.c.digest, table.c.is_new, table.c.charged, table.c.reward)
        .add_columns(table.c.result, table.c.costs, table.c.fidelity)
        .where(table.c.session_id == session.id, table.c.status == "done")
        .order_by(table.c.sequence)
    )
    paid, children = 0.0, 0
    best: tuple[float, str, float, float | None] | None = None
    points: list[tuple[float, float]] = []
    for row in connection.execute(query):
        paid += row.charged or 0.0
        children += bool(row.is_new)
        accuracy = json.loads(row.result)["accuracy"] if row.result else None
        if accuracy is None or row.fidelity is not None:
            continue
        latency = json.loads(row.costs)["latency_ms"]["value"] if row.costs else None
        if latency is not None:
            points.append((accuracy, latency))
        if best is None or row.reward > best[0]:
            best = (row.reward, row.digest, accuracy, latency)
    return SessionProgress(
        name=session_name(session.strategy, session.seed),
        paid=paid,
        budget=session.budget,
        children=children,
        front=_front_size(points),
        best_reward=best[0] if best else None,
        best_digest=best[1] if best else None,
        best_accuracy=best[2] if best else None,
        best_latency_ms=best[3] if best else None,
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
    more_sessions: int = 0,
) -> Pace | None:
    """From what was paid in the last `seconds`, since `before`; None while that is too little to tell.

    Args:
        more_sessions: with the budget of the first, that have not begun.
    """
    done = sum(s.paid for s in sessions) - sum(s.paid for s in before)
    if done < 2 or seconds <= 0:
        return None
    left = sum(max(0.0, s.budget - s.paid) for s in sessions)
    left += more_sessions * sessions[0].budget
    per_hour = 3600 * done / seconds
    spread = min(0.9, 2 / math.sqrt(done))
    hours = left / per_hour
    return Pace(per_hour=per_hour, hours_low=hours * (1 - spread), hours_high=hours / (1 - spread))


def running_since(events: Sequence[JobEvent]) -> float | None:
    """When the process that runs now was started; None where none does."""
    last = events[-1] if events else None
    return last.at if last is not None and last.state is JobState.RUNNING else None
