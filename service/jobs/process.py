"""The process that carries a job out, seen from the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import yaml

from archspace import write_atomic
from service.jobs.folder import JobsFolder
from service.jobs.orphans import MARK, end_marked, new_mark
from service.jobs.spec import JobSpec

_TAIL_BYTES = 4096


class JobProcess:
    """`netlathe search`, or `netlathe resume` where the job's run directory is there already.

    In a process group of its own, its output at the end of the job's log. It stops by itself when this process dies.
    """

    def __init__(self, job_id: str, spec: JobSpec, folder: JobsFolder) -> None:
        run = folder.run(job_id)
        self.resumes = run.run_file.is_file()
        if self.resumes:
            command = ["resume", str(run.path)]
        else:
            config = folder.config(job_id)
            config.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(config, yaml.safe_dump(dict(spec.config), sort_keys=False))
            command = ["search", str(config), "--out", str(run.path), "--seed", str(spec.seed)]
            if spec.device_file is not None:
                command += ["--device-file", spec.device_file]
        self.log = folder.log(job_id)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.started = time.monotonic()
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._mark, self._closed = new_mark(run.path), False
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.jobs.child", *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self._mark},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Also of its process group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """As `subprocess` gives it (negative: the signal it died of); None while it runs."""
        return self._process.poll()

    def ask_to_stop(self) -> None:
        """It ends what it is at, keeps what was paid for and exits with 75."""
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """At once, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.close()

    def close(self) -> None:
        """After its end: nothing that it started stays. Safe to call twice."""
        if self._closed:
            return  # its process group's number may be another's by now
        self._closed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        end_marked(self._mark)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def last_words(self) -> str:
        """What it ended with: the text of its error where it said one, else its last line."""
        text = tail(self.log, self._log_start)
        mark = text.rfind("netlathe: ")
        if mark >= 0:
            return text[mark + len("netlathe: ") :].strip()
        lines = text.strip().splitlines()
        return lines[-1].strip() if lines else ""


def tail(path: Path, start: int = 0) -> str:
    """The last few kilobytes of a file, from `start` on."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(start, end - _TAIL_BYTES))
        return file.read().decode("utf-8", errors="replace")
