"""The process that carries a job out, beside the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import yaml

from archspace import write_atomic
from service.jobs.folder import JobsFolder
from service.jobs.handle import JobHandle
from service.jobs.spec import JobSpec


class JobProcess(JobHandle):
    """In a process group of its own, its output at the end of the job's log.

    Args:
        environment: for it, beside this process's own.
    """

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        folder: JobsFolder,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.resumes, command = job_command(job_id, spec, folder)
        self.log = folder.log(job_id)
        self._log_start = begin_log(self.log)
        self.started = time.monotonic()
        self._process = start_process(command, self.log, environment or {})

    @property
    def pid(self) -> int:
        """Also of its process group."""
        return self._process.pid

    @property
    def where(self) -> str:
        return f"process {self.pid}"

    def exit_code(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        with suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        kill_group(self._process.pid)
        self._process.wait()

    def close(self) -> None:
        end_of(self._process)


def job_command(job_id: str, spec: JobSpec, folder: JobsFolder) -> tuple[bool, list[str]]:
    """(whether the run directory is there already, the command line's arguments). Writes the config for a new run."""
    run = folder.run(job_id)
    path = str(run.path.absolute())
    if run.run_file.is_file():
        more = [] if spec.budget is None else ["--budget", str(spec.budget)]  # trials may be added
        return True, ["resume", path, *more]
    config = folder.config(job_id).absolute()
    config.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(config, yaml.safe_dump(dict(spec.config), sort_keys=False))
    command = ["search", str(config), "--out", path, "--seed", str(spec.seed)]
    if spec.device_file is not None:
        command += ["--device-file", spec.device_file]
    return False, command


def begin_log(log: Path) -> int:
    """Where in the job's log the next process's words will begin, in bytes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.stat().st_size if log.exists() else 0


def start_process(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """The command line in a group of its own, with a pipe whose end tells it that nobody waits for it any more."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "service.jobs.child", *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **environment},
        )


def end_of(process: subprocess.Popen[bytes]) -> None:
    """After its end: what is left of its group, and the pipe."""
    kill_group(process.pid)
    if process.stdin is not None:
        process.stdin.close()


def kill_group(pid: int) -> None:
    """All that is left of a process group; none is fine."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
