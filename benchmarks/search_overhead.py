"""What a search costs beside training its children: utilisation, own time a child, peak memory.

    python benchmarks/search_overhead.py [CONFIG]

Runs one search and samples the memory of its processes: Σ of proportional set sizes, so that pages shared between
processes count once.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pandas as pd
import psutil

from search import read_summary

NETLATHE = [sys.executable, "-m", "service.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/digits.yaml"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="netlathe-overhead-") as folder:
        run = Path(folder) / "run"
        command = [*NETLATHE, "search", str(arguments.config), "--out", str(run)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        memory = MemoryWatch(process.pid)
        if process.wait():
            sys.exit(f"the search ended with exit code {process.returncode}")
        report(run, memory.stop())


def report(run: Path, peak_mb: float) -> None:
    """Print the table."""
    summary = read_summary(run)
    timings = pd.read_parquet(run / "timings.parquet")
    trained = timings[timings["train_seconds"] > 0]
    busy, wall = trained["train_seconds"].sum(), summary.seconds["search"]
    assert summary.utilisation is not None
    workers = busy / (summary.utilisation * wall)
    print(f"children trained                {len(trained)}")
    print(f"workers                         {workers:.0f}")
    print(
        f"search                          {wall:.1f} s (workers start in {summary.seconds['start']:.1f} s)"
    )
    print(f"share of core time training     {100 * summary.utilisation:.1f} %")
    print(f"core time beside training       {(workers * wall - busy) / len(trained):.3f} s a child")
    print(f"mean training time              {busy / len(trained):.3f} s a child")
    print(f"peak memory, all processes      {peak_mb:,.0f} MB")


class MemoryWatch:
    """Samples a process tree twice a second."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._peak = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Peak in MB."""
        self._stop.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            total = 0.0
            try:
                tree = [self._root, *self._root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in tree:
                try:
                    total += process.memory_full_info().pss
                except (psutil.NoSuchProcess, psutil.AccessDenied):
                    continue
            self._peak = max(self._peak, total / 2**20)


if __name__ == "__main__":
    main()
