"""What the verbs ask of jobs, wherever these are: in a results folder here, or at a server.

```
JobsClient
├── LocalJobs     a results folder and its store
└── ServerJobs    `netlathe serve --http`, over HTTP
```
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from service.errors import NetlatheError
from service.jobs.answers import Event, JobAnswer, JobPlan, LogPart
from service.jobs.progress import SessionProgress
from service.jobs.states import JobState
from service.jobs.trial_answer import TrialAnswer

PATIENCE_S = 60.0
"""How long something that looks on waits for a server that does not answer: it may be starting again."""
_ASK_AGAIN_S = 2.0

Answer = TypeVar("Answer")


class Unreachable(NetlatheError):
    """There is no answer now. Asking again later may help."""


class JobsClient(ABC):
    """Jobs by their ids. What there is not raises NotFoundError, what a job's state does not allow ConflictError.

    Attributes:
        place: where the jobs are, for people.
    """

    place: str

    @abstractmethod
    def submit(
        self, config: dict[str, Any], *, source: str, job_id: str | None, device_file: Path | None
    ) -> tuple[JobAnswer, bool]:
        """(the job, whether it is new). Raises UsageError, ConflictError.

        Args:
            config: with overrides and seed.
            source: what messages call it.
            job_id: NAME-sSEED of the config if not given.
        """

    @abstractmethod
    def jobs(self, state: JobState | None = None) -> list[JobAnswer]:
        """All, or those in one state, in order of submission."""

    @abstractmethod
    def job(self, job_id: str) -> JobAnswer:
        """One job and how far it is."""

    @abstractmethod
    def plan(self, job_id: str) -> JobPlan:
        """What the job is to do in all."""

    @abstractmethod
    def events(self, job_id: str) -> list[Event]:
        """What happened to it, oldest first."""

    @abstractmethod
    def pause(self, job_id: str) -> JobAnswer:
        """Let it stop; what was paid for stays."""

    @abstractmethod
    def cancel(self, job_id: str, *, now: bool) -> JobAnswer:
        """End it, at once or after what is being trained."""

    @abstractmethod
    def resume(self, job_id: str, add_trials: int = 0) -> JobAnswer:
        """Have it go on or try again. Raises UsageError where no trials can be added."""

    @abstractmethod
    def delete(self, job_id: str, *, files: bool) -> None:
        """Forget it; with `files` its run directory, too."""

    @abstractmethod
    def best(self, job_id: str) -> list[SessionProgress]:
        """The strategies so far, each with its best network."""

    @abstractmethod
    def log_end(self, job_id: str) -> str:
        """The last few kilobytes of what its processes said; "" before there were any."""

    @abstractmethod
    def log_part(self, job_id: str, offset: int) -> LogPart:
        """What they said from a place on."""

    @abstractmethod
    def trial(self, job_id: str, trial: str) -> TrialAnswer:
        """What is known of a trial: its number, or its digest or the beginning of that."""

    def paths(self, job_id: str) -> dict[str, str]:
        """Run directory and log, where they are here."""
        return {}

    def close(self) -> None:
        """Safe to call twice."""

    def when_reachable(self, ask: Callable[[], Answer]) -> Answer:
        """`ask()`, again and again for up to a minute while there is no answer. Only for what changes nothing."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return ask()
            except Unreachable:
                if time.monotonic() > end:
                    raise
                time.sleep(_ASK_AGAIN_S)


class JobsAt(NamedTuple):
    """Where the command line's jobs are: at a server where one is named, else in a results folder."""

    results: Path
    store: str | None = None
    server: str | None = None
    token_file: Path | None = None

    @contextmanager
    def opened(self, *, make: bool = False) -> Iterator[JobsClient]:
        """A client. Raises NotFoundError where the folder has no jobs, unless it may be made."""
        # both load what the other does not need
        if self.server is not None:
            from service.jobs.server_jobs import ServerJobs

            client: JobsClient = ServerJobs(self.server, self.token_file)
        else:
            from service.jobs.local_jobs import LocalJobs

            client = LocalJobs(self.results, self.store, make=make)
        try:
            yield client
        finally:
            client.close()
