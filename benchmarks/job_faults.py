"""The fault matrix of jobs: each kind of fault, and whether what comes out is what an undisturbed run gives.

    python benchmarks/job_faults.py --work DIR --kills 50 [--only NAME …] [--at-once 4]

| row | fault |
|---|---|
| kill | `kill -9` of search, of server, of both, and SIGSTOP of the server past its lease, at random moments |
| state | `kill -9` of server and search in each state of a job |
| ray | `kill -9` of a Ray worker in the middle of a child, and of Ray's node, at random moments and while the job stops |
| disk | a small disk (tmpfs) filled at random moments; needs root on Linux |
| damage | flipped and truncated bytes in checkpoints and ledger |
| database | PostgreSQL killed at random moments and back a minute later, and in states; needs root, PostgreSQL and psycopg |
| partition | a server that does not reach its store, on a virtual clock |
| children | children that allocate or sleep without end, ignore SIGTERM, or fork daemons (`misbehaving/`) |

Each job is `configs/digits-quick.yaml` made small, in a results folder of its own, with the device file of the undisturbed run.
Results are compared with the ledger as it was right before the fault (lost: not there any more, or trained again), children that
were paid twice are counted, and trial table and export are compared byte for byte with an undisturbed run's.

The exit status is 0 where all is as it should be, 1 where anything is not, and 3 where nothing is wrong, but a row was left out
because something that it needs is missing; the table says what.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import job_faults_children
import job_faults_disk
import job_faults_kills
import job_faults_outages
from job_faults_lanes import carried_out
from job_faults_outcome import Case, LeftOutError, Outcome, table
from job_faults_place import CONFIG, LOCAL, SMALL, Row, Setting, netlathe

from service.jobs.states import ENDED

ROWS: dict[str, Row] = {
    **job_faults_kills.ROWS,
    **job_faults_disk.ROWS,
    **job_faults_outages.ROWS,
    **job_faults_children.ROWS,
}
FAULTY, LEFT_OUT = 1, 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ROWS, default=list(ROWS), metavar="NAME")
    parser.add_argument(
        "--kills", type=int, default=20, help="random moments of row kill; others in proportion"
    )
    parser.add_argument("--at-once", type=int, default=4, help="cases under way at a time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, required=True)
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # cases share the cores, and are all alike
    options.work.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    setting = prepared(options.work.absolute())
    print(
        f"an undisturbed job takes {setting.length_s:.0f} s; load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    cases, left_out = cases_of(options.only, setting, options.seed, options.kills)
    outcomes = []
    try:
        for outcome in carried_out(cases, options.at_once):
            outcomes.append(outcome)
            print(json.dumps(asdict(outcome)), flush=True)
    except KeyboardInterrupt:
        left_out["the rest"] = f"stopped after {len(outcomes)} of {len(cases)} cases"
    print(*table(outcomes, left_out), sep="\n")
    minutes, load = (time.monotonic() - started) / 60, os.getloadavg()[2]
    print(f"{minutes:.0f} minutes in all; load over the last 15: {load:.1f}")
    sys.exit(status(outcomes, left_out))


def cases_of(
    rows: Sequence[str], setting: Setting, seed: int, kills: int
) -> tuple[list[Case], dict[str, str]]:
    """(all cases of these rows, why some rows have none: name to what is missing)."""
    cases: list[Case] = []
    left_out = {}
    for name in rows:
        try:
            cases += ROWS[name](setting, random.Random(f"{seed} {name}"), kills)
        except LeftOutError as error:
            left_out[name] = str(error)
    return cases, left_out


def status(outcomes: Sequence[Outcome], left_out: Mapping[str, str]) -> int:
    """The exit status that the file's head states."""
    if not all(outcome.good for outcome in outcomes):
        return FAULTY
    return LEFT_OUT if left_out else 0


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


if __name__ == "__main__":
    main()
