"""What the job store keeps: its tables, and their rows as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.jobs.spec import JobSpec
from service.jobs.states import JobState, Reason

metadata = sa.MetaData()

jobs_table = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.String(63), primary_key=True),
    sa.Column("spec", sa.Text, nullable=False),
    sa.Column("spec_digest", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", sa.Float(53), nullable=False),
    sa.Column("updated", sa.Float(53), nullable=False),
    sa.Column("at_once", sa.Boolean, nullable=False),
    sa.Column("lease_owner", sa.String(255)),
    sa.Column("lease_token", sa.Integer, nullable=False),
    sa.Column("lease_until", sa.Float(53)),
)

events_table = sa.Table(
    "job_events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("job", sa.ForeignKey("jobs.id"), nullable=False, index=True),
    sa.Column("at", sa.Float(53), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sqlite_autoincrement=True,  # numbers of deleted events are not given again
)

additions_table = sa.Table(
    "job_additions",
    metadata,
    sa.Column("job", sa.ForeignKey("jobs.id"), primary_key=True),
    sa.Column("trials", sa.Integer, nullable=False),  # added since the job was submitted, in all
    sa.Column("budget", sa.Integer, nullable=False),  # with them
)


def select_jobs() -> sa.Select[Any]:
    """Rows for `job_of`. What was added is not joined: PostgreSQL would not keep such rows for a change."""
    added = additions_table.c
    columns = (
        sa.select(column).where(added.job == jobs_table.c.id).scalar_subquery().label(name)
        for column, name in ((added.trials, "added_trials"), (added.budget, "budget"))
    )
    return sa.select(jobs_table, *columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """A server's hold on a job."""

    owner: str
    token: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job as the store has it.

    Attributes:
        spec: what it is to do now: as it was submitted, with the budget that it has since trials were added.
        added_trials: to the budget of each strategy, since it was submitted.
        attempt: 1, and one more each time that a failed or cancelled job is resumed.
        reason: of a failure or an unasked pause, else None.
        created, updated: seconds since 1970.
        at_once: a cancellation does not wait for children that are being trained.
        lease: of the server that has it, or had it last; None before any had it.
        lease_until: when that lease ends, in seconds since 1970; None where nobody holds it.
    """

    id: str
    spec: JobSpec
    state: JobState
    attempt: int
    reason: Reason | None
    message: str
    created: float
    updated: float
    at_once: bool
    lease: Lease | None
    lease_until: float | None
    added_trials: int = 0

    @property
    def token(self) -> int:
        """Of the last lease; 0 before any."""
        return self.lease.token if self.lease is not None else 0


@dataclass(frozen=True, kw_only=True, slots=True)
class JobEvent:
    """One change of state."""

    number: int
    at: float
    attempt: int
    state: JobState
    reason: Reason | None
    message: str


def job_of(row: sa.Row[Any]) -> Job:
    """A row of `select_jobs`."""
    spec = JobSpec.from_json(row.spec)
    lease = Lease(owner=row.lease_owner, token=row.lease_token) if row.lease_owner else None
    return Job(
        id=row.id,
        spec=spec if row.budget is None else spec.with_budget(row.budget),
        state=JobState(row.state),
        attempt=row.attempt,
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
        created=row.created,
        updated=row.updated,
        at_once=row.at_once,
        lease=lease,
        lease_until=row.lease_until,
        added_trials=row.added_trials or 0,
    )


def event_of(row: sa.Row[Any]) -> JobEvent:
    """A row of `events_table`."""
    return JobEvent(
        number=row.number,
        at=row.at,
        attempt=row.attempt,
        state=JobState(row.state),
        reason=Reason(row.reason) if row.reason else None,
        message=row.message,
    )
