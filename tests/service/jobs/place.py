"""A results folder with its servers, as a user has them, and an undisturbed run to compare with."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

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
