"""The command line: verbs, exit codes and where output goes (results to stdout, talk to stderr).

Heavy libraries are imported inside the verbs, so that `--help` is quick and a run's folder exists before
torch is loaded.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from archspace import is_disk_full
from service.bench_cli import app as bench_app
from service.cli_options import (
    RESULTS,
    AsJson,
    DeviceFile,
    Overrides,
    Results,
    RunOrJob,
    Seed,
    Server,
    StoreUrl,
    TokenFile,
)
from service.errors import DiskFullError, NetlatheError, UsageError
from service.jobs_cli import app as jobs_app
from service.jobs_cli import is_job
from service.latency_cli import app as latency_app

app = typer.Typer(
    name="netlathe",
    help="Searches for the small network that a device wants.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(bench_app, name="bench")
app.add_typer(latency_app, name="latency")
app.add_typer(jobs_app)

Run = Annotated[Path, typer.Argument(help="A run directory, such as results/digits-s0.")]
Config = Annotated[Path, typer.Argument(help="A run file (YAML), such as configs/digits.yaml.")]
Out = Annotated[Path | None, typer.Option("--out", help="Run directory (default: results/NAME).")]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"netlathe {version('netlathe')}")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Searches for the small network that a device wants."""


@app.command()
def init(
    data: Annotated[
        Path, typer.Option("--data", help="Your data: class folders, .npz, or CIFAR files.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The config to write.")] = Path(
        "netlathe.yaml"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing config.")] = False,
    as_json: AsJson = False,
) -> None:
    """Look at your data, write a commented config, estimate search time and the best latency to hope for."""
    from service.commands.init import run_init

    run_init(data, out, force=force, as_json=as_json)


@app.command()
def search(
    config: Config,
    out: Out = None,
    seed: Seed = None,
    device_file: DeviceFile = None,
    overrides: Overrides = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, start nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure the device, search, compare with controls, export the best network."""
    from service.commands.search import run_search_verb

    run_search_verb(
        config,
        out=out,
        seed=seed,
        device_file=device_file,
        overrides=overrides or [],
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def resume(
    run: RunOrJob,
    add_trials: Annotated[
        int,
        typer.Option(
            "--add-trials", min=0, help="Let each strategy pay for so many more children."
        ),
    ] = 0,
    budget: Annotated[
        int,
        typer.Option(
            "--budget", min=0, help="Of a run: at least so many in all; once or again is the same."
        ),
    ] = 0,
    accept_drift: Annotated[
        bool,
        typer.Option(
            "--accept-drift",
            help="Go on even where measured latencies are far from predicted ones.",
        ),
    ] = False,
    deadline_hours: Annotated[
        float | None,
        typer.Option(
            "--deadline-hours", min=0, help="A new search.deadline_hours, from the run's start on."
        ),
    ] = None,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Go on with a stopped or killed run; it ends as if it had never been stopped. Of a job: have it go on, or try again."""
    is_a_job = is_job(run, results, store, server)
    if deadline_hours is not None:
        from service.commands.search import set_deadline

        if server is not None:
            raise UsageError("--deadline-hours is for runs and jobs of a folder here")
        set_deadline(results / run if is_a_job else Path(run), deadline_hours)
    if is_a_job:
        from service.commands.jobs import run_resume_job
        from service.jobs.client import JobsAt

        if accept_drift or budget:
            raise UsageError("--accept-drift and --budget are for run directories, not for jobs")
        at = JobsAt(results, store, server, token_file)
        run_resume_job(run, at, add_trials=add_trials, as_json=as_json)
        return
    from service.commands.search import run_resume_verb

    run_resume_verb(
        Path(run), accept_drift=accept_drift, add_trials=add_trials, budget=budget, as_json=as_json
    )


@app.command()
def space(
    config: Config,
    device_file: DeviceFile = None,
    save_device: Annotated[
        Path | None, typer.Option("--save-device", help="Keep the profile, for --device-file.")
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Show the decisions, the size, and what the smallest, middle and largest networks cost."""
    from service.commands.space import run_space

    run_space(
        config,
        device_file=device_file,
        save_device=save_device,
        overrides=overrides or [],
        as_json=as_json,
    )


@app.command()
def export(
    run: RunOrJob,
    to: Annotated[Path, typer.Option("--to", help="Folder to write.")],
    pick: Annotated[
        str | None, typer.Option("--pick", help="best (default), knee, fastest, or a digest.")
    ] = None,
    max_latency_ms: Annotated[
        float | None,
        typer.Option(
            "--max-latency-ms", help="Instead of a pick: the most accurate network within this."
        ),
    ] = None,
    max_energy_mj: Annotated[
        float | None, typer.Option("--max-energy-mj", help="Likewise, alone or together.")
    ] = None,
    results: Results = RESULTS,
    store: StoreUrl = None,
    server: Server = None,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Write one of a run's networks as JSON, PyTorch source, safetensors and ONNX. Of a server's job: fetch its best."""
    path = Path(run)
    if is_job(run, results, store, server):
        if server is not None:
            from service.commands.jobs import run_export_job
            from service.jobs.client import JobsAt

            if pick is not None or max_latency_ms is not None or max_energy_mj is not None:
                raise UsageError(
                    "a server gives a job's best network; picks and limits are for runs here"
                )
            run_export_job(run, JobsAt(results, store, server, token_file), to, as_json=as_json)
            return
        path = results / run
    from service.commands.export import run_export

    run_export(
        path,
        to,
        pick=pick,
        max_latency_ms=max_latency_ms,
        max_energy_mj=max_energy_mj,
        as_json=as_json,
    )


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="An exported folder.")], as_json: AsJson = False
) -> None:
    """Rebuild an export in a process that cannot import Netlathe, and compare."""
    from service.commands.export import run_verify

    run_verify(directory, as_json=as_json)


@app.command()
def train(
    source: Annotated[Path, typer.Argument(help="An exported folder or an architecture.json.")],
    data: Annotated[str, typer.Option("--data", help="Path of the data, or: digits, shapes.")],
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Length of the schedule.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Seed of initialisation and order.")] = 0,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Equal threads and seed give equal weights.")
    ] = 1,
    to: Annotated[
        Path | None, typer.Option("--to", help="Export the trained network here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train an exported architecture from scratch to a full schedule, and test it once."""
    from service.commands.train import run_train

    run_train(source, data, epochs=epochs, seed=seed, threads=threads, to=to, as_json=as_json)


@app.command()
def compress(
    source: Annotated[Path, typer.Argument(help="An exported folder, or weights as .safetensors.")],
    plan: Annotated[
        Path, typer.Option("--plan", help="What is done (YAML), as configs/compress/digits.yaml.")
    ],
    to: Annotated[Path, typer.Option("--to", help="Folder of the compressed export.")],
    work: Annotated[
        Path | None,
        typer.Option("--work", help="Where finished steps are kept (default: TO-steps)."),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option("--teacher", help="An export to learn from (default: SOURCE itself)."),
    ] = None,
    architecture: Annotated[
        Path | None,
        typer.Option("--architecture", help="architecture.json of SOURCE, where it is not beside."),
    ] = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Distil, prune and quantise a trained network by a plan; figures before and after each step."""
    from service.commands.compress import run_compress

    run_compress(
        source,
        plan,
        to=to,
        work=work,
        teacher=teacher,
        architecture=architecture,
        overrides=overrides or [],
        as_json=as_json,
    )


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories.")],
    out: Annotated[Path, typer.Option("--out", help="Where the Pareto picture goes.")] = Path(
        "compare.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Put runs side by side: a table, and their Pareto fronts in one picture."""
    from service.commands.compare import run_compare

    run_compare(runs, out, as_json=as_json)


@app.command()
def dashboard(
    results: Annotated[Path, typer.Option("--results", help="Folder of the runs.")] = Path(
        "results"
    ),
    port: Annotated[int, typer.Option("--port", min=1, max=65535)] = 8080,
) -> None:
    """Open Optuna's dashboard over the runs, on this machine only."""
    from service.commands.compare import run_dashboard

    run_dashboard(results, port)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Show what this machine offers: cores, GPU, energy counters, Ray, disk."""
    from service.commands.doctor import run_doctor

    run_doctor(as_json=as_json)


def main(*, for_server: bool = False) -> None:
    """Entry point: turns errors into one clear line and the right exit code; `for_server`: that which tells a server more."""
    _quiet_libraries()
    try:
        try:
            app(standalone_mode=True)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _exit("interrupted", 130)
    except BrokenPipeError:
        _exit("", 1)
    except Exception as error:
        if is_disk_full(error):
            error = DiskFullError(str(error))
        if isinstance(error, NetlatheError):
            _exit(str(error), error.server_code() if for_server else error.exit_code)
        if os.environ.get("NETLATHE_TRACEBACK") or not isinstance(error, ValueError | OSError):
            raise
        _exit(str(error), 1)


def _exit(message: str, code: int) -> NoReturn:
    """End with `code`, even where nothing can be written any more: what is left in a buffer would change it to 120."""
    try:
        if message:
            sys.stderr.write(f"netlathe: {message}\n")
        sys.stderr.flush()
        sys.stdout.flush()
    except OSError:
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    sys.exit(code)


def _quiet_libraries() -> None:
    """Our own warnings are for users; those of the libraries beneath are not."""
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    to_terminal.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    logging.getLogger().addHandler(to_terminal)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", category=FutureWarning)


if __name__ == "__main__":
    main()
