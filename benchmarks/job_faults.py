"""The fault matrix of jobs: each kind of fault, and whether what comes out is what an undisturbed run gives.

    python benchmarks/job_faults.py --work DIR [--only NAME …] [--kills 50]

| row | fault |
|---|---|
| kill | `kill -9` of search, of server, of both, and SIGSTOP of the server past its lease, at random moments |
| state | `kill -9` of server and search in each state of a job |
| ray | `kill -9` of a Ray worker in the middle of a child, and of Ray's node |
| disk | a small disk (tmpfs) filled at random moments; needs root |
| damage | flipped and truncated bytes in checkpoints and ledger |
| database | PostgreSQL killed, and started again a minute later; needs PostgreSQL and psycopg |
| partition | a server that does not reach its store, on a virtual clock |
| children | children that allocate or sleep without end, ignore SIGTERM, or fork daemons (`misbehaving/`) |

Each job is `configs/digits-quick.yaml` made small. Results are compared with the ledger as it was right before the fault (lost: not
there any more, or trained again), children that were paid twice are counted, and trial table and export are compared byte for byte
with an undisturbed run's. Exit status 1 where anything is not as it should be.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import job_faults_children
import job_faults_disk
import job_faults_kills
import job_faults_outages
from job_faults_place import CONFIG, LOCAL, SMALL, Outcome, Setting, netlathe

from service.jobs.states import ENDED

ROWS: dict[str, Callable[[Setting, random.Random, int], Iterator[Outcome]]] = {
    **job_faults_kills.ROWS,
    **job_faults_disk.ROWS,
    **job_faults_outages.ROWS,
    **job_faults_children.ROWS,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument(
        "--kills", type=int, default=20, help="random moments of row kill; others in proportion"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    setting = prepared(options.work.absolute())
    print(f"an undisturbed job takes {setting.length_s:.0f} s; load {os.getloadavg()[0]:.1f}")
    outcomes = []
    started = time.monotonic()
    for name in options.only:
        for outcome in ROWS[name](setting, random.Random(options.seed), options.kills):
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), flush=True)
    table(outcomes)
    minutes, load = (time.monotonic() - started) / 60, os.getloadavg()[2]
    print(f"{minutes:.0f} minutes; load over the last 15: {load:.1f}")
    sys.exit(not all(outcome.good for outcome in outcomes))


def prepared(work: Path) -> Setting:
    """With an undisturbed run, and the time that an undisturbed job takes."""
    whole = work / "whole"
    if not (whole / "summary.json").is_file():
        netlathe("search", CONFIG, "--out", whole, *SMALL, *LOCAL)
    setting = Setting(work, whole, 0.0)
    with setting.place("timed") as place:
        started = time.monotonic()
        place.serve()
        place.wait_for(*ENDED)
        setting.length_s = time.monotonic() - started
    return setting


def table(outcomes: list[Outcome]) -> None:
    """One line a fault."""
    print(
        "| row | fault | jobs | lost | doubled | equal | as wanted | recovered s, median (most) |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for row, fault in dict.fromkeys((o.row, o.fault) for o in outcomes):
        own = [o for o in outcomes if (o.row, o.fault) == (row, fault)]
        times = [o.recovered_s for o in own if o.recovered_s is not None]
        took = f"{statistics.median(times):.1f} ({max(times):.1f})" if times else "–"
        compared = [o for o in own if o.equal is not None]
        equal = f"{sum(o.equal is True for o in compared)}/{len(compared)}" if compared else "–"
        good = f"{sum(o.as_wanted and o.good for o in own)}/{len(own)}"
        lost, doubled = sum(o.lost for o in own), sum(o.doubled for o in own)
        print(f"| {row} | {fault} | {len(own)} | {lost} | {doubled} | {equal} | {good} | {took} |")


if __name__ == "__main__":
    main()
