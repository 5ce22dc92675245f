"""Jobs from a user's seat: submitted, served, killed, paused, cancelled; nothing lost and nothing done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from tests.service.command_line import netlathe

CONFIG = Path(__file__).parents[3] / "configs" / "digits-quick.yaml"
TINY = [
    "--set", "search.budget=12",
    "--set", "search.strategy.batch_size=4",
    "--set", "schedule.search_epochs=2",
    "--set", "schedule.final_epochs=3",
    "--set", "profile.budget_s=6",
    "--set", "evaluator.kind=local",
]  # fmt: skip

pytestmark = pytest.mark.slow


class Place:
    """A results folder and the servers that were started over it."""

    def __init__(self, results: Path) -> None:
        self.results = results
        self.servers: list[subprocess.Popen[str]] = []

    def verb(self, *arguments: object) -> Any:
        done = netlathe(*arguments, "--results", self.results, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def serve(self, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "service.cli", "serve", "--results", str(self.results)]
        self.servers.append(
            subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)
        )
        return self.servers[-1]

    def job(self, job_id: str = "one") -> dict[str, Any]:
        found: dict[str, Any] = self.verb("status", job_id)
        return found

    def children(self, job_id: str = "one") -> int:
        return sum(session["children"] for session in self.job(job_id)["sessions"])

    def wait_for(self, true: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.job()
            time.sleep(0.2)

    def states(self) -> list[str]:
        return [event["state"] for event in self.job()["events"]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "results")
    yield made
    for server in made.servers:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One profile for all."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = netlathe("search", CONFIG, "--out", run, *TINY)
    assert done.returncode == 0, done.stderr
    return run / "device.json"


def processes_of(place: Place) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "service.jobs.child" in line and any(str(place.results) in part for part in line):
            found.append(process)
    return found


def assert_as_undisturbed(place: Place, device: Path) -> None:
    whole, job = device.parent, place.results / "one"
    pd.testing.assert_frame_equal(
        pd.read_parquet(whole / "trials.parquet"), pd.read_parquet(job / "trials.parquet")
    )
    for path in (whole / "best").iterdir():
        if path.name != "measurements.json":
            assert (job / "best" / path.name).read_bytes() == path.read_bytes(), path.name


def test_servers_and_processes_that_die_lose_nothing(place: Place, device: Path) -> None:
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    server = place.serve()
    place.wait_for(lambda: place.children() >= 2)
    (process,) = processes_of(place)
    process.kill()  # the search
    place.wait_for(lambda: "RECOVERING" in place.states())
    place.wait_for(lambda: place.job()["state"] == "RUNNING" and len(processes_of(place)) == 1)
    place.wait_for(lambda: place.children() >= 6)
    server.kill()  # the server: its search notices, and ends
    psutil.wait_procs(processes_of(place), timeout=60)
    assert processes_of(place) == []
    assert place.job()["state"] == "RUNNING"  # nobody has said otherwise yet
    last = place.serve("--until-idle")
    assert last.wait(timeout=240) == 0
    job = place.job()
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 1)
    assert_as_undisturbed(place, device)


def test_paused_by_a_verb_and_by_a_signal_then_resumed(place: Place, device: Path) -> None:
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    server = place.serve()
    place.wait_for(lambda: place.children() >= 2)
    assert netlathe("pause", "one", "--results", place.results).returncode == 0
    place.wait_for(lambda: place.job()["state"] == "PAUSED")
    assert processes_of(place) == []
    assert netlathe("resume", "one", "--results", place.results).returncode == 0
    place.wait_for(lambda: place.job()["state"] == "RUNNING" and place.children() >= 6)
    server.send_signal(signal.SIGTERM)
    _, said = server.communicate(timeout=120)
    assert server.returncode == 75, said
    assert place.job()["state"] == "RECOVERING"
    assert place.serve("--until-idle").wait(timeout=240) == 0
    assert place.job()["state"] == "SUCCEEDED"
    assert_as_undisturbed(place, device)


def test_trials_added_to_a_paused_job_are_added_once_whatever_is_killed(
    place: Place, device: Path
) -> None:
    """8 children and 4 more are the undisturbed run's 12."""
    smaller = [*TINY, "--set", "search.budget=8"]
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *smaller)
    place.serve()
    place.wait_for(lambda: place.children() >= 2)
    place.verb("pause", "one")
    place.wait_for(lambda: place.job()["state"] == "PAUSED")
    assert place.verb("resume", "one", "--add-trials", 4)["added_trials"] == 4
    for children in (6, 9):
        place.wait_for(lambda least=children: place.children() >= least)
        for process in processes_of(place):
            process.kill()
    place.wait_for(lambda: place.job()["state"] == "SUCCEEDED", 240)
    assert {session["budget"] for session in place.job()["sessions"]} == {12}
    assert place.job()["attempt"] == 1
    assert_as_undisturbed(place, device)
    more = netlathe("resume", "one", "--add-trials", 4, "--results", place.results)
    assert (more.returncode, "another --id" in more.stderr) == (4, True)


def test_a_server_that_was_stopped_past_its_lease(place: Place, device: Path) -> None:
    """SIGSTOP, another server takes over, SIGCONT: one result."""
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    first = place.serve()
    place.wait_for(lambda: place.children() >= 2)
    os.kill(first.pid, signal.SIGSTOP)
    second = place.serve("--until-idle")
    place.wait_for(lambda: "RECOVERING" in place.states())
    os.kill(first.pid, signal.SIGCONT)
    assert second.wait(timeout=240) == 0
    job = place.job()
    assert job["state"] == "SUCCEEDED"
    assert place.states().count("SUCCEEDED") == 1
    assert_as_undisturbed(place, device)


def test_wrong_things_have_their_exit_code(place: Place, device: Path) -> None:
    results = ("--results", place.results)
    assert netlathe("list", *results).returncode == 3
    assert not place.results.exists()  # looking changes nothing
    bad = netlathe("submit", CONFIG, *results, "--set", "search.budgte=1")
    assert (bad.returncode, "did you mean" in bad.stderr) == (2, True)
    assert netlathe("submit", CONFIG, *results, "--id", "../x").returncode == 2
    first = place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    assert place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY) == first
    assert netlathe("submit", CONFIG, *results, "--id", "one").returncode == 4
    for verb in ("status", "pause", "logs", "best"):
        assert netlathe(verb, "nothing", *results).returncode == 3
    assert netlathe("delete", "one", *results).returncode == 4
    assert netlathe("cancel", "one", *results).returncode == 0
    assert place.job()["state"] == "CANCELLED"
    assert netlathe("delete", "one", *results).returncode == 0
    assert place.verb("list") == []


def test_a_job_that_cannot_be_done_says_why(place: Place, tmp_path: Path) -> None:
    place.verb("submit", CONFIG, "--id", "one", *TINY, "--set", "limits.latency_ms=0.000001")
    assert place.serve("--until-idle").wait(timeout=120) == 0
    job = place.job()
    assert (job["state"], job["reason"]) == ("FAILED", "CONFIG")
    assert "needs" in job["message"]
    log = netlathe("logs", "one", "--results", place.results)
    assert "limits.latency_ms" in log.stdout
