"""`kill -9` of a whole search at random moments, each time resumed: the result must not change.

    python benchmarks/kill_resume.py configs/digits-quick.yaml --kills 10

Runs the search once undisturbed, then again with the same device file while killing it at random moments spread
over the undisturbed run's time, and resuming it. Compares the trial tables and every exported file except
``measurements.json`` (measured times differ from run to run by nature).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
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
    parser.add_argument("--work", type=Path, help="keep the runs here")
    arguments = parser.parse_args()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="netlathe-kill-"))
    work.mkdir(parents=True, exist_ok=True)
    whole, killed = work / "whole", work / "killed"

    started = time.monotonic()
    subprocess.run([*NETLATHE, "search", str(arguments.config), "--out", str(whole)], check=True)
    seconds = time.monotonic() - started
    print(f"undisturbed: {seconds:.0f} s")

    device = str(whole / "device.json")
    first = ["search", str(arguments.config), "--out", str(killed), "--device-file", device]
    moments = random.Random(arguments.seed)
    kills = 0
    while kills < arguments.kills:
        command = ["resume", str(killed)] if (killed / "run.yaml").exists() else first
        after = moments.uniform(0.5, max(2.0, 2 * seconds / arguments.kills))
        ended = run_and_kill(command, after)
        kills += 1
        print(f"kill {kills}: after {after:.1f} s{' (had ended already)' if ended else ''}")
    subprocess.run([*NETLATHE, "resume", str(killed)], check=True)

    same_trials = trials(whole).equals(trials(killed))
    different = [name for name, same in compare_exports(whole, killed).items() if not same]
    print(f"trial tables equal: {same_trials}; export files that differ: {different or 'none'}")
    if arguments.work is None:
        shutil.rmtree(work)
    sys.exit(0 if same_trials and not different else 1)


def run_and_kill(command: list[str], after: float) -> bool:
    """Start, wait, kill the whole process group with SIGKILL. True if it had ended by itself."""
    process = subprocess.Popen([*NETLATHE, *command], start_new_session=True)
    try:
        process.wait(timeout=after)
        return True
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False


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
