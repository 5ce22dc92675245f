"""The command line in a process of its own, of which nothing stays when it has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from service.jobs.orphans import MARK, end_marked, new_mark


class MarkedProcess:
    """In a process group of its own, with a pipe whose end tells it that nobody waits for it any more.

    Args:
        command: arguments of the command line.
        run: the job's run directory: all that comes from the process is known by it.
        log: its output goes to the end of this file.
        environment: for it, beside this process's own.
    """

    def __init__(
        self, command: Sequence[str], run: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        self._mark, self._closed = new_mark(run), False
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.jobs.child", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment, MARK: self._mark},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Also of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """As `subprocess` gives it (negative: the signal it died of); None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Its exit code, when it has ended."""
        return self._process.wait()

    def stop(self) -> None:
        """Ask it to end what it is at."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """At once, with all of its group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """After its end: nothing that it started stays. Safe to call twice."""
        if self._closed:
            return  # its process group's number may be another's by now
        self._closed = True
        self.kill()
        end_marked(self._mark)
        if self._process.stdin is not None:
            self._process.stdin.close()
