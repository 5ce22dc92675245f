"""Strategies beside each other at equal budget over several seeds, with the final test accuracy of the picks.

    python benchmarks/strategies.py configs/shapes.yaml --seeds 5

Runs `netlathe search` once a seed with one device file, so that all seeds see the same predicted costs, then
`netlathe compare`. Seeds that ended already (same --work) are not run again.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from search import read_summary

NETLATHE = [sys.executable, "-m", "service.cli"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    runs = [arguments.work / f"seed-{seed}" for seed in range(arguments.seeds)]
    for seed, run in enumerate(runs):
        search(arguments.config, run, seed, runs[0] / "device.json", arguments.overrides)
    summaries = [read_summary(run) for run in runs]
    print_sessions(summaries)
    print_picks(summaries)
    picture = arguments.work / "compare.html"
    subprocess.run([*NETLATHE, "compare", *map(str, runs), "--out", str(picture)], check=True)


def search(config: Path, run: Path, seed: int, device: Path, overrides: list[str]) -> None:
    """One run, or what is left of it."""
    if (run / "summary.json").is_file():
        return
    if (run / "run.yaml").is_file():
        command = ["resume", str(run)]
    else:
        command = ["search", str(config), "--out", str(run), "--seed", str(seed)]
        command += [part for override in overrides for part in ("--set", override)]
        if device.is_file():
            command += ["--device-file", str(device)]
    subprocess.run([*NETLATHE, *command], check=True)


def print_sessions(summaries: list) -> None:  # type: ignore[type-arg]
    """Mean ± standard deviation over seeds, and how often each strategy was first."""
    names = [session.strategy for session in summaries[0].sessions]
    best = [max(s.best_reward for s in summary.sessions) for summary in summaries]
    print("strategy    best reward       best accuracy %   hypervolume      first in")
    for i, name in enumerate(names):
        sessions = [summary.sessions[i] for summary in summaries]
        first = sum(s.best_reward == b for s, b in zip(sessions, best, strict=True))
        cells = [
            spread([s.best_reward for s in sessions]),
            spread([100 * s.best_accuracy for s in sessions], 2),
            spread([s.hypervolume for s in sessions]),
        ]
        print(f"{name:10}  " + "  ".join(f"{cell:16}" for cell in cells) + f" {first}")


def print_picks(summaries: list) -> None:  # type: ignore[type-arg]
    """Test accuracy after the full schedule, and how far the latency prediction was off."""
    print("pick      test accuracy %   measured ms        |predicted / measured − 1| (no exit)")
    for i, pick in enumerate(summaries[0].picks):
        if pick.test_accuracy is None:
            continue  # a run over a table trains nothing
        picks = [summary.picks[i] for summary in summaries]
        errors = [
            abs(p.latency_worst_predicted.value / p.latency_worst_measured.value - 1) for p in picks
        ]
        print(
            f"{pick.pick:8}  {spread([100 * p.test_accuracy for p in picks], 2):16}  "
            f"{spread([p.latency_measured.value for p in picks]):17}  {spread(errors, 3)}"
        )


def spread(values: list[float], digits: int = 4) -> str:
    """Mean ± sample standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.{digits}f} ± {deviation:.{digits}f}"


if __name__ == "__main__":
    main()
