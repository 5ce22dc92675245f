"""The verbs of the command line for jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli_options import (
    RESULTS,
    AsJson,
    DeviceFile,
    Overrides,
    Results,
    Seed,
    Server,
    StoreUrl,
    TokenFile,
)

app = typer.Typer()

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `list` shows it.")]


def is_job(name: str, results: Path, store: str | None, server: str | None) -> bool:
    """Whether `name` can only be a job's id: there is a store or a server, and no such path."""
    from service.jobs.folder import JOBS_DB  # not for every `--help`

    known = server is not None or store is not None or (results / JOBS_DB).is_file()
    return known and "/" not in name and not Path(name).exists()


@app.command()
def serve(
    results: Results = RESULTS,
    store: StoreUrl = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="How many run at the same time.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="HOST:PORT",
            help="Carry jobs out on the Ray cluster with this head node.",
        ),
    ] = None,
    workers_per_job: Annotated[
        int | None,
        typer.Option(
            "--workers-per-job",
            min=1,
            help="Children of one job that train at a time (default: the cores, shared among --jobs).",
        ),
    ] = None,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when no job waits or runs.")
    ] = False,
    http: Annotated[
        str | None,
        typer.Option("--http", help="Serve HTTP, too: a port of this machine, or HOST:PORT."),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", help="What requests must carry (a file of mode 600)."),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Another name that this server goes by."),
    ] = None,
) -> None:
    """Carry out the jobs of a results folder; what was at work when a server died goes on."""
    from service.commands.serve import run_serve

    run_serve(
        results,
        store,
        at_once=jobs,
        ray=ray,
        workers_per_job=workers_per_job,
        until_idle=until_idle,
        http=http,
        token_file=token_file,
        allow_hosts=allow_host or [],
    )


@app.command()
def submit(
    config: Annotated[Path, typer.Argument(help="A run file (YAML).")],
    job_id: Annotated[
        str | None, typer.Option("--id", help="Id of the job (default: NAME-sSEED of the config).")
    ] = None,
    seed: Seed = None,
    device_file: DeviceFile = None,
    overrides: Overrides = None,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended or is paused.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything here, submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a search over to `netlathe serve`; the same id and config again is the same job."""
    from service.commands.jobs import run_submit
    from service.jobs.client import JobsAt

    run_submit(
        config,
        JobsAt(results, store, server, token_file),
        job_id=job_id,
        seed=seed,
        device_file=device_file,
        overrides=overrides or [],
        wait=wait,
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command("list")
def list_jobs(
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """All jobs, and how far they are."""
    from service.commands.jobs import run_list
    from service.jobs.client import JobsAt

    run_list(JobsAt(results, store, server, token_file), state=state, as_json=as_json)


@app.command()
def status(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """One job, how far it is, and what happened to it."""
    from service.commands.jobs import run_status
    from service.jobs.client import JobsAt

    run_status(job, JobsAt(results, store, server, token_file), as_json=as_json)


@app.command()
def watch(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """How far a job is, how fast, how busy its workers are and how long it may take yet, until it has ended or is paused."""
    from service.commands.job_watch import run_watch
    from service.jobs.client import JobsAt

    run_watch(job, JobsAt(results, store, server, token_file), as_json=as_json)


@app.command()
def logs(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="From the beginning, on and on, until it ends.")
    ] = False,
    trial: Annotated[
        str | None,
        typer.Option("--trial", metavar="N|DIGEST", help="Instead: what is known of one trial."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """What a job's processes said; or what is known of one trial."""
    from service.commands.job_logs import run_logs
    from service.jobs.client import JobsAt

    run_logs(
        job, JobsAt(results, store, server, token_file), follow=follow, trial=trial, as_json=as_json
    )


@app.command()
def pause(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a job stop, resumable; `netlathe resume JOB` goes on with it."""
    from service.commands.jobs import run_pause
    from service.jobs.client import JobsAt

    run_pause(job, JobsAt(results, store, server, token_file), as_json=as_json)


@app.command()
def cancel(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    now: Annotated[
        bool,
        typer.Option("--now/--drain", help="At once, or after what is being trained (default)."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End a job; what it found stays, and `netlathe resume JOB` would go on."""
    from service.commands.jobs import run_cancel
    from service.jobs.client import JobsAt

    run_cancel(job, JobsAt(results, store, server, token_file), now=now, as_json=as_json)


@app.command("retry-failed")
def retry_failed(
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]...", help="Only these (default: all).")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option("--reason", help="Only those that failed for this: lost, config, internal."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Resume jobs that have failed, each as its next attempt."""
    from service.commands.jobs import run_retry_failed
    from service.jobs.client import JobsAt

    run_retry_failed(
        jobs or [], JobsAt(results, store, server, token_file), reason=reason, as_json=as_json
    )


@app.command()
def best(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """The best networks of a job so far."""
    from service.commands.jobs import run_best
    from service.jobs.client import JobsAt

    run_best(job, JobsAt(results, store, server, token_file), as_json=as_json)


@app.command()
def delete(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    files: Annotated[bool, typer.Option("--files", help="Its run directory, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget a job that has ended or is paused; its run directory stays."""
    from service.commands.jobs import run_delete
    from service.jobs.client import JobsAt

    run_delete(job, JobsAt(results, store, server, token_file), files=files, as_json=as_json)
