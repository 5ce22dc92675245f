"""What the rows of `job_faults.py` share: a results folder with one job, servers over it, and what came of the job."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import sqlalchemy as sa
from job_faults_outcome import Case, Outcome

from service.config_file import read_run
from service.jobs.local_jobs import LocalJobs, open_store
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
WAIT_S = 600.0
JOB = "job"
ACTS: Mapping[JobState, Callable[[JobStore], object]] = {
    JobState.RUNNING: lambda store: None,
    JobState.PAUSING: lambda store: store.pause(JOB),
    JobState.CANCELLING: lambda store: store.cancel(JOB),
}
"""What is asked of a running job to have it in that state."""

STOPPING = threading.Event()
"""Set when no more is wanted of cases under way."""

Rows = dict[tuple[str, int, int], str]
"""Of a ledger: strategy, seed and sequence to result."""


class InterruptedCaseError(Exception):
    """The benchmark was stopped."""


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

    @property
    def device(self) -> Path:
        """The device file that all jobs share: none of them measures."""
        return self.whole / "device.json"

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
        for number in itertools.count():
            results = self.work / f"{name}-{number}"
            with suppress(FileExistsError):
                results.mkdir()
                break
        return Place(results, self.device, **options)  # type: ignore[arg-type]


class Place:
    """A results folder with one submitted job, and the servers started over it.

    Args:
        results: made if it is not there.
        device: the device file that all jobs share.
        store_url: of the jobs' database, where that is not in the results folder.
        settings: of the job's config, as options of the command line: pairs of `--set` and an override.
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
        with closing(LocalJobs(results, store_url, make=True)) as jobs:  # as `netlathe submit` does
            config = read_run(CONFIG, settings[1::2], seed=None)
            jobs.submit(config, source=str(CONFIG), job_id=JOB, device_file=device)
        self.store, self._folder = open_store(results, store_url)

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
        for process in self.marked():
            with suppress(psutil.Error):
                if "service.jobs.child" in process.cmdline():
                    found.append(process)
        return found

    def kill_search(self) -> None:
        for process in self.searches():
            with suppress(psutil.NoSuchProcess):  # it may have ended by itself
                process.kill()

    def wait(self, true: Callable[[], bool], every_s: float = 0.2) -> None:
        end = time.monotonic() + WAIT_S
        while not true():
            if time.monotonic() > end:
                raise TimeoutError(
                    f"{self.results}: not within {WAIT_S:.0f} s: {self.store.get(JOB)}"
                )
            if STOPPING.wait(every_s):
                raise InterruptedCaseError(f"{self.results}: the benchmark was stopped")

    def wait_for(self, *states: JobState, every_s: float = 0.2) -> None:
        """Until the job is in one of these states."""
        self.wait(lambda: self.state() in states, every_s)

    def wait_for_results(self, count: int) -> None:
        """Until so many children have results, or the job has ended."""
        self.wait(lambda: len(self.rows()) >= count or self.state() in ENDED)

    def bring_to(self, state: JobState) -> None:
        """A running job to this state, RECOVERING by killing its process."""
        if state is JobState.RECOVERING:
            self.kill_search()
        else:
            ACTS[state](self.store)
        self.wait_for(state, every_s=0.01)

    def see_through(self) -> None:
        """To the job's end; one that was paused or cancelled goes on."""
        self.wait_for(JobState.PAUSED, *ENDED)
        if self.state() in (JobState.PAUSED, JobState.CANCELLED):
            self.store.resume(JOB)
            self.wait_for(*ENDED)

    def rows(self) -> Rows:
        """Results in the ledger now, wherever that is."""
        try:
            found = self._ask(
                "SELECT strategy, seed, sequence, result FROM proposals JOIN sessions "
                "ON session_id = sessions.id WHERE status = 'done'"
            )
        except sa.exc.DBAPIError:
            return {}  # it is just being made
        return {(strategy, seed, sequence): result for strategy, seed, sequence, result in found}

    def paid_twice(self) -> int:
        """Children that one session paid for more than once."""
        found = self._ask(
            "SELECT COUNT(*) FROM proposals WHERE charged > 0 GROUP BY session_id, digest, fidelity "
            "HAVING COUNT(*) > 1"
        )
        return len(found)

    def _ask(self, query: str) -> Sequence[sa.Row[Any]]:
        """Rows of the ledger, read by itself: the product's own reader would mend and check. A missing one has none."""
        run = self._folder.run(JOB)
        if not (run.ledger_is_elsewhere or run.ledger_file.is_file()):
            return ()
        url = run.ledger_url
        if not run.ledger_is_elsewhere:
            url = f"sqlite:///file:{run.ledger_file.absolute()}?mode=ro&uri=true"
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return connection.execute(sa.text(query)).all()

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
    """What came of a job after a fault, against an undisturbed run; make it right before the fault."""

    def __init__(self, place: Place, whole: Path) -> None:
        self._place, self._whole = place, whole
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
            "equal": place.is_as(self._whole),
            "lost": sum(now.get(key) != value for key, value in self._rows.items()),
            "doubled": place.paid_twice(),
            "successes": sum(event.state is JobState.SUCCEEDED for event in events),
            "states": tuple(f"{e.state}{f' ({e.reason})' if e.reason else ''}" for e in after),
            "recovered_s": None if self._was_over or not again else round(again[0] - self.at, 1),
        }
        return Outcome(row=row, fault=fault, **facts | others)  # type: ignore[arg-type]


Row = Callable[[Setting, random.Random, int], list[Case]]
"""The cases of a row, for so many random kills in all. Raises LeftOutError."""


def netlathe(*arguments: object) -> None:
    """A verb of the command line, which must succeed."""
    command = [sys.executable, "-m", "service.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[2:])}: {done.stderr}")
