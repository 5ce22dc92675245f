"""What tests of jobs from a user's seat share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.command_line import netlathe
from tests.service.jobs.place import CONFIG, TINY, Place


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "results")
    yield made
    for server in made.servers:
        server.kill()
        server.communicate()


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an undisturbed run, which lies beside it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    done = netlathe("search", CONFIG, "--out", run, *TINY)
    assert done.returncode == 0, done.stderr
    return run / "device.json"
