"""Kills searches and servers of jobs at random moments, and compares what comes out with an undisturbed run.

    python benchmarks/job_faults.py --kills 30 --work DIR

Each job is `configs/digits-quick.yaml` made small. A kill is SIGKILL to the search, to the server, or to the server and then to the
search; or SIGSTOP of the server past its lease, another server, and SIGCONT. Prints, by what was done: how many jobs, how many
trial tables and exports equal the undisturbed run's byte for byte, how many jobs were reported to have succeeded other than
once, and the seconds from the kill until the job was at work again (median and most).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from service.jobs.folder import JobsFolder
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore

CONFIG = Path(__file__).parent.parent / "configs" / "digits-quick.yaml"
SMALL = [
    "--set", "search.budget=12",
    "--set", "search.strategy.batch_size=4",
    "--set", "schedule.search_epochs=2",
    "--set", "schedule.final_epochs=3",
    "--set", "profile.budget_s=6",
    "--set", "evaluator.kind=local",
    "--set", "mirror.enabled=false",
]  # fmt: skip
FAULTS = ("search", "server", "server, then search", "server stopped past its lease")
STOPPED_S = 20.0
WAIT_S = 300.0
JOB = "job"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one job."""

    fault: str
    after_s: float
    equal: bool
    successes: int
    recovered_s: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    whole = options.work / "whole"
    if not (whole / "summary.json").is_file():
        netlathe("search", CONFIG, "--out", whole, *SMALL)
    length = seconds_of(options.work / "timed", whole)
    print(f"an undisturbed job takes {length:.0f} s")
    rng = random.Random(options.seed)
    outcomes = []
    for number in range(options.kills):
        fault = FAULTS[number % len(FAULTS)]
        outcome = disturbed(
            options.work / f"kill-{number}", whole, fault, rng.uniform(0.0, 0.95 * length)
        )
        outcomes.append(outcome)
        print(f"{number}: {json.dumps(vars(outcome))}", flush=True)
    table(outcomes)


def seconds_of(results: Path, whole: Path) -> float:
    """How long a job takes that nobody disturbs."""
    with Place(results, whole) as place:
        started = time.monotonic()
        place.serve()
        place.wait(lambda: place.state() in ENDED)
        return time.monotonic() - started


def disturbed(results: Path, whole: Path, fault: str, after_s: float) -> Outcome:
    """One job with one fault, `after_s` after its server was started."""
    with Place(results, whole) as place:
        server = place.serve()
        time.sleep(after_s)
        was_over = place.state() in ENDED
        seen = len(place.store.events(JOB))
        at = time.time()
        match fault:
            case "search":
                place.kill_search()
            case "server":
                server.kill()
            case "server, then search":
                server.kill()
                place.kill_search()
            case _:
                server.send_signal(signal.SIGSTOP)
                place.serve()
                time.sleep(STOPPED_S)
                server.send_signal(signal.SIGCONT)
        if fault.startswith("server,") or fault == "server":
            place.serve()
        place.wait(lambda: place.state() in ENDED)
        events = place.store.events(JOB)
        again = [e.at for e in events[seen:] if e.state in (JobState.RUNNING, JobState.SUCCEEDED)]
        return Outcome(
            fault=fault,
            after_s=round(after_s, 1),
            equal=place.is_as(whole),
            successes=sum(event.state is JobState.SUCCEEDED for event in events),
            recovered_s=None if was_over or not again else round(again[0] - at, 1),
        )


class Place:
    """A results folder with one submitted job, and the servers started over it."""

    def __init__(self, results: Path, whole: Path) -> None:
        self.results = results
        self.servers: list[subprocess.Popen[bytes]] = []
        device = whole / "device.json"
        netlathe(
            "submit", CONFIG, "--id", JOB, "--results", results, "--device-file", device, *SMALL
        )
        self.store = JobStore(JobsFolder(results).database_url)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()
        for process in self.searches():
            process.kill()
        self.store.close()

    def serve(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "service.cli", "serve", "--results", str(self.results)]
        self.servers.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        return self.servers[-1]

    def state(self) -> JobState:
        return self.store.get(JOB).state

    def searches(self) -> Iterator[psutil.Process]:
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "service.jobs.child" in line and any(str(self.results) in part for part in line):
                yield process

    def kill_search(self) -> None:
        for process in self.searches():
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(process.pid, signal.SIGKILL)

    def wait(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > end:
                raise SystemExit(f"{self.results}: {self.store.get(JOB)}")
            time.sleep(0.2)

    def is_as(self, whole: Path) -> bool:
        """Whether trial table and export are those of the undisturbed run."""
        run = self.results / JOB
        if not (run / "trials.parquet").is_file():
            return False
        tables = [pd.read_parquet(each / "trials.parquet") for each in (run, whole)]
        files = [p for p in (whole / "best").iterdir() if p.name != "measurements.json"]
        return tables[0].equals(tables[1]) and all(
            (run / "best" / path.name).read_bytes() == path.read_bytes() for path in files
        )


def netlathe(*arguments: object) -> None:
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def table(outcomes: list[Outcome]) -> None:
    print("fault | jobs | equal | not exactly one success | recovered s, median (most)")
    for fault in FAULTS:
        own = [outcome for outcome in outcomes if outcome.fault == fault]
        times = [outcome.recovered_s for outcome in own if outcome.recovered_s is not None]
        took = f"{statistics.median(times):.1f} ({max(times):.1f})" if times else "–"
        print(
            f"{fault} | {len(own)} | {sum(o.equal for o in own)} | {sum(o.successes != 1 for o in own)} | {took}"
        )


if __name__ == "__main__":
    main()
