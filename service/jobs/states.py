"""What a job can be, and what may follow what.

```
PENDING ──► STARTING ──► RUNNING ──► SUCCEEDED | FAILED
   ▲            │            │
   │            └─ RECOVERING ◄─ its process or its server died; a server starts it again
   │            │            │
   └─ PAUSED ◄─ PAUSING ◄────┤      and CANCELLED ◄─ CANCELLING ◄─┘
```

A FAILED or CANCELLED job that is resumed becomes PENDING again, as the same job's next attempt. SUCCEEDED is final.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """See the file's head."""

    PENDING = "PENDING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    PAUSING = "PAUSING"
    PAUSED = "PAUSED"
    RECOVERING = "RECOVERING"
    CANCELLING = "CANCELLING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


class Reason(StrEnum):
    """Why a job failed, or was paused without being asked to."""

    CONFIG = "CONFIG"
    """The config, its data or a limit cannot be used as they are."""
    DISK_FULL = "DISK_FULL"
    """No space left; free some, then resume."""
    DRIFT = "DRIFT"
    """The device is no longer what was profiled; `netlathe resume RUN --accept-drift` goes on."""
    CORRUPT_CHECKPOINT = "CORRUPT_CHECKPOINT"
    """A file of the run is not as it was written, and nothing older can stand in for it."""
    TOO_MANY_FAILURES = "TOO_MANY_FAILURES"
    """More children failed by themselves than `search.max_failure_share` allows."""
    DEADLINE = "DEADLINE"
    """The search took longer than `search.deadline_hours`."""
    LOST = "LOST"
    """Its process, or all of its workers, died again and again soon after the start."""
    INTERNAL = "INTERNAL"
    """Anything else; the log says what."""


S = JobState
TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    S.PENDING: frozenset({S.STARTING, S.PAUSED, S.CANCELLED}),
    S.STARTING: frozenset({S.RUNNING, S.PAUSING, S.PAUSED, S.CANCELLING, S.RECOVERING, S.FAILED}),
    S.RUNNING: frozenset({S.SUCCEEDED, S.FAILED, S.PAUSING, S.PAUSED, S.CANCELLING, S.RECOVERING}),
    S.PAUSING: frozenset({S.PAUSED, S.SUCCEEDED, S.FAILED, S.CANCELLING}),
    S.PAUSED: frozenset({S.PENDING, S.CANCELLED}),
    S.RECOVERING: frozenset({S.STARTING, S.PAUSED, S.CANCELLED, S.FAILED}),
    S.CANCELLING: frozenset({S.CANCELLED, S.SUCCEEDED, S.FAILED}),
    S.SUCCEEDED: frozenset(),
    S.FAILED: frozenset({S.PENDING}),
    S.CANCELLED: frozenset({S.PENDING}),
}
"""From each state, those that may follow."""

ACTIVE = frozenset({S.STARTING, S.RUNNING, S.PAUSING, S.CANCELLING})
"""A server holds a lease on the job, and a process may be at work."""
ENDED = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED})
"""Nothing happens any more unless someone asks for it."""
