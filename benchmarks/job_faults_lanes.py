"""Several cases of `job_faults.py` at a time: most of a case is waiting, for leases and for a process to be gone."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from job_faults_outcome import Case, Outcome
from job_faults_place import STOPPING

RAY_AT_ONCE = 2
"""Ray's processes each import torch; with more of them children would come near their time limits."""


def carried_out(cases: Sequence[Case], at_once: int) -> Iterator[Outcome]:
    """Outcomes as they come, of `at_once` cases at a time, 1 or more; of those that start Ray `RAY_AT_ONCE` at most."""
    ray = deque(case for case in cases if case.ray)
    others = deque(case for case in cases if not case.ray)
    found: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    lanes = [
        threading.Thread(
            target=_lane, args=((ray, others) if number < RAY_AT_ONCE else (others,), found.put)
        )
        for number in range(at_once)
    ]
    for lane in lanes:
        lane.start()
    try:
        for _ in cases:
            yield found.get()
    finally:
        STOPPING.set()  # whoever looks no further lets places be cleared at once
        for lane in lanes:
            lane.join()
        STOPPING.clear()


def _lane(queues: Sequence[deque[Case]], tell: Callable[[Outcome], None]) -> None:
    for waiting in queues:
        while not STOPPING.is_set():
            try:
                case = waiting.popleft()
            except IndexError:
                break
            tell(case.outcome())
