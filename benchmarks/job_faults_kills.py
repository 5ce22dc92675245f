"""Rows of `job_faults.py`: kills at random moments and in each state, and of what Ray runs."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
from job_faults_place import JOB, SMALL, Outcome, Place, Setting, Watch

from service.jobs.states import ENDED, JobState

FAULTS = ("search", "server", "server, then search", "server stopped past its lease")
STOPPED_S = 20.0
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


def random_kills(setting: Setting, rng: random.Random, kills: int) -> Iterator[Outcome]:
    """Each at a random moment of a job."""
    for number in range(kills):
        fault = FAULTS[number % len(FAULTS)]
        with setting.place("kill") as place:
            server = place.serve()
            after_s = setting.moment(place, rng)
            watch = Watch(place, setting)
            _disturb(place, server, fault)
            place.wait_for(*ENDED)
            yield watch.outcome("kill", fault, after_s=after_s)


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


def kills_by_state(setting: Setting, rng: random.Random, kills: int) -> Iterator[Outcome]:
    """`kill -9` of server and of process, in each state in which there is one."""
    for when in ("before", "after"):
        with setting.place("state") as place:
            watch = Watch(place, setting)
            command = [sys.executable, "-c", _DIES_STARTING, str(place.results), when]
            subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
            assert place.state() is JobState.STARTING
            place.serve()
            place.wait_for(*ENDED)
            yield watch.outcome("state", f"STARTING: server, {when} its process started")
    for state, act in (("RUNNING", None), ("PAUSING", "pause"), ("CANCELLING", "cancel")):
        for victim in ("server", "search"):
            yield _killed_while(setting, JobState(state), act, victim)
    yield _killed_while(setting, JobState.RECOVERING, None, "server")


def _killed_while(setting: Setting, state: JobState, act: str | None, victim: str) -> Outcome:
    with setting.place("state") as place:
        server = place.serve()
        place.wait_for_results(3)
        if state is JobState.RECOVERING:
            place.kill_search()
        if act == "pause":
            place.store.pause(JOB)
        elif act == "cancel":
            place.store.cancel(JOB)
        place.wait_for(state, every_s=0.01)
        watch = Watch(place, setting)
        if victim == "server":
            server.kill()
            place.serve()
        else:
            place.kill_search()
        rests = {"pause": JobState.PAUSED, "cancel": JobState.CANCELLED}
        if act is not None:
            place.wait_for(rests[act], JobState.SUCCEEDED)
            if place.state() is not JobState.SUCCEEDED:
                place.store.resume(JOB)
        place.wait_for(*ENDED)
        return watch.outcome("state", f"{state}: {victim}")


def ray_kills(setting: Setting, rng: random.Random, kills: int) -> Iterator[Outcome]:
    """A worker in the middle of a child, and Ray's node itself."""
    whole = setting.work / "whole-ray"
    with Place(whole, setting.whole / "device.json", settings=RAY) as place:
        if place.state() not in ENDED:
            place.serve()
        place.wait_for(*ENDED)
    with_ray = Setting(setting.work, whole / JOB, setting.length_s)
    for number in range(max(2, kills // 5)):
        victim = ("ChildWorker", "raylet")[number % 2]
        with setting.place("ray", settings=RAY) as place:
            place.serve()
            place.wait_for_results(rng.randint(1, 6))
            time.sleep(rng.uniform(0, 1))
            watch = Watch(place, with_ray)
            killed = _kill_marked(place, victim)
            place.wait_for(*ENDED)
            fault = "a worker, mid-child" if victim == "ChildWorker" else "its node (raylet)"
            yield watch.outcome("ray", fault, as_wanted=killed > 0 and not place.marked())


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


ROWS: dict[str, Callable[[Setting, random.Random, int], Iterator[Outcome]]] = {
    "kill": random_kills,
    "state": kills_by_state,
    "ray": ray_kills,
}
