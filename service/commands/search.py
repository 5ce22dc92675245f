"""`netlathe search` and `netlathe resume`."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from service.config_file import read_run
from service.errors import ConflictError, NotFoundError, StoppedError, UsageError
from service.jobs.orphans import end_leftovers
from service.output import talk
from service.run_folder import (
    RunFolder,
    create_run,
    default_path,
    locked,
    open_run,
    version_differences,
    write_run_file,
)

RESULTS = Path("results")


def run_search_verb(
    config: Path,
    *,
    out: Path | None,
    seed: int | None,
    device_file: Path | None,
    overrides: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the run folder first, then import what is heavy, check everything, and search."""
    data = read_run(config, overrides, seed)
    if device_file is not None and not device_file.is_file():
        raise NotFoundError(f"no device file at {device_file}")
    if dry_run:
        from service.run import dry_run as check

        check(data, source=str(config), device_path=device_file, as_json=as_json)
        return
    used_seed = data.get("seed", 0)
    if isinstance(used_seed, bool) or not isinstance(used_seed, int):
        raise UsageError(f"seed: expected a whole number, got {used_seed!r}")
    path = (
        out if out is not None else default_path(str(data.get("name", "run")), used_seed, RESULTS)
    )
    folder = create_run(path, data, used_seed, device_file)
    try:
        _carry_out(folder, fresh=True, source=str(config), as_json=as_json)
    except UsageError:
        _remove_unstarted(folder)
        raise


def set_deadline(run: Path, hours: float) -> None:
    """Give a run another `search.deadline_hours`. Raises NotFoundError, InUseError, UsageError."""
    folder, _ = open_run(run)
    with locked(folder):
        _, file = open_run(run)
        search = {**(file.config.get("search") or {}), "deadline_hours": hours}
        write_run_file(folder, {**file.config, "search": search}, file.seed, file.frozen)


def run_resume_verb(
    run: Path, *, accept_drift: bool, add_trials: int, budget: int, as_json: bool
) -> None:
    """Go on with a run; a finished one is shown again and changes nothing, unless its budget grows."""
    folder, file = open_run(run)
    for difference in version_differences(file):
        talk.print(
            f"[yellow]note[/]: {difference} since this run began; results may differ from then on"
        )
    _carry_out(
        folder,
        fresh=False,
        source=str(folder.run_file),
        as_json=as_json,
        accept_drift=accept_drift,
        add_trials=add_trials,
        budget=budget,
    )


def _carry_out(
    folder: RunFolder,
    *,
    fresh: bool,
    source: str,
    as_json: bool,
    accept_drift: bool = False,
    add_trials: int = 0,
    budget: int = 0,
) -> None:
    with locked(folder), _stop_signals():
        try:
            end_leftovers()
            talk.print(f"run folder: {folder.path}")
            from service.run import carry_out  # takes seconds, in which a signal may come, too

            if add_trials or budget:
                from service.enlarging import enlarge_run

                enlarge_run(folder, add_trials=add_trials, at_least=budget)
            carry_out(
                folder, fresh=fresh, source=source, as_json=as_json, accept_drift=accept_drift
            )
        except KeyboardInterrupt:
            raise StoppedError(
                f"stopped; nothing is lost. Go on with: netlathe resume {folder.path}"
            ) from None


@contextmanager
def _stop_signals() -> Iterator[None]:
    """SIGTERM stops like Ctrl-C; a second signal of either kind ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        talk.print("stopping (again to force)…")
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _remove_unstarted(folder: RunFolder) -> None:
    """A config that was refused leaves no folder behind, unless something else is in it already."""
    for path in (folder.run_file, folder.device_file, folder.path / ".lock", folder.log):
        path.unlink(missing_ok=True)
    try:
        folder.path.rmdir()
    except OSError as error:
        raise ConflictError(f"{folder.path} is not empty: {error}") from error
