"""What the command line can end with: one exit code a kind of trouble.

NetlatheError (1: failed)
├── UsageError (2)        a config, option or file that cannot be used as it is
├── NotFoundError (3)     a run, export or file that is not there
├── ConflictError (4)     something else already stands or runs there
│   └── InUseError (9)    a run that another process has
├── DamagedError (5)      a run's own file is not as it was written
├── TooManyFailuresError (6)  most children failed
├── DeadlineError (7)     the search's time is over
├── DiskFullError (8)     no space left; nothing is half-written
├── UnavailableError (10)  what trains the children is gone or does not start
├── StoppedError (75)     stopped on purpose; `netlathe resume` goes on
└── DriftError (76)       stopped by itself: the device is not what was profiled

Servers tell by these codes why a job's process ended (`service/jobs/supervisor.py`).
"""

from __future__ import annotations

from typing import ClassVar


class NetlatheError(Exception):
    """Failed; the message says what was expected, what came and what to do."""

    exit_code: ClassVar[int] = 1


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

    exit_code = 9


class DamagedError(NetlatheError):
    """A file that this program wrote is not as it was written."""

    exit_code = 5


class TooManyFailuresError(NetlatheError):
    """So many children failed that something else than they must be wrong."""

    exit_code = 6


class DeadlineError(NetlatheError):
    """The search did not end in the time that it was given."""

    exit_code = 7


class DiskFullError(NetlatheError):
    """No space is left where the run writes."""

    exit_code = 8


class UnavailableError(NetlatheError):
    """Nothing can be evaluated now: the Ray cluster is gone, or does not start."""

    exit_code = 10


class StoppedError(NetlatheError):
    """Stopped on purpose, resumable."""

    exit_code = 75


class DriftError(NetlatheError):
    """The device is no longer what was profiled; resumable."""

    exit_code = 76
