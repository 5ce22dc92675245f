"""The verbs that ask for jobs and show them; `job_watch` and `job_logs` have those that look on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from service.config_file import read_run
from service.errors import NetlatheError, NotFoundError, StoppedError, UsageError
from service.jobs.answers import JobAnswer
from service.jobs.client import JobsAt, JobsClient
from service.jobs.states import JobState, Reason
from service.jobs.wording import percent, progress_text
from service.output import print_json, print_lines, print_table, talk

_EVENTS_SHOWN = 10

Name = TypeVar("Name", bound=StrEnum)


def run_submit(
    config: Path,
    at: JobsAt,
    *,
    job_id: str | None,
    seed: int | None,
    device_file: Path | None,
    overrides: Sequence[str],
    wait: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Check the config and submit it. With `wait`, until the job has ended or is paused."""
    data = read_run(config, overrides, seed)
    if dry_run:
        from service.run import dry_run as check

        if device_file is not None and not device_file.is_file():
            raise NotFoundError(f"no device file at {device_file}")
        check(data, source=str(config), device_path=device_file, as_json=as_json)
        return
    if at.server is None:
        from service.jobs.submitting import search_spec

        search_spec(data, source=str(config), device_file=device_file)  # before a folder is made
    with at.opened(make=True) as client:
        job, fresh = client.submit(data, source=str(config), job_id=job_id, device_file=device_file)
        talk.print(f"{'submitted' if fresh else 'there already'}: {job.id} ({job.state})")
        if wait:
            from service.commands.job_watch import look_on

            job = look_on(client, job.id, talk)
        if as_json:
            print_json(_facts(job, client))
        else:
            _show(job, client)
    if wait and job.state != JobState.SUCCEEDED:
        error = StoppedError if job.state == JobState.PAUSED else NetlatheError
        raise error(f"job {job.id} is {job.state}: {job.message}")


def run_list(at: JobsAt, *, state: str | None, as_json: bool) -> None:
    """All jobs, or those in one state."""
    wanted = None if state is None else _member(JobState, state, "--state")
    with at.opened() as client:
        jobs = client.jobs(wanted)
        if as_json:
            print_json([_facts(job, client) for job in jobs])
            return
        rows = [
            (job.id, job.state, str(job.attempt), _when(job.created), progress_text(job.sessions))
            for job in jobs
        ]
        columns = ("job", "state", "attempt", "submitted", "progress")
        print_table(f"Jobs of {client.place}", columns, rows, left=columns)


def run_status(job_id: str, at: JobsAt, *, as_json: bool) -> None:
    """One job, and what happened to it."""
    with at.opened() as client:
        job, events = client.job(job_id), client.events(job_id)
        if as_json:
            told = [event.model_dump(mode="json") for event in events]
            print_json({**_facts(job, client), "events": told})
            return
        _show(job, client)
        rows = [
            (_when(e.at), str(e.attempt), e.state, e.reason or "", e.message)
            for e in events[-_EVENTS_SHOWN:]
        ]
        columns = ("when", "attempt", "state", "reason", "what")
        print_table("What happened", columns, rows, left=columns)


def run_pause(job_id: str, at: JobsAt, *, as_json: bool) -> None:
    with at.opened() as client:
        _say(client.pause(job_id), client, as_json=as_json)


def run_cancel(job_id: str, at: JobsAt, *, now: bool, as_json: bool) -> None:
    with at.opened() as client:
        _say(client.cancel(job_id, now=now), client, as_json=as_json)


def run_resume_job(job_id: str, at: JobsAt, *, add_trials: int, as_json: bool) -> None:
    with at.opened() as client:
        _say(client.resume(job_id, add_trials), client, as_json=as_json)


def run_retry_failed(
    job_ids: Sequence[str], at: JobsAt, *, reason: str | None, as_json: bool
) -> None:
    """Resume what has failed, of all jobs or of those named; none is fine, too."""
    wanted = None if reason is None else _member(Reason, reason, "--reason")
    with at.opened() as client:
        known = [client.job(job_id) for job_id in job_ids] or client.jobs(JobState.FAILED)
        failed = [
            job
            for job in known
            if job.state == JobState.FAILED and (wanted is None or job.reason == wanted)
        ]
        for job in known:
            if job not in failed and job.id in job_ids:
                talk.print(f"{job.id}: {job.state} {job.reason or ''}".rstrip() + "; left as it is")
        again = [client.resume(job.id) for job in failed]
        if as_json:
            print_json([_facts(job, client) for job in again])
            return
        for job in again:
            print_lines(f"{job.id}: {job.state}, attempt {job.attempt}")
        if not again:
            talk.print("nothing to retry")


def run_delete(job_id: str, at: JobsAt, *, files: bool, as_json: bool) -> None:
    """Forget a job; its run directory stays, unless `files`."""
    with at.opened() as client:
        job = client.job(job_id)
        client.delete(job_id, files=files)
        if as_json:
            print_json(_facts(job, client))
            return
        talk.print(f"{job_id}: {'deleted' if files else 'forgotten; its run directory stays'}")


def run_best(job_id: str, at: JobsAt, *, as_json: bool) -> None:
    """The best network of each strategy so far."""
    with at.opened() as client:
        sessions = [session for session in client.best(job_id) if session.best_digest]
    if not sessions:
        raise NotFoundError(f"job {job_id} has evaluated no network yet")
    if as_json:
        print_json([asdict(session) for session in sessions])
        return
    rows = [
        (
            s.name,
            s.best_digest or "",
            percent(s.best_accuracy),
            f"{s.best_latency_ms or 0:.4g}",
            f"{s.best_reward:.4f}",
        )
        for s in sessions
    ]
    columns = ("strategy", "network", "accuracy %", "latency ms, predicted", "reward")
    print_table(f"{job_id}: best so far (validation, short schedule)", columns, rows)


def run_export_job(job_id: str, at: JobsAt, to: Path, *, as_json: bool) -> None:
    """Fetch a job's exported network from its server."""
    from service.jobs.server_jobs import ServerJobs

    assert at.server is not None, "a job of a folder here is exported as its run"
    client = ServerJobs(at.server, at.token_file)
    try:
        client.export(job_id, to)
    finally:
        client.close()
    if as_json:
        print_json({"directory": str(to), "pick": "best", "job": job_id})
        return
    print_lines(f"wrote {to} (best of {job_id})", f"check it: netlathe verify {to}")


def _show(job: JobAnswer, client: JobsClient) -> None:
    because = f" ({job.reason})" if job.reason else ""
    lines = [
        f"{job.id}: {job.state}{because} {job.message}".rstrip(),
        f"  {progress_text(job.sessions)}",
    ]
    if job.added_trials:
        lines.append(f"  {job.added_trials} trials for each strategy were added since")
    run_dir = client.paths(job.id).get("run_dir")
    print_lines(*lines, *([f"  run directory {run_dir}"] if run_dir else []))


def _say(job: JobAnswer, client: JobsClient, *, as_json: bool) -> None:
    """What a job is now, after it was asked for something."""
    if as_json:
        print_json(_facts(job, client))
        return
    attempt = f", attempt {job.attempt}" if job.attempt > 1 else ""
    added = f", {job.added_trials} trials added" if job.added_trials else ""
    talk.print(f"{job.id}: {job.state}{attempt}{added}")


def _facts(job: JobAnswer, client: JobsClient) -> dict[str, Any]:
    return {**job.model_dump(mode="json"), **client.paths(job.id)}


def _when(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def _member(kind: type[Name], name: str, option: str) -> Name:
    try:
        return kind(name.upper())
    except ValueError:
        names = ", ".join(member.value.lower() for member in kind)
        raise UsageError(f"{option} {name!r}: expected one of {names}") from None
