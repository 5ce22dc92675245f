"""The process that carries a job out on some machine of a Ray cluster."""

from __future__ import annotations

import os
import secrets
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from archspace import write_atomic
from evaluation.ray_cluster import WorkerLost
from evaluation.ray_hosts import RayHosts
from service.errors import UnavailableError, UsageError
from service.jobs.folder import JobsFolder
from service.jobs.handle import JobHandle
from service.jobs.plan import keep_place
from service.jobs.process import begin_log, job_command
from service.jobs.process_host import FolderNotShared, ProcessHost
from service.jobs.spec import JobSpec

PLACE_TIMEOUT_S = 120.0
"""How long the cluster may take to start a job's process."""
KILL_TIMEOUT_S = 5.0


class RayJobProcess(JobHandle):
    """Nothing here waits for the cluster: what it says is looked at when the supervisor comes by.

    Args:
        environment: for the process, beside that of the machine.
        hosts: the cluster.
    """

    def __init__(
        self,
        job_id: str,
        spec: JobSpec,
        folder: JobsFolder,
        environment: Mapping[str, str],
        hosts: RayHosts,
    ) -> None:
        self.resumes, command = job_command(job_id, spec, folder)
        keep_place(folder, job_id, environment)
        self.log = folder.log(job_id)
        self._log_start = begin_log(self.log)
        self.started = time.monotonic()
        self._hosts = hosts
        self._code: int | None = None
        self._fault = ""
        self._host: Any = None
        self._begun: Any = None
        self._ended: Any = None
        run, log = folder.run(job_id).path.absolute(), self.log.absolute()
        try:
            self._host = hosts.host(ProcessHost)
            self._begun = self._host.start.remote(
                command, str(run), str(log), _own(environment), _proof(folder)
            )
        except WorkerLost as error:
            self._is_gone(error)

    @property
    def where(self) -> str:
        return f"cluster {self._hosts.address}"

    def exit_code(self) -> int | None:
        if self._code is None:
            try:
                self._code = self._look()
                # a search that lost the cluster, as this process may soon: no fault of the job's
                self.lost = self._code == UnavailableError.server_code()
            except FolderNotShared as error:
                self._code, self._fault = UsageError.server_code(), str(error)
            except WorkerLost as error:
                self._is_gone(error)
        return self._code

    def _is_gone(self, error: WorkerLost) -> None:
        self._code, self.lost, self._fault = -signal.SIGKILL, True, str(error)

    def _look(self) -> int | None:
        if self._ended is None:
            if self._hosts.is_there(self._begun):
                self._hosts.get(self._begun)  # raises where it could not begin
                self._ended = self._host.wait.remote()
            elif time.monotonic() - self.started > PLACE_TIMEOUT_S:
                self._hosts.kill(self._host)
                raise WorkerLost(f"the cluster gave no place within {PLACE_TIMEOUT_S:g} s")
            return None
        return int(self._hosts.get(self._ended)) if self._hosts.is_there(self._ended) else None

    def ask_to_stop(self) -> None:
        if self._code is None:
            self._host.stop.remote()

    def kill(self) -> None:
        if self._code is not None:
            return
        killed = self._host.kill.remote()
        end = time.monotonic() + KILL_TIMEOUT_S
        with suppress(WorkerLost):
            while not self._hosts.is_there(killed) and time.monotonic() < end:
                time.sleep(0.05)
        self.close()
        self._code = -signal.SIGKILL

    def close(self) -> None:
        if self._host is not None:
            self._hosts.kill(self._host)

    def last_words(self) -> str:
        return self._fault or super().last_words()


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    threads = os.environ.get("OMP_NUM_THREADS")
    return {**environment} if threads is None else {**environment, "OMP_NUM_THREADS": threads}


def _proof(folder: JobsFolder) -> tuple[str, str]:
    """A file that shows who sees the results folder."""
    path = folder.proof
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, secrets.token_hex(16))
    return str(path.absolute()), path.read_text(encoding="utf-8")
