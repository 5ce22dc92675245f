"""Rows of `job_faults.py`: the database of the jobs is away, and a server that does not reach it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from job_faults_outcome import Case, LeftOutError, Outcome
from job_faults_place import Row, Setting, Watch

from service.jobs.states import JobState

OUTAGE_S = 60.0
SHORT_OUTAGE_S = 5.0
TESTS = Path(__file__).parent.parent / "tests" / "service" / "jobs" / "test_supervisor.py"


class Database:
    """A PostgreSQL server on loopback, in a folder of its own."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self._folder, self._programs = folder, programs
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"
        shutil.chown(folder, "postgres")
        self._do("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres")

    def start(self) -> None:
        where = f"-p {self._port} -h 127.0.0.1 -k {self._folder}"
        log = str(self._folder / "log")
        self._do("pg_ctl", "-D", str(self._folder / "data"), "-o", where, "-l", log, "-w", "start")

    def kill(self) -> None:
        """`kill -9` of the server's own process and of those that it started."""
        main = int((self._folder / "data" / "postmaster.pid").read_text().split()[0])
        children = subprocess.run(
            ["ps", "--ppid", str(main), "-o", "pid="], capture_output=True, text=True, check=False
        )
        subprocess.run(["kill", "-9", str(main), *children.stdout.split()], check=False)
        time.sleep(1)

    def restart(self, away_s: float) -> None:
        """`kill`, and `start` after so many seconds."""
        self.kill()
        time.sleep(away_s)
        self.start()

    def _do(self, program: str, *arguments: str) -> None:
        line = " ".join(f"'{each}'" for each in (str(self._programs / program), *arguments))
        done = subprocess.run(
            ["su", "postgres", "-s", "/bin/sh", "-c", line],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a server keeps it open
            stderr=subprocess.DEVNULL,
            cwd="/",
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{line}: exit {done.returncode}; see {self._folder}/log")


def _programs() -> Path | None:
    found = shutil.which("pg_ctl")
    if found is not None:
        return Path(found).parent
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextmanager
def _database(programs: Path) -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="netlathe-pg-", ignore_cleanup_errors=True) as folder:
        database = Database(Path(folder), programs)
        database.start()
        try:
            yield database
        finally:
            database.kill()


def database_outages(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """PostgreSQL is killed and started again: a minute later at random moments, and for a moment in each state."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        raise LeftOutError("psycopg is missing (pip install netlathe[postgres])") from error
    programs = _programs()
    if programs is None:
        raise LeftOutError("PostgreSQL is missing (apt-get install postgresql)")
    if os.geteuid() != 0:
        raise LeftOutError("starting PostgreSQL as its own user needs root")
    found = []
    for number in range(max(2, kills // 12)):
        servers = 1 + number % 2
        fault = f"killed, back after {OUTAGE_S:.0f} s; {servers} server{'s' * (servers > 1)}"
        do = partial(_outage, setting, programs, fault, servers, random.Random(rng.random()))
        found.append(Case(row="database", fault=fault, do=do))
    for state in (JobState.PAUSING, JobState.CANCELLING, JobState.RECOVERING):
        fault = f"{state}: killed, back after {SHORT_OUTAGE_S:.0f} s"
        do = partial(_outage_while, setting, programs, fault, state)
        found.append(Case(row="database", fault=fault, do=do))
    return found


def _outage(
    setting: Setting, programs: Path, fault: str, servers: int, rng: random.Random
) -> Outcome:
    with (
        _database(programs) as database,
        setting.place("database", store_url=database.url) as place,
    ):
        for _ in range(servers):
            place.serve()
        after_s = setting.moment(place, rng)
        watch = Watch(place, setting.whole)
        database.restart(OUTAGE_S)
        place.see_through()
        return watch.outcome("database", fault, after_s=after_s, recovered_s=None)


def _outage_while(setting: Setting, programs: Path, fault: str, state: JobState) -> Outcome:
    with (
        _database(programs) as database,
        setting.place("database", store_url=database.url) as place,
    ):
        place.serve()
        place.wait_for_results(3)
        place.bring_to(state)
        watch = Watch(place, setting.whole)
        database.restart(SHORT_OUTAGE_S)
        place.see_through()
        return watch.outcome("database", fault, recovered_s=None)


def partition(setting: Setting, rng: random.Random, kills: int) -> list[Case]:
    """A server that does not reach the store for five minutes of a virtual clock: the test's own scenario."""
    fault = "5 virtual minutes without the store"
    return [Case(row="partition", fault=fault, do=partial(_partition, fault))]


def _partition(fault: str) -> Outcome:
    command: Sequence[str] = [sys.executable, "-m", "pytest", "-q", str(TESTS), "-k", "partition"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Outcome(
        row="partition",
        fault=fault,
        as_wanted=done.returncode == 0,
        note=" ".join(done.stdout.strip().splitlines()[-1:]),
    )


ROWS: dict[str, Row] = {"database": database_outages, "partition": partition}
