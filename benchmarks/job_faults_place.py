"""What the rows of `job_faults.py` share: a results folder with one job, servers over it, and what came of the job."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import psutil

from service.jobs.folder import JobsFolder
from service.jobs.orphans import MARK
from service.jobs.states import ENDED, JobState
from service.jobs.store import JobStore

CONFIG = Path(__file__).parent.parent / "configs" / "digits-quick.yaml"
SMALL = (
    "--set", "search.budget=12",
    "--set", "search.controls=[]",
    "--set", "search.strategy.batch_size=4",
    "--set", "schedule.search_epochs=2",
    "--set", "schedule.final_epochs=3",
    "--set", "profile.budget_s=6",
    "--set", "mirror.enabled=false",
)  # fmt: skip
CHILDREN = 12
LOCAL = ("--set", "evaluator.kind=local")
WAIT_S = 400.0
JOB = "job"

Rows = dict[tuple[str, int, int], str]
"""Of a ledger: strategy, seed and sequence to result."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of one job.

    Attributes:
        equal: trial table and export are the undisturbed run's, byte for byte; None where they cannot be.
        lost, doubled: results that were there before the fault and are not, or not the same; children that were paid twice.
        states: what the job was after the fault, each with its reason.
        recovered_s: from the fault until a process was at work again; None where the job was over, or nothing had to recover.
        as_wanted: what this fault asks for besides.
    """

    row: str
    fault: str
    after_s: float | None = None
    equal: bool | None = None
    lost: int = 0
    doubled: int = 0
    successes: int = 0
    states: tuple[str, ...] = ()
    recovered_s: float | None = None
    as_wanted: bool = True
    note: str = ""

    @property
    def good(self) -> bool:
        """Nothing lost, nothing doubled, equal, and as it should be."""
        once = self.equal is None or self.successes == 1
        return (
            self.equal is not False
            and not self.lost
            and not self.doubled
            and once
            and self.as_wanted
        )


@dataclass
class Setting:
    """Where a row works, and what it compares with.

    Attributes:
        whole: an undisturbed run.
        length_s: how long a job takes that nobody disturbs, from the start of its server.
    """

    work: Path
    whole: Path
    length_s: float

    def moment(self, place: Place, rng: random.Random) -> float:
        """Wait for a random moment of a job that has just been taken; seconds waited.

        One in four is a random time of its start; others come after a random number of results, and a bit: so they are
        spread over the job whatever else the machine does.
        """
        started = time.monotonic()
        if rng.random() < 0.25:
            time.sleep(rng.uniform(0.0, 0.4 * self.length_s))
        else:
            place.wait_for_results(rng.randint(1, CHILDREN))
            time.sleep(rng.uniform(0.0, 0.1 * self.length_s))
        return round(time.monotonic() - started, 1)

    def place(self, name: str, **options: object) -> Place:
        """A new place; see `Place`. Those of earlier calls of the benchmark stay."""
        numbers = (self.work / f"{name}-{number}" for number in itertools.count())
        results = next(path for path in numbers if not path.exists())
        return Place(results, self.whole / "device.json", **options)  # type: ignore[arg-type]


class Place:
    """A results folder with one submitted job, and the servers started over it.

    Args:
        results: made if it is not there.
        device: the device file that all jobs share.
        store_url: of the jobs' database, where that is not in the results folder.
        settings: of the job's config, as options of the command line.
        environment: of servers and their processes, besides this process's.
    """

    def __init__(
        self,
        results: Path,
        device: Path,
        *,
        store_url: str | None = None,
        settings: tuple[str, ...] = (*SMALL, *LOCAL),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.results, self.run = results, results / JOB
        self._where = ["--results", str(results), *(["--store", store_url] if store_url else [])]
        self._environment = {**os.environ, **(environment or {})}
        self.servers: list[subprocess.Popen[bytes]] = []
        self.verb("submit", CONFIG, "--id", JOB, "--device-file", device, *settings)
        self.store = JobStore(store_url or JobsFolder(results).database_url)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.send_signal(signal.SIGCONT)
            server.kill()
            server.wait()
        for process in self.marked():
            with suppress(psutil.Error):
                process.kill()
        self.store.close()

    def verb(self, *arguments: object) -> None:
        """A verb of the command line about this folder."""
        netlathe(*arguments, *self._where)

    def serve(self) -> subprocess.Popen[bytes]:
        """Start another server."""
        command = [sys.executable, "-m", "service.cli", "serve", *self._where]
        with (self.results.parent / f"{self.results.name}.server.log").open("ab") as log:
            server = subprocess.Popen(command, stderr=log, env=self._environment)
        self.servers.append(server)
        return server

    def state(self) -> JobState:
        return self.store.get(JOB).state

    def marked(self) -> list[psutil.Process]:
        """All processes of this machine that come from the job, wherever they hide."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get(MARK, "").startswith(f"{self.run.absolute()}#"):
                    found.append(process)
        return found

    def searches(self) -> list[psutil.Process]:
        """The job's own processes."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            line = process.info["cmdline"] or []
            if "service.jobs.child" in line and any(str(self.results) in part for part in line):
                found.append(process)
        return found

    def kill_search(self) -> None:
        for process in self.searches():
            with suppress(ProcessLookupError):  # it may have ended by itself
                os.kill(process.pid, signal.SIGKILL)

    def wait(self, true: Callable[[], bool], every_s: float = 0.2) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > end:
                raise SystemExit(f"{self.results}: {self.store.get(JOB)}")
            time.sleep(every_s)

    def wait_for(self, *states: JobState, every_s: float = 0.2) -> None:
        """Until the job is in one of these states."""
        self.wait(lambda: self.state() in states, every_s)

    def wait_for_results(self, count: int) -> None:
        """Until so many children have results, or the job has ended."""
        self.wait(lambda: len(self.rows()) >= count or self.state() in ENDED)

    def rows(self) -> Rows:
        """Results in the ledger now."""
        path = self.run / "ledger.db"
        if not path.is_file():
            return {}
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            try:
                found = connection.execute(
                    "SELECT strategy, seed, sequence, result FROM proposals JOIN sessions "
                    "ON session_id = sessions.id WHERE status = 'done'"
                ).fetchall()
            except sqlite3.OperationalError:
                return {}  # it is just being made
        return {(strategy, seed, sequence): result for strategy, seed, sequence, result in found}

    def paid_twice(self) -> int:
        """Children that one session paid for more than once."""
        path = self.run / "ledger.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            found = connection.execute(
                "SELECT COUNT(*) FROM proposals WHERE charged > 0 GROUP BY session_id, digest, fidelity "
                "HAVING COUNT(*) > 1"
            ).fetchall()
        return len(found)

    def is_as(self, whole: Path) -> bool:
        """Whether trial table and export are those of the undisturbed run."""
        if not (self.run / "trials.parquet").is_file():
            return False
        tables = [pd.read_parquet(each / "trials.parquet") for each in (self.run, whole)]
        files = [p for p in (whole / "best").iterdir() if p.name != "measurements.json"]
        return tables[0].equals(tables[1]) and all(
            (self.run / "best" / path.name).read_bytes() == path.read_bytes() for path in files
        )


class Watch:
    """What came of a job after a fault; make it right before the fault."""

    def __init__(self, place: Place, setting: Setting) -> None:
        self._place, self._setting = place, setting
        self._was_over = place.state() in ENDED
        self._seen = len(place.store.events(JOB))
        self._rows = place.rows()
        self.at = time.time()

    def outcome(self, row: str, fault: str, **others: object) -> Outcome:
        """After the job's end."""
        place, events = self._place, self._place.store.events(JOB)
        after = events[self._seen :]
        again = [e.at for e in after if e.state is JobState.RUNNING]
        now = place.rows()
        facts: dict[str, object] = {
            "equal": place.is_as(self._setting.whole),
            "lost": sum(now.get(key) != value for key, value in self._rows.items()),
            "doubled": place.paid_twice(),
            "successes": sum(event.state is JobState.SUCCEEDED for event in events),
            "states": tuple(f"{e.state}{f' ({e.reason})' if e.reason else ''}" for e in after),
            "recovered_s": None if self._was_over or not again else round(again[0] - self.at, 1),
        }
        return Outcome(row=row, fault=fault, **facts | others)  # type: ignore[arg-type]


def netlathe(*arguments: object) -> None:
    """A verb of the command line, which must succeed."""
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[2:])}: {done.stderr}")
