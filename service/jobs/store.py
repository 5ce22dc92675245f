"""The jobs of a results folder, in SQLite or PostgreSQL.

Every change of state is a compare-and-swap: it names the states it may start from (and, where a server makes it, its lease), and
happens with its event in one transaction or not at all. A server holds a job by a lease with a fencing token, which grows with
each claim; what a server reports under an older token changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa

from service.errors import ConflictError, NetlatheError, UsageError
from service.jobs.job_database import JobDatabase
from service.jobs.job_rows import LeaseLost, as_seen, changed, get_job, more_trials, record
from service.jobs.records import (
    Job,
    JobEvent,
    Lease,
    additions_table,
    event_of,
    events_table,
    job_of,
    jobs_table,
    select_jobs,
)
from service.jobs.spec import JobSpec
from service.jobs.states import ACTIVE, ENDED, TRANSITIONS, JobState, Reason
from service.run_folder import NAME

Clock = Callable[[], float]


class JobStore:
    """See the file's head. May be used by several processes and threads at once.

    Args:
        url: a database URL, ``sqlite:///FILE`` or ``postgresql+psycopg://…``.
        clock: seconds since 1970.

    Raises:
        UsageError: not a usable URL.
        NetlatheError: the database cannot be opened.
    """

    def __init__(self, url: str, *, clock: Clock = time.time) -> None:
        self._clock = clock
        self._database = JobDatabase(url)

    def close(self) -> None:
        """Close all connections. Safe to call twice."""
        self._database.close()

    def reserve(self) -> None:
        """See `JobDatabase.reserve`."""
        self._database.reserve()

    def submit(self, job_id: str, spec: JobSpec) -> tuple[Job, bool]:
        """(the job, whether it is new): the same id and spec again is the job that there is.

        Raises:
            UsageError: an id that is none.
            ConflictError: a job of that id asks for something else.
        """
        if not NAME.fullmatch(job_id):
            raise UsageError(
                f"id {job_id!r}: expected up to 63 lower-case letters, digits and dashes, the first no dash"
            )
        try:
            return self._submit(job_id, spec)
        except NetlatheError as error:
            if isinstance(error.__cause__, sa.exc.IntegrityError):
                return self._submit(job_id, spec)  # somebody was quicker
            raise

    def _submit(self, job_id: str, spec: JobSpec) -> tuple[Job, bool]:
        now = self._clock()
        with self._database.transaction() as connection:
            row = connection.execute(select_jobs().where(jobs_table.c.id == job_id)).one_or_none()
            if row is not None:
                if row.spec_digest != spec.digest:
                    raise ConflictError(
                        f"job {job_id} exists already and asks for something else; choose another --id"
                    )
                return job_of(row), False
            connection.execute(
                sa.insert(jobs_table).values(
                    id=job_id,
                    spec=spec.to_json(),
                    spec_digest=spec.digest,
                    state=JobState.PENDING,
                    attempt=1,
                    reason="",
                    message="",
                    created=now,
                    updated=now,
                    at_once=False,
                    lease_token=0,
                )
            )
            record(connection, job_id, now, 1, JobState.PENDING, None, "submitted")
            return get_job(connection, job_id), True

    def get(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        with self._database.transaction(writes=False) as connection:
            return get_job(connection, job_id)

    def knows(self, job_id: str) -> bool:
        """Whether there is such a job."""
        query = sa.select(jobs_table.c.id).where(jobs_table.c.id == job_id)
        with self._database.transaction(writes=False) as connection:
            return connection.scalar(query) is not None

    def jobs(
        self,
        states: Collection[JobState] | None = None,
        *,
        after: str | None = None,
        most: int | None = None,
    ) -> list[Job]:
        """In order of submission.

        Args:
            states: only those in one of these.
            after: only those submitted after the job of this id.
            most: how many at the most; None for all.

        Raises:
            NotFoundError: there is no job `after`.
        """
        place = (jobs_table.c.created, jobs_table.c.id)
        query = select_jobs().order_by(*place).limit(most)
        if states is not None:
            query = query.where(jobs_table.c.state.in_([str(state) for state in states]))
        with self._database.transaction(writes=False) as connection:
            if after is not None:
                last = get_job(connection, after)
                query = query.where(sa.tuple_(*place) > sa.tuple_(last.created, last.id))
            return [job_of(row) for row in connection.execute(query)]

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        query = sa.select(jobs_table.c.state, sa.func.count()).group_by(jobs_table.c.state)
        with self._database.transaction(writes=False) as connection:
            found = {JobState(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in JobState}

    def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """What happened to a job, oldest first; `after` is the number of the last one known."""
        query = (
            sa.select(events_table)
            .where(events_table.c.job == job_id, events_table.c.number > after)
            .order_by(events_table.c.number)
        )
        with self._database.transaction(writes=False) as connection:
            get_job(connection, job_id)
            return [event_of(row) for row in connection.execute(query)]

    def pause(self, job_id: str) -> Job:
        """Ask for a pause; what was paid for stays. Raises NotFoundError, ConflictError."""
        return self._ask(job_id, JobState.PAUSED, JobState.PAUSING, "pause asked for")

    def cancel(self, job_id: str, *, at_once: bool = False) -> Job:
        """Ask for the end; `at_once` does not wait for what is being trained. Raises NotFoundError, ConflictError."""
        return self._ask(
            job_id, JobState.CANCELLED, JobState.CANCELLING, "cancel asked for", at_once=at_once
        )

    def resume(self, job_id: str, *, add_trials: int = 0, budget: int = 0) -> Job:
        """A paused job goes on; a failed or cancelled one is tried again. Others stay as they are.

        Args:
            add_trials: by which the budget of each strategy grows; not of a job that waits or is at work.
            budget: what it grows from, unless trials were added before.

        Raises:
            NotFoundError: no such job.
            ConflictError: it has succeeded, or is being paused or cancelled; or trials are added to one that is at work.
        """
        with self._database.transaction() as connection:
            job = get_job(connection, job_id, to_change=True)
            if job.state in (JobState.PAUSED, JobState.FAILED, JobState.CANCELLED):
                message = "resumed"
                if add_trials:
                    total = more_trials(connection, job, add_trials, budget)
                    message = f"resumed with {add_trials} trials more: {total} for each strategy"
                return self._move(
                    connection,
                    job,
                    JobState.PENDING,
                    message=message,
                    attempt=job.attempt + (job.state in ENDED),
                    at_once=False,
                )
            if job.state is JobState.SUCCEEDED:
                raise ConflictError(
                    f"job {job_id} has succeeded and stays as it is; submit it under another --id with a larger "
                    "search.budget (results are shared between jobs: nothing is trained twice)"
                )
            if job.state in (JobState.PAUSING, JobState.CANCELLING):
                raise ConflictError(f"job {job_id} is {job.state}; it cannot be resumed")
            if add_trials:
                raise ConflictError(f"job {job_id} is {job.state}; pause it, then add trials")
            return job

    def delete(self, job_id: str) -> None:
        """Forget a job that has ended or is paused. Raises NotFoundError, ConflictError."""
        with self._database.transaction() as connection:
            job = get_job(connection, job_id, to_change=True)
            if job.state not in ENDED | {JobState.PAUSED}:
                raise ConflictError(f"job {job_id} is {job.state}; cancel it first")
            for table in (events_table, additions_table):
                connection.execute(sa.delete(table).where(table.c.job == job_id))
            connection.execute(sa.delete(jobs_table).where(jobs_table.c.id == job_id))

    def claim(self, owner: str, lease_s: float) -> Job | None:
        """The next job that waits, with a lease for `owner`, in STARTING; None where none waits.

        Jobs whose server let its lease run out come first: those that were at work are RECOVERING (and are claimed), those that
        were being paused or cancelled are so now, since nobody works on them any more.
        """
        try:
            return self._claim(owner, lease_s)
        except LeaseLost:
            return None  # another server was quicker

    def _claim(self, owner: str, lease_s: float) -> Job | None:
        now = self._clock()
        with self._database.transaction() as connection:
            for job in self._overdue(connection, now):
                self._abandoned(connection, job)
            waiting = (JobState.RECOVERING, JobState.PENDING)
            query = (
                select_jobs()
                .where(jobs_table.c.state.in_([str(state) for state in waiting]))
                .where(sa.or_(jobs_table.c.lease_until.is_(None), jobs_table.c.lease_until <= now))
                .order_by(jobs_table.c.state.desc(), jobs_table.c.created, jobs_table.c.id)
                .limit(1)
                .with_for_update(skip_locked=True)
            )
            row = connection.execute(query).first()
            if row is None:
                return None
            job = job_of(row)
            return self._move(
                connection,
                job,
                JobState.STARTING,
                message=f"taken by {owner}",
                lease_owner=owner,
                lease_token=job.token + 1,
                lease_until=now + lease_s,
            )

    def renew(self, job_id: str, lease: Lease, lease_s: float) -> Job:
        """Hold on to a job. Raises LeaseLost, NotFoundError."""
        with self._database.transaction() as connection:
            job = self._held(connection, job_id, lease)
            until = self._clock() + lease_s
            changed(
                connection.execute(
                    sa.update(jobs_table).where(*as_seen(job)).values(lease_until=until)
                ),
                job,
            )
            return job

    def report(
        self,
        job_id: str,
        lease: Lease,
        to: JobState,
        *,
        reason: Reason | None = None,
        message: str = "",
        again_in_s: float | None = None,
    ) -> Job:
        """A server's own change of state; one out of the active states gives the lease back.

        Args:
            again_in_s: of a job that goes to RECOVERING: not to be claimed sooner.

        Raises:
            LeaseLost: another server has the job, or it cannot become `to` from what it is.
            NotFoundError: the job was deleted.
        """
        with self._database.transaction() as connection:
            job = self._held(connection, job_id, lease)
            if to not in TRANSITIONS[job.state]:
                raise LeaseLost(f"job {job_id} is {job.state}, which {to} cannot follow")
            again_at = None if again_in_s is None else self._clock() + again_in_s
            values: dict[str, Any] = {} if to in ACTIVE else {"lease_until": again_at}
            return self._move(connection, job, to, reason=reason, message=message, **values)

    def _ask(
        self,
        job_id: str,
        idle: JobState,
        at_work: JobState,
        message: str,
        *,
        at_once: bool = False,
    ) -> Job:
        with self._database.transaction() as connection:
            job = get_job(connection, job_id, to_change=True)
            if job.state is idle or (job.state is at_work and job.at_once >= at_once):
                return job
            if job.state is at_work:
                return self._move(connection, job, at_work, message=message, at_once=True)
            for to in (idle, at_work):
                allowed = to in TRANSITIONS[job.state]
                if allowed and (to is at_work or job.state not in ACTIVE):
                    return self._move(connection, job, to, message=message, at_once=at_once)
            raise ConflictError(f"job {job_id} is {job.state}; it cannot become {idle}")

    def _overdue(self, connection: sa.Connection, now: float) -> Sequence[Job]:
        query = (
            select_jobs()
            .where(jobs_table.c.state.in_([str(state) for state in ACTIVE]))
            .where(jobs_table.c.lease_until <= now)
            .with_for_update(skip_locked=True)
        )
        return [job_of(row) for row in connection.execute(query)]

    def _abandoned(self, connection: sa.Connection, job: Job) -> None:
        to = {
            JobState.PAUSING: JobState.PAUSED,
            JobState.CANCELLING: JobState.CANCELLED,
        }.get(job.state, JobState.RECOVERING)
        message = f"{job.lease.owner if job.lease else 'its server'} was not heard of any more"
        # the token grows: whatever that server still reports is too late
        self._move(
            connection, job, to, message=message, lease_until=None, lease_token=job.token + 1
        )

    def _held(self, connection: sa.Connection, job_id: str, lease: Lease) -> Job:
        job = get_job(connection, job_id, to_change=True)
        if job.lease != lease or job.state not in ACTIVE:
            raise LeaseLost(f"job {job_id} is no longer held by {lease.owner}")
        return job

    def _move(
        self,
        connection: sa.Connection,
        job: Job,
        to: JobState,
        *,
        reason: Reason | None = None,
        message: str = "",
        attempt: int | None = None,
        **values: Any,
    ) -> Job:
        now = self._clock()
        update = (
            sa.update(jobs_table)
            .where(*as_seen(job))
            .values(
                state=to,
                reason=reason or "",
                message=message,
                attempt=attempt or job.attempt,
                updated=now,
                **values,
            )
        )
        changed(connection.execute(update), job)
        record(connection, job.id, now, attempt or job.attempt, to, reason, message)
        return get_job(connection, job.id)
