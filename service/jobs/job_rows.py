"""Rows of the jobs' tables, within a transaction of `JobStore`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from service.errors import NetlatheError, NotFoundError
from service.jobs.records import Job, additions_table, events_table, job_of, jobs_table, select_jobs
from service.jobs.states import JobState, Reason


class LeaseLost(NetlatheError):
    """Another server has the job now, or it is no longer in a state that this change starts from."""


def as_seen(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Where the row is still what `job` says: its state, and the token of whoever has it."""
    return (
        jobs_table.c.id == job.id,
        jobs_table.c.state == job.state,
        jobs_table.c.lease_token == job.token,
    )


def changed(outcome: sa.CursorResult[Any], job: Job) -> None:
    """Raises LeaseLost unless the row was still as it had been seen."""
    if outcome.rowcount != 1:
        raise LeaseLost(f"job {job.id} has just changed; try again")


def get_job(connection: sa.Connection, job_id: str, *, to_change: bool = False) -> Job:
    """The job; `to_change` keeps its row for this transaction, in a database that lets others write meanwhile."""
    query = select_jobs().where(jobs_table.c.id == job_id)
    row = connection.execute(query.with_for_update() if to_change else query).one_or_none()
    if row is None:
        raise NotFoundError(f"no job {job_id!r}; `netlathe list` shows those that there are")
    return job_of(row)


def more_trials(connection: sa.Connection, job: Job, trials: int, budget: int) -> int:
    """The new budget. `budget`: what it grows from the first time."""
    table = additions_table
    row = connection.execute(sa.select(table).where(table.c.job == job.id)).one_or_none()
    added, total = (row.trials, row.budget) if row is not None else (0, budget)
    values = {"job": job.id, "trials": added + trials, "budget": total + trials}
    connection.execute(sa.delete(table).where(table.c.job == job.id))
    connection.execute(sa.insert(table).values(values))
    return total + trials


def record(
    connection: sa.Connection,
    job_id: str,
    at: float,
    attempt: int,
    state: JobState,
    reason: Reason | None,
    message: str,
) -> None:
    """An event beside a change of state."""
    connection.execute(
        sa.insert(events_table).values(
            job=job_id,
            at=at,
            attempt=attempt,
            state=state,
            reason=reason or "",
            message=message,
        )
    )
