"""What the command line can end with: one exit code a kind of trouble.

NetlatheError (1: failed)
├── UsageError (2)        a config, option or file that cannot be used as it is
├── NotFoundError (3)     a run, export or file that is not there
├── ConflictError (4)     something else already stands or runs there
└── StoppedError (75)     stopped on purpose; `netlathe resume` goes on
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


class StoppedError(NetlatheError):
    """Stopped on purpose, resumable."""

    exit_code = 75
