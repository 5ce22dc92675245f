"""Jobs and what happened to them as JSON: the same from the command line and over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Self

from pydantic import BaseModel, Field

from service.jobs.folder import JobsFolder
from service.jobs.progress import SessionProgress, read_progress
from service.jobs.records import Job, JobEvent


class JobAnswer(BaseModel):
    """A job and how far it is."""

    id: str
    state: str
    attempt: int
    reason: str | None
    message: str
    added_trials: int
    created: datetime
    updated: datetime
    sessions: list[SessionProgress]

    @classmethod
    def of(cls, job: Job, folder: JobsFolder) -> Self:
        return cls(
            id=job.id,
            state=job.state,
            attempt=job.attempt,
            reason=job.reason,
            message=job.message,
            added_trials=job.added_trials,
            created=datetime.fromtimestamp(job.created, UTC),
            updated=datetime.fromtimestamp(job.updated, UTC),
            sessions=read_progress(folder.run(job.id)),
        )


class JobPlan(BaseModel):
    """What a job is to do in all."""

    sessions: int = Field(description="the strategy and its controls")
    budget: int = Field(description="children that each of them may pay for")
    workers: int | None = Field(description="that train at the same time; null: none, or unknown")


class LogPart(BaseModel):
    """Some of a log."""

    text: str
    next: int = Field(description="where the next part begins, in bytes")


class Event(BaseModel):
    """A change of a job's state; `number` grows."""

    number: int
    at: datetime
    attempt: int
    state: str
    reason: str | None
    message: str

    @classmethod
    def of(cls, event: JobEvent) -> Self:
        return cls(
            number=event.number,
            at=datetime.fromtimestamp(event.at, UTC),
            attempt=event.attempt,
            state=event.state,
            reason=event.reason,
            message=event.message,
        )
