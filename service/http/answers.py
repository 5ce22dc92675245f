"""What the HTTP interface takes and gives, as typed values: the OpenAPI document is made of these."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.folder import JobsFolder
from service.jobs.progress import SessionProgress, read_progress
from service.jobs.records import Job, JobEvent


class NewJob(BaseModel):
    """What `POST /jobs` takes."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any] = Field(
        description="the content of a run file; relative paths are the server's"
    )
    id: str | None = Field(None, description="default: NAME-sSEED of the config")


class Stop(BaseModel):
    """What `POST /jobs/{id}/stop` takes."""

    model_config = ConfigDict(extra="forbid")

    now: bool = Field(False, description="do not wait for what is being trained")


class Session(BaseModel):
    """One strategy of a job; see `SessionProgress`."""

    name: str
    paid: float
    budget: float
    children: int
    front: int
    best_reward: float | None
    best_accuracy: float | None
    best_latency_ms: float | None
    best_digest: str | None

    @classmethod
    def of(cls, session: SessionProgress) -> Self:
        return cls(**{name: getattr(session, name) for name in cls.model_fields})


class JobAnswer(BaseModel):
    """A job and how far it is."""

    id: str
    state: str
    attempt: int
    reason: str | None
    message: str
    created: datetime
    updated: datetime
    sessions: list[Session]

    @classmethod
    def of(cls, job: Job, folder: JobsFolder) -> Self:
        return cls(
            id=job.id,
            state=job.state,
            attempt=job.attempt,
            reason=job.reason,
            message=job.message,
            created=datetime.fromtimestamp(job.created, UTC),
            updated=datetime.fromtimestamp(job.updated, UTC),
            sessions=[Session.of(each) for each in read_progress(folder.run(job.id))],
        )


class Point(BaseModel):
    """One result of a running or ended search; see `service.jobs.progress.Trial`."""

    session: str
    sequence: int
    digest: str
    accuracy: float | None
    latency_ms: float | None
    reward: float | None


class JobPage(BaseModel):
    """Some jobs, in order of submission; `cursor` asks for those after them, None where there are no more."""

    jobs: list[JobAnswer]
    cursor: str | None


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


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
