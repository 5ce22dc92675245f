"""`netlathe export` and `netlathe verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from service.config_file import validate
from service.errors import NetlatheError, NotFoundError, UsageError
from service.output import print_json, print_lines, print_table


def run_export(
    run: Path,
    to: Path,
    *,
    pick: str | None,
    max_latency_ms: float | None,
    max_energy_mj: float | None,
    as_json: bool,
) -> None:
    """Export a pick, or the most accurate network within limits.

    One that was not among the finals is trained first and marked as picked afterwards.
    """
    from evaluation import LimitsConfig
    from service.run import export_from_run

    limits = None
    if max_latency_ms is not None or max_energy_mj is not None:
        if pick is not None:
            raise UsageError("expected --pick or limits, got both: a pick is one network")
        limits = validate(
            LimitsConfig,
            {"latency_ms": max_latency_ms, "energy_mj": max_energy_mj},
            "--max-latency-ms, --max-energy-mj",
        )
        pick = "within the limits"
    pick = pick or "best"
    digest, source = export_from_run(run, pick, to, limits)
    if as_json:
        print_json({"directory": str(to), "pick": pick, "digest": digest, "from": source})
        return
    known = "which the search evaluated" if source == "archive" else "which its policy suggested"
    print_lines(f"wrote {to} ({pick}: {digest}, {known})", f"check it: netlathe verify {to}")


def run_verify(directory: Path, *, as_json: bool) -> None:
    """Print each check; exit 1 if one fails."""
    from deploy import verify_export

    if not directory.is_dir():
        raise NotFoundError(f"no export at {directory}")
    report = verify_export(directory)
    if as_json:
        print_json({"ok": report.ok, "checks": [asdict(check) for check in report.checks]})
    else:
        rows = [(c.name, "ok" if c.ok else "FAILED", c.detail) for c in report.checks]
        print_table(f"{directory}", ("check", "result", "detail"), rows)
    if not report.ok:
        failed = [check.name for check in report.checks if not check.ok]
        raise NetlatheError(f"{directory} does not hold what it says: {', '.join(failed)}")
