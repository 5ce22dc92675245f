"""Errors of the command line, each with the exit code it ends with.

NetlatheError (1: failed)
├── UsageError (2)        a config, option or file that cannot be used as it is
│   └── DamagedError      a run's own file is not as it was written
├── NotFoundError (3)     a run, export or file that is not there
├── ConflictError (4)     something else already stands or runs there
│   └── InUseError        a run that another process has
├── TooManyFailuresError  most children failed
├── DeadlineError         the search's time is over
├── DiskFullError         no space left; nothing is half-written
├── UnavailableError      what trains the children, or the ledger's database, is gone or does not start
└── StoppedError (75)     stopped; `netlathe resume` goes on
    └── DriftError        by itself: the device is not what was profiled

A job's process tells its server more (`job_code`): there each of them has a code of its own (`service/jobs/supervisor.py`).
"""

from __future__ import annotations

from typing import ClassVar


class NetlatheError(Exception):
    """Failed; the message says what was expected, what came and what to do."""

    exit_code: ClassVar[int] = 1
    job_code: ClassVar[int | None] = None

    @classmethod
    def server_code(cls) -> int:
        """What a job's process ends with."""
        return cls.job_code if cls.job_code is not None else cls.exit_code


class UsageError(NetlatheError):
    """The input cannot be used as it is."""

    exit_code = 2


class NotFoundError(NetlatheError):
    """Something named is not there."""

    exit_code = 3


class ConflictError(NetlatheError):
    """Something else already stands or runs there."""

    exit_code = 4


class InUseError(ConflictError):
    """Another process works in that run."""

    job_code = 9


class DamagedError(UsageError):
    """A file that this program wrote is not as it was written."""

    job_code = 5


class TooManyFailuresError(NetlatheError):
    """So many children failed that something else than they must be wrong."""

    job_code = 6


class DeadlineError(NetlatheError):
    """The search did not end in the time that it was given."""

    job_code = 7


class DiskFullError(NetlatheError):
    """No space is left where the run writes."""

    job_code = 8


class UnavailableError(NetlatheError):
    """Nothing can be evaluated now: the Ray cluster or the ledger's database is gone, or does not start."""

    job_code = 10


class StoppedError(NetlatheError):
    """Stopped on purpose, resumable."""

    exit_code = 75


class DriftError(StoppedError):
    """The device is no longer what was profiled; resumable."""

    job_code = 76
