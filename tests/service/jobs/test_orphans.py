"""What a job's process left behind is found by its mark, in whatever session it hides."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.jobs.orphans import MARK, end_leftovers, end_marked, new_mark

_DAEMON = """
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
print(os.getpid(), flush=True)
os.close(1)
time.sleep(600)
"""

Daemon = Callable[[str], psutil.Process]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Starts a process in a session of its own, whose parents have ended, with a mark."""
    made: list[psutil.Process] = []

    def start(mark: str) -> psutil.Process:
        command = [sys.executable, "-S", "-c", _DAEMON]
        done = subprocess.run(
            command, env={**os.environ, MARK: mark}, stdout=subprocess.PIPE, text=True, check=True
        )
        made.append(psutil.Process(int(done.stdout)))
        return made[-1]

    yield start
    for process in made:
        if process.is_running():
            process.kill()


def _is_alive(process: psutil.Process) -> bool:
    """A moment later; where nobody reaps orphans, they stay as zombies."""
    time.sleep(0.1)
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_marked_processes_are_ended_and_no_others(daemon: Daemon, tmp_path: Path) -> None:
    mine, theirs = new_mark(tmp_path / "job"), new_mark(tmp_path / "job")
    first, other = daemon(mine), daemon(theirs)
    assert end_marked(mine) == 1
    assert not _is_alive(first)
    assert _is_alive(other)
    assert end_marked(mine) == 0


def test_a_process_that_has_the_run_ends_what_earlier_ones_left(
    daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(MARK, raising=False)
    assert end_leftovers() == 0  # by hand, not a job
    earlier, elsewhere = daemon(new_mark(tmp_path / "job")), daemon(new_mark(tmp_path / "job-2"))
    own = new_mark(tmp_path / "job")
    mine = daemon(own)
    monkeypatch.setenv(MARK, own)
    assert end_leftovers() == 1
    assert not _is_alive(earlier)
    assert _is_alive(elsewhere)
    assert _is_alive(mine)
