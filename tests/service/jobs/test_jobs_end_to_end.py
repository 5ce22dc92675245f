"""Jobs from a user's seat: submitted, served, killed, paused, cancelled; nothing lost and nothing done twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from tests.service.command_line import netlathe
from tests.service.jobs.place import CONFIG, TINY, Place, assert_as_undisturbed, processes_of

pytestmark = pytest.mark.slow


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
