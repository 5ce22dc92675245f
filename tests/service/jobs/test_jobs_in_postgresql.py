"""Jobs, ledgers and shared results in PostgreSQL: a machine that is lost with its disk takes nothing with it.

Runs where NETLATHE_TEST_POSTGRES gives the URL of a server on which databases may be made.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from evaluation.database import make_url
from tests.service.command_line import netlathe
from tests.service.jobs.place import CONFIG, TINY, Place, assert_as_undisturbed, processes_of

pytestmark = pytest.mark.slow


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database of its own."""
    found = os.environ.get("NETLATHE_TEST_POSTGRES")
    if not found:
        pytest.skip("NETLATHE_TEST_POSTGRES gives no PostgreSQL URL")
    server = sa.create_engine(make_url(found), isolation_level="AUTOCOMMIT")
    name = f"netlathe_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    url = make_url(found).set(database=name).render_as_string(hide_password=False)
    monkeypatch.setenv("NETLATHE_JOB_STORE", url)
    yield url
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    server.dispose()


def test_a_machine_is_lost_with_its_disk(
    store: str, place: Place, device: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("TMPDIR", str(disk))
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    first = place.serve()
    place.wait_for(lambda: place.children() >= 6)
    for process in (psutil.Process(first.pid), *processes_of(place)):
        process.kill()
    shutil.rmtree(disk)
    monkeypatch.delenv("TMPDIR")
    assert not list(place.results.rglob("ledger.db*"))
    assert place.serve("--until-idle").wait(timeout=240) == 0
    job = place.job()
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 1)
    assert_as_undisturbed(place, device)


def test_a_run_directory_is_lost_and_its_ledger_is_not(
    store: str, place: Place, device: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *TINY)
    server = place.serve()
    place.wait_for(lambda: place.children() >= 6)
    server.kill()
    psutil.wait_procs(processes_of(place), timeout=60)
    shutil.rmtree(place.results / "one")
    server = place.serve("--until-idle")
    assert server.wait(timeout=240) == 0
    assert place.job()["state"] == "SUCCEEDED"
    assert_as_undisturbed(place, device)
    monkeypatch.setenv("NETLATHE_LEDGER", store)
    run = place.results / "one"
    done = netlathe("export", run, "--to", place.results / "copy")
    assert done.returncode == 0, done.stderr
    monkeypatch.delenv("NETLATHE_LEDGER")
    refused = netlathe("export", run, "--to", place.results / "again")
    assert (refused.returncode, "set NETLATHE_LEDGER" in refused.stderr) == (2, True)
