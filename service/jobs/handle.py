"""The contract of whatever carries a job out, as a supervisor sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from service.jobs.logs import tail


class JobHandle(ABC):
    """A job's process: `netlathe search`, or `netlathe resume` where the job's run directory is there already.

    It stops by itself when the server that started it dies.

    Attributes:
        resumes: whether it goes on with a run directory.
        started: when, in seconds of `time.monotonic`.
        log: what all the job's processes said, this one's words last.
        lost: it ended because its machine is gone, or never gave it a place.
    """

    resumes: bool
    started: float
    log: Path
    lost: bool = False
    _log_start: int

    @property
    @abstractmethod
    def where(self) -> str:
        """For messages: "process 123", and on which machine if it is not this one."""

    @abstractmethod
    def exit_code(self) -> int | None:
        """As `subprocess` gives it (negative: the signal it died of); None while it runs."""

    @abstractmethod
    def ask_to_stop(self) -> None:
        """It ends what it is at, keeps what was paid for and exits with 75."""

    @abstractmethod
    def kill(self) -> None:
        """At once, with all that it started in its group."""

    @abstractmethod
    def close(self) -> None:
        """After its end: nothing of its group stays."""

    def last_words(self) -> str:
        """What it ended with: the text of its error where it said one, else its last line."""
        text = tail(self.log, self._log_start)
        mark = text.rfind("netlathe: ")
        if mark >= 0:
            return text[mark + len("netlathe: ") :].strip()
        lines = text.strip().splitlines()
        return lines[-1].strip() if lines else ""
