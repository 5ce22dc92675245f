"""Rows of `job_faults.py`: the database of the jobs is away, and a server that does not reach it."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from job_faults_place import JOB, Outcome, Setting, Watch

from service.jobs.states import ENDED
from service.jobs.store import JobStore

OUTAGE_S = 60.0
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
            raise SystemExit(f"{line}: exit {done.returncode}; see {self._folder}/log")


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


def database_outage(setting: Setting, rng: random.Random, kills: int) -> Iterator[Outcome]:
    """PostgreSQL is killed at a random moment and started again a minute later, with one server and with two."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        print("database: skipped; install netlathe[postgres]")
        return
    programs = _programs()
    if programs is None:
        print("database: skipped; PostgreSQL is not installed (apt-get install postgresql)")
        return
    with _database(programs) as database:
        for number in range(max(2, kills // 12)):
            yield _outage(setting, database, 1 + number % 2, rng)


def _outage(setting: Setting, database: Database, servers: int, rng: random.Random) -> Outcome:
    with setting.place("database", store_url=database.url) as place:
        for _ in range(servers):
            place.serve()
        after_s = setting.moment(place, rng)
        watch = Watch(place, setting)
        database.kill()
        time.sleep(OUTAGE_S)
        database.start()
        place.store.close()
        place.store = JobStore(database.url)
        place.wait_for(*ENDED)
        fault = f"killed, back after {OUTAGE_S:.0f} s; {servers} server{'s' * (servers > 1)}"
        outcome = watch.outcome("database", fault, after_s=after_s, recovered_s=None)
        place.store.delete(JOB)
        return outcome


def partition(setting: Setting, rng: random.Random, kills: int) -> Iterator[Outcome]:
    """A server that does not reach the store for five minutes of a virtual clock: the test's own scenario."""
    command: Sequence[str] = [sys.executable, "-m", "pytest", "-q", str(TESTS), "-k", "partition"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    summary = done.stdout.strip().splitlines()[-1:]
    yield Outcome(
        row="partition",
        fault="5 virtual minutes without the store",
        as_wanted=done.returncode == 0,
        note=" ".join(summary),
    )


ROWS: dict[str, Callable[[Setting, random.Random, int], Iterator[Outcome]]] = {
    "database": database_outage,
    "partition": partition,
}
