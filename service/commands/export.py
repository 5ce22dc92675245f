"""`netlathe export` and `netlathe verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from service.errors import NetlatheError, NotFoundError
from service.output import print_json, print_lines, print_table


def run_export(run: Path, to: Path, *, pick: str, as_json: bool) -> None:
    """Export a pick; one that was not among the finals is trained first and marked as picked afterwards."""
    from service.run import export_from_run

    written, final = export_from_run(run, pick, to)
    if as_json:
        print_json({"directory": str(written), "pick": pick, "digest": final})
        return
    print_lines(f"wrote {written} ({pick}, {final})", f"check it: netlathe verify {written}")


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
