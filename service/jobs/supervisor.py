"""The server's loop: takes jobs that wait, starts their processes, keeps its leases, and says what became of them."""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from archspace import is_disk_full
from service.errors import (
    ConflictError,
    DamagedError,
    DeadlineError,
    DiskFullError,
    DriftError,
    InUseError,
    NetlatheError,
    NotFoundError,
    StoppedError,
    TooManyFailuresError,
    UnavailableError,
    UsageError,
)
from service.jobs.folder import JobsFolder
from service.jobs.handle import JobHandle
from service.jobs.job_rows import LeaseLost
from service.jobs.process import JobProcess
from service.jobs.records import Job, Lease
from service.jobs.spec import JobSpec
from service.jobs.states import JobState, Reason
from service.jobs.store import JobStore

_log = logging.getLogger(__name__)

LEASE_S = 15.0
"""How long a server may be silent before its jobs are taken over."""
POLL_S = 0.5
STEADY_S = 60.0
"""A process that lived so long did not die of its start."""
WORKERS_STEADY_S = 600.0
"""Likewise of one that lost its workers, which may take minutes to notice."""
DEATHS = 3
"""Processes of a job that die in a row before they are steady, after which the job has failed."""
RETRY_S = 5.0
"""How long a job whose process died waits."""
IN_USE_RETRY_S = 15.0
"""How long a job waits whose run directory another process has."""
GRACE_S = 120.0
"""How long a process may take to stop before it is killed."""

STOPPED, UNAVAILABLE = StoppedError.server_code(), UnavailableError.server_code()
IN_USE, THERE = InUseError.server_code(), ConflictError.server_code()
ENDED_BY_LIBRARY = 1
"""See `service.jobs.child`, whose own failures end with another code."""
BECOMES: Mapping[int, tuple[JobState, Reason]] = {
    UsageError.server_code(): (JobState.FAILED, Reason.CONFIG),
    NotFoundError.server_code(): (JobState.FAILED, Reason.CONFIG),
    THERE: (JobState.FAILED, Reason.CONFIG),
    DamagedError.server_code(): (JobState.FAILED, Reason.CORRUPT_CHECKPOINT),
    TooManyFailuresError.server_code(): (JobState.FAILED, Reason.TOO_MANY_FAILURES),
    DeadlineError.server_code(): (JobState.FAILED, Reason.DEADLINE),
    DiskFullError.server_code(): (JobState.PAUSED, Reason.DISK_FULL),
    DriftError.server_code(): (JobState.PAUSED, Reason.DRIFT),
}
"""What a job becomes whose process ends with such an exit code, where nothing else is to be said of it."""

Start = Callable[[str, JobSpec, JobsFolder], JobHandle]


@dataclass
class _Work:
    """A job that is carried out here."""

    job: Job
    lease: Lease
    process: JobHandle
    asked_at: float | None = None  # to stop


class Supervisor:
    """Carries out the jobs of a results folder, some at a time, until `stop`.

    Args:
        store, folder: of the jobs.
        at_once: how many jobs may run at the same time.
        start: makes a job's process.
        lease_s: how long this server may be silent.
    """

    def __init__(
        self,
        store: JobStore,
        folder: JobsFolder,
        *,
        at_once: int = 1,
        start: Start = JobProcess,
        lease_s: float = LEASE_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
        self._store, self._folder = store, folder
        self._at_once, self._start = at_once, start
        self._lease_s, self._retry_s = lease_s, retry_s
        self._work: dict[str, _Work] = {}
        self._deaths: dict[str, int] = {}
        self._stopping = False
        try:
            store.reserve()
        except NetlatheError as error:
            _log.warning("no room is kept for the time when the disk is full: %s", error)

    @property
    def running(self) -> tuple[str, ...]:
        """Ids of the jobs that are carried out here."""
        return tuple(self._work)

    def step(self) -> None:
        """Look once at everything. Never raises for what a job does, nor for a store that cannot be reached for a while."""
        looks: list[Callable[[], None]] = [partial(self._look_at, w) for w in self._work.values()]
        for look in (*looks, self._take_all):
            try:
                look()
            except NetlatheError as error:
                _log.warning("the job store cannot be used now: %s", error)

    def stop(self) -> None:
        """Take no more jobs, and let those at work stop; they are RECOVERING until a server goes on with them."""
        self._stopping = True
        for work in self._work.values():
            self._ask_to_stop(work)

    def kill(self) -> None:
        """End all processes at once; their jobs are taken over when the lease ends."""
        for work in self._work.values():
            work.process.kill()
        self._work.clear()

    def _take_all(self) -> None:
        while not self._stopping and len(self._work) < self._at_once and self._take():
            pass

    def _take(self) -> bool:
        job = self._store.claim(self.owner, self._lease_s)
        if job is None:
            return False
        assert job.lease is not None
        try:
            process = self._start(job.id, job.spec, self._folder)
        except OSError as error:
            reason, to = _of_os_error(error)
            self._store.report(job.id, job.lease, to, reason=reason, message=str(error))
            return True
        work = self._work[job.id] = _Work(job, job.lease, process)
        self._report(work, JobState.RUNNING, message=process.where)
        return True

    def _look_at(self, work: _Work) -> None:
        code = work.process.exit_code()
        if code is None:
            self._keep(work)
            return
        work.process.close()
        if self._ended(work, code):
            del self._work[work.job.id]

    def _keep(self, work: _Work) -> None:
        try:
            work.job = self._store.renew(work.job.id, work.lease, self._lease_s)
        except (LeaseLost, NotFoundError) as error:
            _log.warning("%s: its process is ended here", error)
            work.process.kill()
            del self._work[work.job.id]
            return
        if work.job.state is JobState.CANCELLING and work.job.at_once:
            work.process.kill()
        elif work.job.state in (JobState.PAUSING, JobState.CANCELLING):
            self._ask_to_stop(work)
        if work.asked_at is not None and time.monotonic() - work.asked_at > GRACE_S:
            _log.warning("job %s did not stop within %g s and is killed", work.job.id, GRACE_S)
            work.process.kill()

    def _ask_to_stop(self, work: _Work) -> None:
        if work.asked_at is None:
            work.asked_at = time.monotonic()
            work.process.ask_to_stop()

    def _ended(self, work: _Work, code: int) -> bool:
        """Say what became of it; False where the store could not be told yet."""
        try:
            work.job = self._store.renew(work.job.id, work.lease, self._lease_s)
        except (LeaseLost, NotFoundError) as error:
            _log.warning("%s: what its process did is reported by whoever has it now", error)
            return True
        words = work.process.last_words()
        match work.job.state:
            case JobState.CANCELLING if code != 0:
                self._report(work, JobState.CANCELLED)
            case JobState.PAUSING if code == STOPPED or code < 0:
                self._report(work, JobState.PAUSED)
            case _:
                self._judge(work, code, words)
        return True

    def _judge(self, work: _Work, code: int, words: str) -> None:
        """Of a process that ended by itself."""
        if code not in (IN_USE, UNAVAILABLE, ENDED_BY_LIBRARY) and code >= 0:
            self._deaths.pop(work.job.id, None)
        if code == 0:
            self._report(work, JobState.SUCCEEDED)
        elif code == STOPPED:
            # where this server does not stop, its machine may: whoever stops that signals all processes at once
            message = "its server stops" if self._stopping else "its process was stopped"
            self._report(work, JobState.RECOVERING, message=message, again_s=self._retry_s)
        elif code == IN_USE or (code == THERE and self._was_begun_elsewhere(work)):
            # the process of a server that was taken for dead: it ends by itself, or has ended the run
            again_s = IN_USE_RETRY_S
            self._report(
                work, JobState.RECOVERING, message="its run directory is in use", again_s=again_s
            )
        elif work.process.lost:
            self._report(work, JobState.RECOVERING, message=words, again_s=self._retry_s)
        elif code in BECOMES:
            state, reason = BECOMES[code]
            self._report(work, state, reason, words)
        elif code == UNAVAILABLE:
            self._died(work, words, WORKERS_STEADY_S)
        elif code < 0:
            self._died(work, f"its process died of signal {-code}")
        elif code == ENDED_BY_LIBRARY:
            self._died(work, f"its process ended without a reason of its own: {words}")
        else:
            self._report(work, JobState.FAILED, Reason.INTERNAL, words)

    def _was_begun_elsewhere(self, work: _Work) -> bool:
        """Whether the run is there now, and was not when the process was told to begin it."""
        return not work.process.resumes and self._folder.run(work.job.id).run_file.is_file()

    def _died(self, work: _Work, message: str, steady_s: float = STEADY_S) -> None:
        """A process that was lost, or lost its workers, is no failure, unless that happens again and again."""
        steady = time.monotonic() - work.process.started > steady_s
        deaths = 1 if steady else self._deaths.get(work.job.id, 0) + 1
        if deaths >= DEATHS and not self._stopping:
            message = f"{message}, {deaths} times in a row soon after its start"
            self._report(work, JobState.FAILED, Reason.LOST, message)
            self._deaths.pop(work.job.id, None)
            return
        self._report(work, JobState.RECOVERING, message=message, again_s=self._retry_s)
        self._deaths[work.job.id] = deaths

    def _report(
        self,
        work: _Work,
        to: JobState,
        reason: Reason | None = None,
        message: str = "",
        again_s: float | None = None,
    ) -> None:
        try:
            work.job = self._store.report(
                work.job.id, work.lease, to, reason=reason, message=message, again_in_s=again_s
            )
        except LeaseLost as error:
            _log.warning("%s", error)
        _log.info("job %s: %s %s", work.job.id, to, message)


def _of_os_error(error: OSError) -> tuple[Reason, JobState]:
    if is_disk_full(error):
        return Reason.DISK_FULL, JobState.PAUSED
    return Reason.INTERNAL, JobState.FAILED
