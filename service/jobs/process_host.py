"""What runs on a machine of a cluster to carry one job out there."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from service.jobs.marked_process import MarkedProcess


class FolderNotShared(Exception):
    """This machine does not see the results folder of the server."""


class ProcessHost:
    """Owns the job's process: when this object's own process ends, the job's notices and stops.

    Ray sets the number of BLAS threads of its workers; the job's process gets what the server has.
    """

    def __init__(self) -> None:
        self._process: MarkedProcess | None = None
        self._is_to_stop = False

    def start(
        self,
        command: Sequence[str],
        run: str,
        log: str,
        environment: Mapping[str, str],
        proof: tuple[str, str],
    ) -> None:
        """Begin; the log says where.

        Args:
            proof: a file in the results folder, and what the server wrote into it.

        Raises:
            FolderNotShared: the file is not there, or holds something else.
        """
        path, content = proof
        machine = socket.gethostname()
        try:
            found = Path(path).read_text(encoding="utf-8")
        except OSError:
            found = ""
        if found != content:
            raise FolderNotShared(
                f"{machine} does not see the server's {Path(path).parent.parent}: the results folder must be "
                "the same on all machines of the cluster"
            )
        if "OMP_NUM_THREADS" not in environment:
            os.environ.pop("OMP_NUM_THREADS", None)
        self._process = MarkedProcess(command, Path(run), Path(log), environment)
        with Path(log).open("a", encoding="utf-8") as words:
            words.write(f"process {self._process.pid} on {machine}\n")
        if self._is_to_stop:
            self.stop()

    def wait(self) -> int:
        """Its exit code, when it has ended; nothing of its group stays then."""
        assert self._process is not None
        code = self._process.wait()
        self._process.close()
        return code

    def stop(self) -> None:
        """Ask it to stop, when it has started."""
        self._is_to_stop = True
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        """End it at once, with its group."""
        if self._process is not None:
            self._process.kill()
