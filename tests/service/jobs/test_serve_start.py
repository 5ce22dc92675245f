"""A server that starts while the database of its jobs is away."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.commands import serve
from service.errors import NetlatheError, StoppedError
from service.jobs.job_database import StoreUnreachable
from service.jobs.local_jobs import open_store


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What opening the store raises, one after the other; then it is there."""
    left: list[Exception] = []

    def opened(*arguments: Any, **settings: Any) -> Any:
        if left:
            raise left.pop(0)
        return open_store(*arguments, **settings)

    monkeypatch.setattr(serve, "open_store", opened)
    monkeypatch.setattr(serve, "POLL_S", 0.01)
    return left


def served(folder: Path) -> Result:
    return CliRunner().invoke(app, ["serve", "--results", str(folder), "--until-idle"])


def test_it_waits_until_the_database_is_there(tmp_path: Path, away: list[Exception]) -> None:
    away += [StoreUnreachable("job store jobs: connection refused")] * 3
    done = served(tmp_path)
    assert done.exit_code == 0
    assert not away
    assert done.stderr.count("job store jobs: connection refused") == 1
    assert "waiting for it, at most 120 s" in done.stderr
    assert "serving" in done.stderr


def test_it_does_not_wait_for_ever(
    tmp_path: Path, away: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "STORE_WAIT_S", 0.05)
    away += [StoreUnreachable("job store jobs: connection refused")] * 1000
    assert isinstance(served(tmp_path).exception, StoreUnreachable)
    assert len(away) > 900


def test_other_errors_are_told_at_once(tmp_path: Path, away: list[Exception]) -> None:
    away += [NetlatheError("no driver"), NetlatheError("never raised")]
    assert str(served(tmp_path).exception) == "no driver"


def test_a_signal_ends_the_wait(tmp_path: Path, away: list[Exception]) -> None:
    class Signalling(StoreUnreachable):
        def __str__(self) -> str:
            os.kill(os.getpid(), signal.SIGTERM)
            return "away"

    away += [Signalling()] * 1000
    assert isinstance(served(tmp_path).exception, StoppedError)
