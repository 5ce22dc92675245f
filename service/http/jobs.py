"""What routes work on."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from service.jobs.answers import JobAnswer
from service.jobs.folder import JobsFolder
from service.jobs.store import JobStore


class Jobs:
    """What routes work on."""

    def __init__(self, store: JobStore, folder: JobsFolder) -> None:
        self.store = store
        self.folder = folder

    def answer(self, job_id: str) -> JobAnswer:
        return JobAnswer.of(self.store.get(job_id), self.folder)


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


TheJobs = Annotated[Jobs, Depends(_jobs)]
