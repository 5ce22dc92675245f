"""What the HTTP interface takes and gives, as typed values: the OpenAPI document is made of these."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.jobs.answers import JobAnswer

MOST_ADDED = 1_000_000


class NewJob(BaseModel):
    """What `POST /jobs` takes."""

    model_config = ConfigDict(extra="forbid")

    config: dict[str, Any] = Field(
        description="the content of a run file; relative paths are the server's"
    )
    id: str | None = Field(None, description="default: NAME-sSEED of the config")
    device_file: str | None = Field(
        None,
        pattern="^/",
        description="a profile of the server's, by absolute path, instead of measuring",
    )


class Resume(BaseModel):
    """What `POST /jobs/{id}/resume` takes."""

    model_config = ConfigDict(extra="forbid")

    add_trials: int = Field(
        0, ge=0, le=MOST_ADDED, description="by which the budget of each strategy grows"
    )


class Stop(BaseModel):
    """What `POST /jobs/{id}/stop` takes."""

    model_config = ConfigDict(extra="forbid")

    now: bool = Field(False, description="do not wait for what is being trained")


class JobPage(BaseModel):
    """Some jobs, in order of submission; `cursor` asks for those after them, None where there are no more."""

    jobs: list[JobAnswer]
    cursor: str | None


class StudyLink(BaseModel):
    """Where Optuna's dashboard shows a run's trials."""

    run: str = Field(description="name of the run directory: a job's id")
    study: int = Field(description="its id in the results folder's optuna.db")
    path: str


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str
