"""Row of `job_faults.py`: children that misbehave, in workers of Ray."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
from job_faults_outcome import Case, Outcome
from job_faults_place import JOB, SMALL, Place, Row, Setting

from service.jobs.states import ENDED, JobState

HOOK = Path(__file__).parent / "misbehaving"
EPOCHS = "2"
RAY = (
    *SMALL,
    "--set", "evaluator.kind=ray",
    "--set", "evaluator.workers=2",
    "--set", "evaluator.child_memory_mb=512",
    "--set", "evaluator.child_timeout_s=20",
    "--set", "search.max_failure_share=1",
)  # fmt: skip
WANTED = {
    "allocate": "OOM",
    "sleep_in_c": "TIMEOUT",
    "ignore_sigterm": "TIMEOUT",
    "fork_daemon": None,
}
"""What such children are to end with."""
ENDS = ("cancelled at once", "killed", "killed with its server")
ORPHANS_S = 60.0
"""Within which nothing of a job's ended process may be left; a lease must run out in it."""


def children(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """Every fourth child misbehaves: the search goes on without it, and nothing is left behind."""
    found = [
        Case(row="children", fault=how, do=partial(_seen_through, setting, how), ray=True)
        for how in WANTED
    ]
    for how in ("ignore_sigterm", "fork_daemon"):
        for end in ENDS:
            fault = f"{how}; the job is {end}"
            do = partial(_ended, setting, fault, how, end)
            found.append(Case(row="children", fault=fault, do=do, ray=True))
    return found


def _seen_through(setting: Setting, how: str) -> Outcome:
    with _place(setting, how) as place:
        place.serve()
        place.wait_for(*ENDED)
        found = _failures(place)
        wanted = {failure} if (failure := WANTED[how]) else set()
        ended = place.state() is JobState.SUCCEEDED
        left = _left(place.marked())
        return Outcome(
            row="children",
            fault=how,
            successes=int(ended),
            as_wanted=ended and set(found) == wanted and not left,
            note=f"{dict(found)} of {len(place.rows())} children; left behind: {len(left)}",
        )


def _ended(setting: Setting, fault: str, how: str, end: str) -> Outcome:
    """One that is ended while such children live, and whether they end with it."""
    with _place(setting, how) as place:
        server = place.serve()
        place.wait_for_results(6)
        time.sleep(3)
        before = place.marked()
        started = time.monotonic()
        if end == "killed with its server":
            server.kill()
        if end == "cancelled at once":
            place.store.cancel(JOB, at_once=True)
        else:
            place.kill_search()
        if end == "killed with its server":
            place.serve()  # whoever goes on with the job ends what is left of it
        left = _left(before)
        note = f"processes before: {len(before)}, left: {len(left)}; after {time.monotonic() - started:.0f} s"
        return Outcome(
            row="children",
            fault=fault,
            as_wanted=not left and len(before) > 1,
            note=note,
        )


def _place(setting: Setting, how: str) -> Place:
    path = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
    environment = {
        "PYTHONPATH": path,
        "NETLATHE_MISBEHAVIOUR": how,
        "NETLATHE_MISBEHAVING_EPOCHS": EPOCHS,
    }
    return setting.place("children", settings=RAY, environment=environment)


def _left(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still live after `ORPHANS_S`; zombies, which nobody reaps, do not."""
    end = time.monotonic() + ORPHANS_S
    while alive := [process for process in processes if _is_alive(process)]:
        if time.monotonic() > end:
            break
        time.sleep(0.2)
    return alive


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _failures(place: Place) -> Counter[str]:
    results = [json.loads(text) for text in place.rows().values() if text]
    return Counter(each["failure"] for each in results if each["failure"] is not None)


ROWS: dict[str, Row] = {"children": children}
