"""Rows of `job_faults.py`: kills at random moments and in each state, and of what Ray runs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
from job_faults_outcome import Case, Outcome
from job_faults_place import ACTS, JOB, SMALL, Place, Row, Setting, Watch

from service.jobs.states import ENDED, JobState

FAULTS = ("search", "server", "server, then search", "server stopped past its lease")
STOPPED_S = 20.0
RAY_VICTIMS = {"ChildWorker": "a worker, mid-child", "raylet": "its node (raylet)"}
"""What is in a process's command line or name, and what it is."""
RAY = (
    *SMALL,
    "--set", "evaluator.kind=ray",
    "--set", "evaluator.workers=1",
    "--set", "schedule.search_epochs=12",
)  # fmt: skip

_DIES_STARTING = """
import os, signal, sys
from pathlib import Path
from service.jobs.folder import JobsFolder
from service.jobs.process import JobProcess
from service.jobs.store import JobStore
from service.jobs.supervisor import Supervisor

def start(job_id, spec, folder):
    if sys.argv[2] == "after":
        JobProcess(job_id, spec, folder)
    os.kill(os.getpid(), signal.SIGKILL)

folder = JobsFolder(Path(sys.argv[1]))
Supervisor(JobStore(folder.database_url), folder, start=start).step()
"""
"""A server that dies between taking a job and saying that it runs."""


def random_kills(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """Each at a random moment of a job."""
    found = []
    for number in range(kills):
        fault = FAULTS[number % len(FAULTS)]
        do = partial(_killed_at_random, setting, fault, random.Random(rng.random()))
        found.append(Case(row="kill", fault=fault, do=do))
    return found


def _killed_at_random(setting: Setting, fault: str, rng: random.Random) -> Outcome:
    with setting.place("kill") as place:
        server = place.serve()
        after_s = setting.moment(place, rng)
        watch = Watch(place, setting.whole)
        _disturb(place, server, fault)
        place.wait_for(*ENDED)
        return watch.outcome("kill", fault, after_s=after_s)


def _disturb(place: Place, server: subprocess.Popen[bytes], fault: str) -> None:
    match fault:
        case "search":
            place.kill_search()
            return
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
            return
    place.serve()


def kills_by_state(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """`kill -9` of server and of process, in each state in which there is one."""
    found = []
    for when in ("before", "after"):
        fault = f"STARTING: server, {when} its process started"
        do = partial(_killed_while_starting, setting, fault, when)
        found.append(Case(row="state", fault=fault, do=do))
    for state in (*ACTS, JobState.RECOVERING):
        for victim in ("server", "search")[: 1 if state is JobState.RECOVERING else 2]:
            fault = f"{state}: {victim}"
            do = partial(_killed_while, setting, fault, state, victim)
            found.append(Case(row="state", fault=fault, do=do))
    return found


def _killed_while_starting(setting: Setting, fault: str, when: str) -> Outcome:
    with setting.place("state") as place:
        watch = Watch(place, setting.whole)
        command = [sys.executable, "-c", _DIES_STARTING, str(place.results), when]
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        if place.state() is not JobState.STARTING:
            raise RuntimeError(f"expected a job that is STARTING, got {place.state()}")
        place.serve()
        place.wait_for(*ENDED)
        return watch.outcome("state", fault)


def _killed_while(setting: Setting, fault: str, state: JobState, victim: str) -> Outcome:
    with setting.place("state") as place:
        server = place.serve()
        place.wait_for_results(3)
        place.bring_to(state)
        watch = Watch(place, setting.whole)
        if victim == "server":
            server.kill()
            place.serve()
        else:
            place.kill_search()
        place.see_through()
        return watch.outcome("state", fault)


def ray_kills(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """A worker in the middle of a child, and Ray's node itself: at random moments, and while the job stops."""
    whole = _RayWhole(setting)
    states = [JobState.RUNNING] * max(1, kills // 25) + [JobState.PAUSING, JobState.CANCELLING]
    found = []
    for state in states:
        for process, victim in RAY_VICTIMS.items():
            fault = f"{state}: {victim}"
            own = random.Random(rng.random())
            do = partial(_ray_killed, setting, whole, fault, state, process, own)
            found.append(Case(row="ray", fault=fault, do=do, ray=True))
    return found


class _RayWhole:
    """An undisturbed run whose children train on Ray, made when the first case asks for it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._making = threading.Lock()

    @property
    def path(self) -> Path:
        whole = self._setting.work / "whole-ray"
        with self._making, Place(whole, self._setting.device, settings=RAY) as place:
            if place.state() is not JobState.SUCCEEDED:
                place.serve()
                place.wait_for(*ENDED)
        return whole / JOB


def _ray_killed(
    setting: Setting,
    whole: _RayWhole,
    fault: str,
    state: JobState,
    process: str,
    rng: random.Random,
) -> Outcome:
    undisturbed = whole.path
    with setting.place("ray", settings=RAY) as place:
        place.serve()
        place.wait_for_results(rng.randint(1, 6))
        time.sleep(rng.uniform(0, 1))
        place.bring_to(state)
        watch = Watch(place, undisturbed)
        killed = _kill_marked(place, process)
        place.see_through()
        return watch.outcome("ray", fault, as_wanted=killed > 0 and not place.marked())


def _kill_marked(place: Place, what: str) -> int:
    killed = 0
    for process in place.marked():
        with suppress(psutil.Error):
            line = process.cmdline()
            name = process.name() if what == "raylet" else " ".join(line)
            if what in name:
                process.kill()
                killed += 1
    return killed


ROWS: dict[str, Row] = {
    "kill": random_kills,
    "state": kills_by_state,
    "ray": ray_kills,
}
