"""`kill -9` of a whole search at random moments, each time resumed: the result must not change.

    python benchmarks/kill_resume.py configs/digits-quick.yaml --kills 10

Runs the search twice undisturbed with one device file; then, as often as asked, starts it anew, kills it with its
workers at a random moment of its time, and resumes it. Compares each trial table, and every exported file except
``measurements.json`` (measured times differ from run to run by nature), with the undisturbed run's.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

NETLATHE = [sys.executable, "-m", "service.cli"]
NOISY = {"measurements.json"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    overrides = [part for each in arguments.overrides for part in ("--set", each)]
    search = ["search", str(arguments.config), *overrides]
    with tempfile.TemporaryDirectory(prefix="netlathe-kill-") as folder:
        work = Path(folder)
        whole, device = work / "first", work / "first" / "device.json"
        run([*search, "--out", str(whole)])
        started = time.monotonic()
        run([*search, "--out", str(work / "second"), "--device-file", str(device)])
        seconds = time.monotonic() - started
        print(
            f"undisturbed: {seconds:.0f} s; twice the same: {verdict(whole, work / 'second')}",
            flush=True,
        )
        moments = random.Random(arguments.seed)
        verdicts = []
        for number in range(1, arguments.kills + 1):
            killed, after = work / f"kill-{number}", moments.uniform(0.3, seconds)
            run_and_kill([*search, "--out", str(killed), "--device-file", str(device)], after)
            phase = reached(killed)
            if phase == "no folder yet":
                run([*search, "--out", str(killed), "--device-file", str(device)])
            else:
                run(["resume", str(killed)])
            verdicts.append(verdict(whole, killed))
            print(f"kill {number} after {after:.1f} s ({phase}): {verdicts[-1]}", flush=True)
    equal = sum(v == "equal" for v in verdicts)
    print(f"{equal} of {arguments.kills} equal to the undisturbed run")
    sys.exit(0 if equal == arguments.kills else 1)


def run(arguments: list[str]) -> None:
    """A verb, undisturbed; its talk is shown only if it fails."""
    done = subprocess.run([*NETLATHE, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"netlathe {' '.join(arguments)} failed:\n{done.stderr}")


def reached(folder: Path) -> str:
    """How far a killed run had come."""
    if not (folder / "run.yaml").is_file():
        return "no folder yet"
    if (folder / "summary.json").is_file():
        return "ended"
    if not (folder / "ledger.db").is_file():
        return "starting"
    with sqlite3.connect(folder / "ledger.db") as database:
        (count,) = database.execute("SELECT count(*) FROM proposals").fetchone()
    finals = len(list((folder / "finals").glob("*.safetensors")))
    return f"{count} proposals, {finals} finals"


def verdict(one: Path, other: Path) -> str:
    """ "equal", or what differs."""
    different = [name for name, same in compare_exports(one, other).items() if not same]
    if not trials(one).equals(trials(other)):
        different.insert(0, "trials.parquet")
    return f"DIFFERENT: {', '.join(different)}" if different else "equal"


def run_and_kill(arguments: list[str], after: float) -> None:
    """Start, wait, and kill the process with all of its process group."""
    process = subprocess.Popen(
        [*NETLATHE, *arguments],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(timeout=after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def trials(run: Path) -> pd.DataFrame:
    """The trial table."""
    return pd.read_parquet(run / "trials.parquet")


def compare_exports(one: Path, other: Path) -> dict[str, bool]:
    """File name → whether its bytes are equal in both exports."""
    first, second = (
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((run / "best").iterdir())
            if path.name not in NOISY
        }
        for run in (one, other)
    )
    return {name: first.get(name) == second.get(name) for name in sorted({*first, *second})}


if __name__ == "__main__":
    main()
