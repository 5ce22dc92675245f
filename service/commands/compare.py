"""`netlathe compare` and `netlathe dashboard`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from service.errors import NotFoundError
from service.output import print_json, print_lines, print_table, talk


def run_compare(runs: Sequence[Path], out: Path, *, as_json: bool) -> None:
    """Print the table and write the Pareto picture."""
    from search import STRATEGY_COLUMNS, compare_runs

    missing = [str(run) for run in runs if not run.is_dir()]
    if missing:
        raise NotFoundError(f"no run at {', '.join(missing)}")
    comparison = compare_runs(runs)
    comparison.write_picture(out)
    if as_json:
        print_json({**comparison.to_dict(), "picture": str(out)})
        return
    print_table("Runs", comparison.columns, comparison.rows)
    print_table("Strategies at equal budget", STRATEGY_COLUMNS, comparison.strategy_rows)
    print_lines(*comparison.notes, f"picture: {out}")


def run_dashboard(results: Path, port: int) -> None:
    """Replace this process by optuna-dashboard, bound to loopback: it has no authentication."""
    from search import dashboard_command

    database = results / "optuna.db"
    if not database.is_file():
        raise NotFoundError(f"no {database}: run a search with mirror.enabled first")
    argv = dashboard_command(results, port, python=sys.executable)
    talk.print(f"http://127.0.0.1:{port}/ (this machine only; Ctrl-C ends it)")
    os.execv(argv[0], argv)
