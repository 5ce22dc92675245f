"""The fault matrix of `benchmarks/job_faults.py` carries all cases out, and says what was not as it should be."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _case(scripts, number, *, ray=False, do=None):
    outcome = scripts["job_faults_outcome"]
    good = outcome.Outcome(row="toy", fault=f"case {number}", equal=True, successes=1)
    return outcome.Case(row="toy", fault=f"case {number}", do=do or (lambda: good), ray=ray)


@pytest.mark.parametrize("at_once", [1, 3])
def test_each_case_is_carried_out_once(scripts, at_once):
    cases = [_case(scripts, number, ray=number % 3 == 0) for number in range(20)]
    found = list(scripts["job_faults_lanes"].carried_out(cases, at_once))
    assert sorted(each.fault for each in found) == sorted(each.fault for each in cases)


def test_cases_run_beside_each_other_and_few_of_them_with_ray(scripts):
    lanes, outcome = scripts["job_faults_lanes"], scripts["job_faults_outcome"].Outcome
    together = threading.Barrier(4, timeout=10)
    starts = threading.Semaphore(lanes.RAY_AT_ONCE)

    def beside():
        together.wait()
        return outcome(row="toy", fault="beside")

    def with_ray():
        assert starts.acquire(blocking=False), "too many at a time"
        together.wait()
        starts.release()
        return outcome(row="toy", fault="ray")

    cases = [_case(scripts, 0, ray=True, do=with_ray) for _ in range(4)]
    cases += [_case(scripts, 1, do=beside) for _ in range(4)]
    found = list(lanes.carried_out(cases, 4))
    assert [each.note for each in found if not each.good] == []


def test_a_case_that_cannot_go_on_is_no_good_and_stops_nothing(scripts):
    def fails():
        raise TimeoutError("not within 400 s")

    cases = [_case(scripts, 0, do=fails), _case(scripts, 1)]
    found = {o.fault: o for o in scripts["job_faults_lanes"].carried_out(cases, 1)}
    assert (found["case 0"].good, found["case 1"].good) == (False, True)
    assert "not within 400 s" in found["case 0"].note


@pytest.mark.parametrize(
    "flaw",
    [{"equal": False}, {"lost": 1}, {"doubled": 1}, {"successes": 2}, {"as_wanted": False}],
)
def test_the_exit_status_tells(scripts, flaw):
    outcome, status = scripts["job_faults_outcome"].Outcome, scripts["job_faults"].status
    good = {"row": "kill", "fault": "server", "equal": True, "successes": 1}
    assert status([outcome(**good)], {}) == 0
    assert status([outcome(**good)], {"disk": "needs root"}) == 3
    assert status([outcome(**good), outcome(**(good | flaw))], {"disk": "needs root"}) == 1


def test_the_table_names_what_was_left_out(scripts, monkeypatch, tmp_path):
    kills, disk = scripts["job_faults_kills"], scripts["job_faults_disk"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    setting = scripts["job_faults_place"].Setting(tmp_path, tmp_path, 1.0)
    cases, left_out = scripts["job_faults"].cases_of(["kill", "disk"], setting, 0, 6)
    assert len(cases) == len(kills.random_kills(setting, random.Random(0), 6)) == 6
    assert list(left_out) == ["disk"]
    with pytest.raises(scripts["job_faults_outcome"].LeftOutError):
        disk.full_disk(setting, random.Random(0), 6)
    outcome = scripts["job_faults_outcome"].Outcome(
        row="kill", fault="server", equal=True, successes=1, recovered_s=15.04
    )
    table = scripts["job_faults_outcome"].table([outcome, outcome], left_out)
    assert "| kill | server | 2 | 0 | 0 | 2/2 | 2/2 | 15.0 (15.0) |" in table
    assert any("| disk | **left out**: mounting" in line for line in table)


@pytest.mark.slow
def test_a_search_and_a_server_are_killed(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "job_faults.py"), "--work", str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    done = subprocess.run(
        [*command, "--only", "kill", "--kills", "2"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for fault in ("search", "server"):
        assert f"| kill | {fault} | 1 | 0 | 0 | 1/1 | 1/1 |" in done.stdout
