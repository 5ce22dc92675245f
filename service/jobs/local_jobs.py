"""Jobs of a results folder here."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from service.deployment import is_shared
from service.errors import NotFoundError
from service.jobs.answers import Event, JobAnswer, JobPlan, LogPart
from service.jobs.client import JobsClient
from service.jobs.folder import JOBS_DB, JobsFolder
from service.jobs.logs import read_log, tail
from service.jobs.plan import plan_of
from service.jobs.progress import SessionProgress, read_progress
from service.jobs.states import JobState
from service.jobs.store import JobStore
from service.jobs.submitting import resume_job, search_spec, submit_search
from service.jobs.trial_answer import TrialAnswer, read_trial


def open_store(
    results: Path, store_url: str | None, *, make: bool = False
) -> tuple[JobStore, JobsFolder]:
    """The store of a results folder. Raises NotFoundError where there is none, unless it may be made."""
    folder = JobsFolder(results, ledgers=store_url if is_shared(store_url) else None)
    if store_url is None and not make and not (results / JOBS_DB).is_file():
        raise NotFoundError(f"{results} has no jobs; `netlathe submit CONFIG` makes the first one")
    if make:
        results.mkdir(parents=True, exist_ok=True)
    return JobStore(store_url or folder.database_url), folder


def forget(store: JobStore, folder: JobsFolder, job_id: str, *, files: bool) -> None:
    """Delete a job and what was kept of its processes; its run directory, and its ledger wherever that is, with `files` only."""
    store.delete(job_id)
    folder.config(job_id).unlink(missing_ok=True)
    folder.log(job_id).unlink(missing_ok=True)
    folder.place(job_id).unlink(missing_ok=True)
    run = folder.run(job_id)
    if not files or not run.path.is_dir():
        return
    if run.ledger_is_elsewhere:
        from evaluation import Ledger

        with Ledger(run.ledger_url, scope=run.ledger_scope) as ledger:
            ledger.forget()
    shutil.rmtree(run.path)


class LocalJobs(JobsClient):
    """See the file's head.

    Raises:
        NotFoundError: the folder has no jobs, and is not to be made.
        UsageError, NetlatheError: see `JobStore`.
    """

    def __init__(self, results: Path, store_url: str | None, *, make: bool = False) -> None:
        self._store, self._folder = open_store(results, store_url, make=make)
        self.place = str(results)

    def submit(
        self, config: dict[str, Any], *, source: str, job_id: str | None, device_file: Path | None
    ) -> tuple[JobAnswer, bool]:
        spec, name = search_spec(config, source=source, device_file=device_file)
        job, fresh = submit_search(self._store, self._folder, job_id or name, spec)
        return JobAnswer.of(job, self._folder), fresh

    def jobs(self, state: JobState | None = None) -> list[JobAnswer]:
        states = None if state is None else [state]
        return [JobAnswer.of(job, self._folder) for job in self._store.jobs(states)]

    def job(self, job_id: str) -> JobAnswer:
        return JobAnswer.of(self._store.get(job_id), self._folder)

    def plan(self, job_id: str) -> JobPlan:
        return plan_of(self._store.get(job_id), self._folder)

    def events(self, job_id: str) -> list[Event]:
        return [Event.of(event) for event in self._store.events(job_id)]

    def pause(self, job_id: str) -> JobAnswer:
        return JobAnswer.of(self._store.pause(job_id), self._folder)

    def cancel(self, job_id: str, *, now: bool) -> JobAnswer:
        return JobAnswer.of(self._store.cancel(job_id, at_once=now), self._folder)

    def resume(self, job_id: str, add_trials: int = 0) -> JobAnswer:
        return JobAnswer.of(resume_job(self._store, job_id, add_trials), self._folder)

    def delete(self, job_id: str, *, files: bool) -> None:
        forget(self._store, self._folder, job_id, files=files)

    def best(self, job_id: str) -> list[SessionProgress]:
        self._store.get(job_id)
        return read_progress(self._folder.run(job_id))

    def log_end(self, job_id: str) -> str:
        log = self._log(job_id)
        return tail(log) if log.is_file() else ""

    def log_part(self, job_id: str, offset: int) -> LogPart:
        return read_log(self._log(job_id), offset)

    def trial(self, job_id: str, trial: str) -> TrialAnswer:
        config = self._store.get(job_id).spec.config
        return read_trial(self._folder.run(job_id), config, trial)

    def paths(self, job_id: str) -> dict[str, str]:
        return {
            "run_dir": str(self._folder.run(job_id).path.absolute()),
            "log": str(self._folder.log(job_id).absolute()),
        }

    def close(self) -> None:
        self._store.close()

    def _log(self, job_id: str) -> Path:
        self._store.get(job_id)
        return self._folder.log(job_id)
