"""The verbs of the command line for jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()

JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, as `list` shows it.")]
Results = Annotated[
    Path, typer.Option("--results", help="Folder of the jobs and of their run directories.")
]
StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        envvar="NETLATHE_JOB_STORE",
        help="Database of the jobs (default: RESULTS/jobs.db).",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Result as JSON on stdout.")]
RESULTS = Path("results")


def is_job(name: str, results: Path, store: str | None) -> bool:
    """Whether `name` can only be a job's id: there is a store, and the name is no path."""
    from service.jobs.folder import JOBS_DB  # not for every `--help`

    return "/" not in name and (store is not None or (results / JOBS_DB).is_file())


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
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the search.")] = None,
    device_file: Annotated[
        Path | None, typer.Option("--device-file", help="Use this profile instead of measuring.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override a setting: --set search.budget=20.")
    ] = None,
    results: Results = RESULTS,
    store: StoreUrl = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it has ended or is paused.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, submit nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a search over to `netlathe serve`; the same id and config again is the same job."""
    from service.commands.jobs import run_submit

    run_submit(
        config,
        results,
        store,
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
    state: Annotated[str | None, typer.Option("--state", help="Only those in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """All jobs, and how far they are."""
    from service.commands.jobs import run_list

    run_list(results, store, state=state, as_json=as_json)


@app.command()
def status(
    job: JobId, results: Results = RESULTS, store: StoreUrl = None, as_json: AsJson = False
) -> None:
    """One job, how far it is, and what happened to it."""
    from service.commands.jobs import run_status

    run_status(job, results, store, as_json=as_json)


@app.command()
def watch(job: JobId, results: Results = RESULTS, store: StoreUrl = None) -> None:
    """A line whenever a job has got further, until it has ended or is paused."""
    from service.commands.jobs import run_watch

    run_watch(job, results, store)


@app.command()
def logs(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    follow: Annotated[
        bool, typer.Option("-f", "--follow", help="On and on, until it ends.")
    ] = False,
) -> None:
    """What a job's processes said."""
    from service.commands.jobs import run_logs

    run_logs(job, results, store, follow=follow)


@app.command()
def pause(job: JobId, results: Results = RESULTS, store: StoreUrl = None) -> None:
    """Let a job stop, resumable; `netlathe resume JOB` goes on with it."""
    from service.commands.jobs import run_pause

    run_pause(job, results, store)


@app.command()
def cancel(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    now: Annotated[
        bool,
        typer.Option("--now/--drain", help="At once, or after what is being trained (default)."),
    ] = False,
) -> None:
    """End a job; what it found stays, and `netlathe resume JOB` would go on."""
    from service.commands.jobs import run_cancel

    run_cancel(job, results, store, now=now)


@app.command()
def best(
    job: JobId, results: Results = RESULTS, store: StoreUrl = None, as_json: AsJson = False
) -> None:
    """The best networks of a job so far."""
    from service.commands.jobs import run_best

    run_best(job, results, store, as_json=as_json)


@app.command()
def delete(
    job: JobId,
    results: Results = RESULTS,
    store: StoreUrl = None,
    files: Annotated[bool, typer.Option("--files", help="Its run directory, too.")] = False,
) -> None:
    """Forget a job that has ended or is paused; its run directory stays."""
    from service.commands.jobs import run_delete

    run_delete(job, results, store, files=files)
