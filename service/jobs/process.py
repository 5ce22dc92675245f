"""The process that carries a job out, beside the server."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import yaml

from archspace import write_atomic
from service.jobs.folder import JobsFolder
from service.jobs.handle import JobHandle
from service.jobs.marked_process import MarkedProcess
from service.jobs.plan import keep_place
from service.jobs.spec import JobSpec


class JobProcess(JobHandle):
    """Its output is at the end of the job's log.

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
        keep_place(folder, job_id, {**os.environ, **(environment or {})})
        self.log = folder.log(job_id)
        self._log_start = begin_log(self.log)
        self.started = time.monotonic()
        run = folder.run(job_id).path
        self._process = MarkedProcess(command, run, self.log, environment or {})

    @property
    def where(self) -> str:
        return f"process {self._process.pid}"

    def exit_code(self) -> int | None:
        return self._process.poll()

    def ask_to_stop(self) -> None:
        self._process.stop()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.close()

    def close(self) -> None:
        self._process.close()


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
