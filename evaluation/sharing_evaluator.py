"""Trains children that no other job has trained or is training; takes the others' results from them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from archspace import Architecture
from evaluation.child_pool import ChildPool
from evaluation.claims import LEASE_S, Claims
from evaluation.evaluator import Evaluator, TrainedChild, WorkerStatus, task_key
from evaluation.ray_evaluator import longest_first
from evaluation.results import ChildResult, ChildTask
from evaluation.shared_results import SharedResults

POLL_S = 0.5
"""How often is looked for results while all that is awaited is being trained by other jobs."""


class SharingPool(ChildPool):
    """First the answers that there are, then one's own children, and only then waiting for other jobs.

    Children are claimed when a worker is about to be free, not before: so jobs that want the same ones share the work. What is
    claimed is always in the inner pool, so that two jobs never wait for each other.

    Args:
        inner: trains; it is closed with this one.
        claims: the job's.
        key_of: under what a task's result is shared.
        poll_s: see `POLL_S`.
    """

    def __init__(
        self,
        inner: ChildPool,
        claims: Claims,
        key_of: Callable[[ChildTask], str],
        poll_s: float = POLL_S,
    ) -> None:
        self._inner = inner
        self._claims = claims
        self._key_of = key_of
        self._poll_s = poll_s
        self._waiting: dict[int, ChildTask] = {}
        self._training: dict[int, str] = {}  # keys of what is in the inner pool

    @property
    def capacity(self) -> int:
        return self._inner.capacity

    def add(self, number: int, task: ChildTask) -> None:
        assert number not in {**self._waiting, **self._training}, "a number names one child"
        self._waiting[number] = task

    def wait(self) -> list[tuple[int, ChildResult]]:
        while self._waiting or self._training:
            found = self._answered()
            self._begin()
            if found:
                return found
            if self._training:
                return self._trained()
            time.sleep(self._poll_s)
        return []

    def close(self) -> None:
        given_up = list(self._training.values())
        self._waiting.clear()
        self._training.clear()
        try:
            self._inner.close()
        finally:
            self._claims.give_up(given_up)

    def _answered(self) -> list[tuple[int, ChildResult]]:
        keys = {number: self._key_of(task) for number, task in self._waiting.items()}
        answers = self._claims.answers(list(keys.values()))
        found = [(number, answers[key]) for number, key in keys.items() if key in answers]
        for number, _ in found:
            del self._waiting[number]
        return found

    def _begin(self) -> None:
        # of two tasks with one key the second waits for the first, as if that were another job's
        first: dict[str, int] = {}
        for number, task in self._waiting.items():
            first.setdefault(self._key_of(task), number)
        room = self._inner.capacity - len(self._training)
        for key in self._claims.take(list(first), room):
            number = first[key]
            self._training[number] = key
            self._inner.add(number, self._waiting.pop(number))

    def _trained(self) -> list[tuple[int, ChildResult]]:
        results = self._inner.wait()
        for number, result in results:
            self._claims.settle(self._training.pop(number), result)
        return results


class SharingEvaluator(Evaluator):
    """Another evaluator that trains, whose results are shared with other jobs; finals are not.

    A result that another job trained has no effort in it (`without_effort`), and is otherwise the same: whoever pays, pays for it.

    Args:
        inner: closed by `close`.
        shared: closed by `close`.
        origin: up to 64 characters that name what decides a result's last bits besides its task: versions, processor. Results
            are shared among equal ones.
        lease_s: how long a child of a job that died stays claimed.
        poll_s: see `POLL_S`.
    """

    def __init__(
        self,
        inner: Evaluator,
        shared: SharedResults,
        *,
        origin: str,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
    ) -> None:
        self.needs_network = inner.needs_network
        self._inner = inner
        self._origin = origin
        self._poll_s = poll_s
        self._claims = Claims(shared, lease_s=lease_s)
        self._pool: SharingPool | None = None

    @property
    def key(self) -> str:
        return self._inner.key

    def shared_key(self, task: ChildTask) -> str:
        """Under what a task's result is shared."""
        return f"{self._origin}/{task.architecture.space_digest}/{task_key(self.key, task)}"

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        pool = self.pool()
        try:
            for index in longest_first(tasks):
                pool.add(index, tasks[index])
            while results := pool.wait():
                yield from results
        finally:
            pool.close()

    def pool(self) -> ChildPool:
        self._close_pool()
        self._pool = SharingPool(self._inner.pool(), self._claims, self.shared_key, self._poll_s)
        return self._pool

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        self._close_pool()
        return self._inner.train_final(tasks)

    def missing(self, architecture: Architecture) -> str:
        return self._inner.missing(architecture)

    def warm_up(self) -> None:
        self._inner.warm_up()

    def status(self) -> tuple[WorkerStatus, ...]:
        return self._inner.status()

    def close(self) -> None:
        try:
            self._inner.close()  # first: a pool of closed workers need not replace them
        finally:
            self._close_pool()
            self._claims.close()

    def _close_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
