"""The verbs for jobs: what is asked of a results folder's store, and the server that carries it out."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.config_file import read_run, validate
from service.deployment import is_shared
from service.errors import NetlatheError, NotFoundError, StoppedError, UsageError
from service.jobs.answers import Event, JobAnswer
from service.jobs.folder import JOBS_DB, JobsFolder
from service.jobs.handle import tail
from service.jobs.progress import Pace, SessionProgress, pace, read_progress
from service.jobs.records import Job
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore
from service.jobs.submitting import search_spec, submit_search
from service.jobs.supervisor import POLL_S
from service.output import print_json, print_lines, print_table, talk
from service.progress import duration

_WATCH_S = 2.0
_EVENTS_SHOWN = 10


@contextmanager
def opened(
    results: Path, store_url: str | None, *, make: bool = False
) -> Iterator[tuple[JobStore, JobsFolder]]:
    """The store of a results folder. Raises NotFoundError where there is none, unless it may be made."""
    folder = JobsFolder(results, ledgers=store_url if is_shared(store_url) else None)
    if store_url is None and not make and not (results / JOBS_DB).is_file():
        raise NotFoundError(f"{results} has no jobs; `netlathe submit CONFIG` makes the first one")
    if make:
        results.mkdir(parents=True, exist_ok=True)
    store = JobStore(store_url or folder.database_url)
    try:
        yield store, folder
    finally:
        store.close()


def run_submit(
    config: Path,
    results: Path,
    store_url: str | None,
    *,
    job_id: str | None,
    seed: int | None,
    device_file: Path | None,
    overrides: Sequence[str],
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Check the config and put it into the store. With `wait`, until the job has ended or is paused."""
    data = read_run(config, overrides, seed)
    if device_file is not None and not device_file.is_file():
        raise NotFoundError(f"no device file at {device_file}")
    if dry_run:
        from service.run import dry_run as check

        check(data, source=str(config), device_path=device_file, as_json=as_json)
        return
    spec, name = search_spec(data, source=str(config), device_file=device_file)
    with opened(results, store_url, make=True) as (store, folder):
        job, fresh = submit_search(store, folder, job_id or name, spec)
        talk.print(f"{'submitted' if fresh else 'there already'}: {job.id} ({job.state})")
        if wait:
            job = _watched(store, folder, job.id)
        _show(job, folder, as_json=as_json)
    if wait and job.state is not JobState.SUCCEEDED:
        error = StoppedError if job.state is JobState.PAUSED else NetlatheError
        raise error(f"job {job.id} is {job.state}: {job.message}")


def run_list(results: Path, store_url: str | None, *, state: str | None, as_json: bool) -> None:
    """All jobs, or those in one state."""
    states = None if state is None else [_state(state)]
    with opened(results, store_url) as (store, folder):
        jobs = store.jobs(states)
        if as_json:
            print_json([_facts(job, folder) for job in jobs])
            return
        rows = [
            (
                job.id,
                str(job.state),
                str(job.attempt),
                _when(job.created),
                _progress_text(job, folder),
            )
            for job in jobs
        ]
        columns = ("job", "state", "attempt", "submitted", "progress")
        print_table(f"Jobs of {results}", columns, rows, left=columns)


def run_status(job_id: str, results: Path, store_url: str | None, *, as_json: bool) -> None:
    """One job, and what happened to it."""
    with opened(results, store_url) as (store, folder):
        job, events = store.get(job_id), store.events(job_id)
        if as_json:
            told = [Event.of(event).model_dump(mode="json") for event in events]
            print_json({**_facts(job, folder), "events": told})
            return
        _show(job, folder, as_json=False)
        rows = [
            (_when(e.at), str(e.attempt), str(e.state), e.reason or "", e.message)
            for e in events[-_EVENTS_SHOWN:]
        ]
        columns = ("when", "attempt", "state", "reason", "what")
        print_table("What happened", columns, rows, left=columns)


def run_watch(job_id: str, results: Path, store_url: str | None) -> None:
    """A line whenever something has changed, until the job has ended or is paused."""
    with opened(results, store_url) as (store, folder):
        job = _watched(store, folder, job_id)
        print_lines(f"{job.id}: {job.state} {job.message}".rstrip())


def run_logs(job_id: str, results: Path, store_url: str | None, *, follow: bool) -> None:
    """What the job's processes said: the end of it, or on and on."""
    with opened(results, store_url) as (store, folder):
        store.get(job_id)
        log = folder.log(job_id)
        if not log.is_file():
            raise NotFoundError(f"job {job_id} has no log yet: no server has taken it")
        if not follow:
            sys.stdout.write(tail(log))
            return
        with log.open("r", encoding="utf-8", errors="replace") as file:
            while True:
                sys.stdout.write(file.read())
                sys.stdout.flush()
                if store.get(job_id).state in ENDED | {JobState.PAUSED}:
                    return
                time.sleep(POLL_S)


def run_pause(job_id: str, results: Path, store_url: str | None) -> None:
    with opened(results, store_url) as (store, _):
        job = store.pause(job_id)
        talk.print(f"{job.id}: {job.state}")


def run_cancel(job_id: str, results: Path, store_url: str | None, *, now: bool) -> None:
    with opened(results, store_url) as (store, _):
        job = store.cancel(job_id, at_once=now)
        talk.print(f"{job.id}: {job.state}")


def run_resume_job(job_id: str, results: Path, store_url: str | None) -> None:
    with opened(results, store_url) as (store, _):
        job = store.resume(job_id)
        talk.print(f"{job.id}: {job.state}, attempt {job.attempt}")


def run_delete(job_id: str, results: Path, store_url: str | None, *, files: bool) -> None:
    """Forget a job; its run directory stays, unless `files`."""
    with opened(results, store_url) as (store, folder):
        store.delete(job_id)
        folder.config(job_id).unlink(missing_ok=True)
        folder.log(job_id).unlink(missing_ok=True)
        run = folder.run(job_id).path
        if files and run.is_dir():
            shutil.rmtree(run)
        kept = run.is_dir()
    talk.print(f"{job_id}: forgotten; {run} stays" if kept else f"{job_id}: deleted")


def run_best(job_id: str, results: Path, store_url: str | None, *, as_json: bool) -> None:
    """The best network of each strategy so far."""
    with opened(results, store_url) as (store, folder):
        store.get(job_id)
        sessions = [s for s in read_progress(folder.run(job_id)) if s.best_digest]
        if not sessions:
            raise NotFoundError(f"job {job_id} has evaluated no network yet")
        if as_json:
            print_json([asdict(session) for session in sessions])
            return
        rows = [
            (
                s.name,
                s.best_digest or "",
                _percent(s),
                f"{s.best_latency_ms or 0:.4g}",
                f"{s.best_reward:.4f}",
            )
            for s in sessions
        ]
        columns = ("strategy", "network", "accuracy %", "latency ms, predicted", "reward")
        print_table(f"{job_id}: best so far (validation, short schedule)", columns, rows)


def _watched(store: JobStore, folder: JobsFolder, job_id: str) -> Job:
    """Until the job has ended or is paused; then that job."""
    said = ""
    began, first = time.monotonic(), read_progress(folder.run(job_id))
    planned = _sessions_planned(store.get(job_id))
    while True:
        job = store.get(job_id)
        line = f"{job.state}: {_progress_text(job, folder)}"
        sessions = read_progress(folder.run(job_id))
        speed = pace(sessions, first, time.monotonic() - began, planned - len(sessions))
        if line != said:
            said = line
            talk.print(line + (f", {_pace_text(speed)}" if speed else ""))
        if job.state in ENDED or job.state is JobState.PAUSED:
            return job
        time.sleep(_WATCH_S)


def _sessions_planned(job: Job) -> int:
    """The strategy and its controls, as the config or its defaults name them."""
    from service.run_config import RunConfig  # heavy

    return 1 + len(validate(RunConfig, job.spec.config, job.id).search.controls)


def _pace_text(speed: Pace) -> str:
    low, high = (duration(3600 * hours) for hours in (speed.hours_low, speed.hours_high))
    return f"{speed.per_hour:.0f}/h, {low} to {high} left"


def _show(job: Job, folder: JobsFolder, *, as_json: bool) -> None:
    if as_json:
        print_json(_facts(job, folder))
        return
    because = f" ({job.reason})" if job.reason else ""
    print_lines(
        f"{job.id}: {job.state}{because} {job.message}".rstrip(),
        f"  {_progress_text(job, folder)}",
        f"  run directory {folder.run(job.id).path}",
    )


def _facts(job: Job, folder: JobsFolder) -> dict[str, Any]:
    return {
        **JobAnswer.of(job, folder).model_dump(mode="json"),
        "run_dir": str(folder.run(job.id).path.absolute()),
        "log": str(folder.log(job.id).absolute()),
    }


def _progress_text(job: Job, folder: JobsFolder) -> str:
    sessions = read_progress(folder.run(job.id))
    if not sessions:
        return "nothing evaluated yet"
    return "; ".join(
        f"{s.name} {s.paid:g}/{s.budget:g} children, front {s.front}, best {_percent(s)} %"
        for s in sessions
    )


def _percent(session: SessionProgress) -> str:
    return "–" if session.best_accuracy is None else f"{100 * session.best_accuracy:.1f}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _state(name: str) -> JobState:
    try:
        return JobState(name.upper())
    except ValueError:
        names = ", ".join(state.value.lower() for state in JobState)
        raise UsageError(f"--state {name!r}: expected one of {names}") from None
