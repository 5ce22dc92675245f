"""`netlathe space`: what a config's space offers, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.config_file import apply_overrides, read_mapping, validate
from service.errors import NotFoundError, UsageError
from service.output import print_json, print_lines, print_table, talk


def run_space(
    config: Path,
    *,
    device_file: Path | None,
    save_device: Path | None,
    overrides: Sequence[str],
    as_json: bool,
) -> None:
    """Profile the device (or read `device_file`), then print decisions, size and the table."""
    data = apply_overrides(read_mapping(config), overrides)
    if device_file is not None and not device_file.is_file():
        raise NotFoundError(f"no device file at {device_file}")
    from search import impossible_limits
    from service.problem import make_problem
    from service.run_config import RunConfig

    checked = validate(RunConfig, data, str(config))
    if checked.evaluator.kind == "table":
        _show_table_space(checked, as_json=as_json)
        return
    if device_file is None:
        talk.print(f"measuring the device (about {checked.profile.budget_s:g} s) …")
    problem = make_problem(checked, device_file, on_progress=_no_progress, save_to=save_device)
    assert problem.table is not None
    faults = impossible_limits(problem.table, checked.limits)
    if as_json:
        print_json(_as_dict(problem, faults))
    else:
        _show(problem, faults)
    if faults:
        raise UsageError("the space cannot meet this target:\n  " + "\n  ".join(faults))


def _no_progress(what: str, share: float) -> None:
    """Measuring a device takes less than a minute: one line says so."""


def _show_table_space(config: Any, *, as_json: bool) -> None:
    from service.data_and_space import make_space

    space = make_space(config, None)
    size = space.size()
    if as_json:
        print_json({"decisions": _decisions(space), "size": asdict(size)})
        return
    _print_decisions(space)


def _decisions(space: Any) -> list[dict[str, Any]]:
    return [{"name": d.name, "choices": list(d.choices)} for d in space.decisions]


def _print_decisions(space: Any) -> None:
    rows = [(d.name, ", ".join(map(str, d.choices))) for d in space.decisions]
    print_table("Decisions", ("decision", "choices"), rows)
    size = space.size()
    distinct = (
        f"exactly {size.distinct_low:,}"
        if size.distinct_is_exact
        else f"between {size.distinct_low:,} and {size.distinct_high:,}"
    )
    print_lines(f"{size.sequences:,} valid choice lists, {distinct} different networks")


def _as_dict(problem: Any, faults: list[str]) -> dict[str, Any]:
    return {
        "decisions": _decisions(problem.space),
        "size": asdict(problem.space.size()),
        "networks": [
            {"name": row.name, "digest": row.architecture.digest, **asdict(row.costs)}
            for row in problem.table.rows
        ],
        "least": problem.table.least,
        "drawn": problem.table.drawn,
        "impossible_limits": faults,
    }


def _show(problem: Any, faults: list[str]) -> None:
    _print_decisions(problem.space)
    rows = [
        (
            row.name,
            f"{row.costs.latency_worst_ms.value:.4f} ± {row.costs.latency_worst_ms.std:.4f}",
            f"{row.costs.energy_worst_mj.value:.4f} ({row.costs.energy_worst_mj.source})",
            f"{row.costs.num_params:,}",
            f"{row.costs.macs:,}",
        )
        for row in problem.table.rows
    ]
    columns = ("network", "latency ms, predicted", "energy mJ", "parameters", "MACs")
    print_table("Before anything is trained, no early exit taken", columns, rows)
    if drawn := problem.table.drawn:
        print_lines(
            f"smallest and largest latency are sampled, not exact: the ends found after drawing {drawn:,} networks"
        )
