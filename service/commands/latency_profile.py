"""`netlathe latency profile`: measure this machine and learn what a space's networks cost on it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from service.config_file import apply_overrides, read_mapping, validate
from service.device_tables import figure_rows, interval_lines, measured_rows
from service.errors import ConflictError, NotFoundError, StoppedError, UsageError
from service.output import print_json, print_lines, print_table, talk

if TYPE_CHECKING:
    from latency_models import DeviceFile
    from service.run_config import RunConfig

_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|h)?")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def run_latency_profile(
    config: Path,
    *,
    out: Path,
    name: str | None,
    budget: str | None,
    overrides: Sequence[str],
    force: bool,
    as_json: bool,
) -> None:
    """Measure with a progress bar, save the device file, print how well it predicts."""
    seconds = None if budget is None else parse_budget(budget)
    data = apply_overrides(read_mapping(config), overrides)
    if not out.absolute().parent.is_dir():
        raise NotFoundError(f"no folder {out.absolute().parent} to write {out.name} into")
    if out.exists() and not force:
        raise ConflictError(f"{out} already exists; choose another --out, or --force replaces it")
    from service.run_config import RunConfig

    checked = validate(RunConfig, data, str(config))
    if checked.evaluator.kind == "table":
        raise UsageError(
            f"{config}: a run over a table takes its costs from there; `netlathe latency fit` learns from tables"
        )
    file = _profile(checked, name, seconds, out)
    file.save(out)
    if as_json:
        print_json({"file": str(out), **file.report.model_dump()})
        return
    print_table(file.device.name, ("measured", "value"), measured_rows(file), left=("value",))
    print_table("Held-out networks", ("figure", "cost model", "measured twice"), figure_rows(file))
    print_lines(*interval_lines(file), f"device file  {out}")


def parse_budget(text: str) -> float:
    """``"3m"`` → 180.0 seconds; s, m or h, seconds without. Raises UsageError."""
    match = _BUDGET.fullmatch(text.strip())
    seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
    if not 0 < seconds <= 86400:
        raise UsageError(
            f"--budget: expected a time up to 24h, such as 90s, 3m or 1h, got {text!r}"
        )
    return seconds


def _profile(config: RunConfig, name: str | None, seconds: float | None, out: Path) -> DeviceFile:
    from latency_models import JournalMismatch, profile_device
    from service.data_and_space import load_dataset, make_space
    from service.problem import PROFILE_SEED

    space = make_space(config, load_dataset(config))
    device = config.device if name is None else config.device.model_copy(update={"name": name})
    profile = config.profile if seconds is None else config.profile.with_budget(seconds)
    journal = out.with_name(f"{out.name}.journal")
    if journal.is_file():
        talk.print(f"going on with {journal}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=talk, transient=True) as progress:
        task = progress.add_task("choosing networks", total=1.0)

        def on_progress(what: str, share: float) -> None:
            progress.update(task, description=f"measuring {what}", completed=share)

        try:
            return profile_device(
                space,
                device,
                profile,
                seed=PROFILE_SEED,
                on_progress=on_progress,
                journal_path=journal,
            )
        except KeyboardInterrupt:
            raise StoppedError("stopped; the same command goes on where it stopped") from None
        except JournalMismatch as error:
            raise ConflictError(str(error)) from error
        except ValueError as error:
            raise UsageError(str(error)) from error
