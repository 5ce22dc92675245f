"""What a job's process started and did not end: found by a mark in its environment, wherever it hides.

A process group ends most; a grandchild in a session of its own (a daemon, a child's own server) leaves the group, but its environment says
whose it is. Processes on other machines of a Ray cluster are that cluster's.
"""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

_log = logging.getLogger(__name__)

MARK = "NETLATHE_JOB"
"""``RUN DIRECTORY#process``, in the environment of a job's process and of all that come from it."""


def new_mark(run: Path) -> str:
    """The mark of a new process of the job whose run directory that is."""
    return f"{run.absolute()}#{uuid.uuid4().hex}"


def end_marked(mark: str) -> int:
    """End at once all processes of this machine that have the mark, except this one; how many there were."""
    return _end(lambda found: found == mark)


def end_leftovers() -> int:
    """In a job's process that holds its run's lock: end what earlier processes of the same job left here.

    They died together with their server, so that nobody else looked after them.
    """
    own = os.environ.get(MARK)
    if own is None:
        return 0
    run = own.rpartition("#")[0]
    return _end(lambda found: found != own and found.rpartition("#")[0] == run)


def _end(is_meant: Callable[[str], bool]) -> int:
    ended = 0
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and is_meant(process.environ().get(MARK, "")):
                process.kill()
                ended += 1
        except (psutil.Error, OSError):
            continue  # gone, or somebody else's
    if ended:
        _log.warning("%d processes that a job had left behind were ended", ended)
    return ended
