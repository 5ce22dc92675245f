"""A cluster whose children take time on a clock alone: the real `RayPool` schedules them, and nobody waits.

The clock jumps to the next thing that happens whenever the pool waits, and otherwise goes on with the controller's own CPU time: what
ledger, strategy and dispatch take passes on it, while children go on. (Not with the real clock: on a busy machine it would say how
busy that is. Waits for the disk are left out thereby.)
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, inf
from types import SimpleNamespace
from typing import Any

import numpy as np

from evaluation import ChildResult, ChildTask, EvaluatorConfig, RayEvaluator
from evaluation.ray_cluster import WorkerLost
from evaluation.stragglers import work_of

START_S = 5.0
"""What a new worker takes to load torch."""
LOOK_S = 30.0
"""How often the pool looks at limits (on a real cluster twice a second)."""


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Shares of children. A crash takes the worker along; a hang never ends; both are the worker's fault and happen anew at each try.

    NaN is the child's own.
    """

    crash: float = 0.03
    hang: float = 0.01
    nan: float = 0.01


@dataclass(eq=False)
class Reply:
    """What an actor was asked; it answers at a time on the clock."""

    actor: Any
    at: float
    seconds: float = 0.0
    task: ChildTask | None = None
    crashes: bool = False


@dataclass
class Record:
    """What happened."""

    useful_s: float = 0.0  # of tries that gave a result
    delivered: Counter[str] = field(default_factory=Counter)  # results by digest
    tries: int = 0
    crashed: int = 0
    killed: int = 0  # hung, given up as stragglers, or another worker was quicker
    backups: int = 0  # tries of children that another worker trained already
    dispatch_s: list[float] = field(
        default_factory=list
    )  # from free, with work there, to the next task


class VirtualCluster:
    """Stands in for `ray_cluster.Cluster`.

    Args:
        mean_s: what a child of `mean_work` takes on average; others in proportion to their work.
        own_sigma, try_sigma: of two log-normal factors: what work does not say about a child, and how fast a worker is just then.
        seed: of all chance.
    """

    dataset = training = recipe = None
    num_nodes = 1

    def __init__(
        self,
        *,
        mean_s: float,
        mean_work: float,
        own_sigma: float,
        try_sigma: float,
        faults: Faults,
        seed: int,
    ) -> None:
        self.record = Record()
        self.actor_class = SimpleNamespace(remote=self._actor)
        self._rate = mean_s / mean_work
        self._sigmas, self._faults, self._seed = (own_sigma, try_sigma), faults, seed
        self._tried: Counter[str] = Counter()
        self._waits_since: dict[str, float] = {}  # children whose try came to nothing
        self._under_way: Counter[str] = Counter()  # tries by digest
        self._answered: set[tuple[str, str]] = set()
        self._last_end = self._batch_from = 0.0
        self._time, self._cpu = 0.0, time.process_time()

    def now(self) -> float:
        return self._time + time.process_time() - self._cpu

    def _set(self, now: float) -> None:
        self._time, self._cpu = now, time.process_time()

    def wait(self, replies: Sequence[Reply], timeout_s: float) -> list[Reply]:
        now = self.now()
        first = min(reply.at for reply in replies)
        now = max(now, min(first, now + max(timeout_s, LOOK_S)))
        ready = [reply for reply in replies if reply.at <= now]
        self._set(now)
        return ready

    def get(self, reply: Reply) -> Any:
        reply.actor.reply = None
        if reply.task is None:
            reply.actor.free_since = reply.at
            return 1
        digest = reply.task.architecture.digest
        self._ended(digest, reply.at)
        if reply.crashes:
            self.record.crashed += 1
            self._waits_since[digest] = reply.at
            raise WorkerLost("crashed, as it was told")
        reply.actor.free_since = reply.at
        self.record.useful_s += reply.seconds
        self._answered.add(_key(reply.task))
        self.record.delivered[digest] += 1
        return result_of(digest, reply.seconds, self._chance(digest, "nan") < self._faults.nan)

    def kill(self, actor: Any) -> None:
        if actor.reply is not None and actor.reply.task is not None:
            task = actor.reply.task
            self.record.killed += 1
            if _key(task) not in self._answered:
                self._waits_since[task.architecture.digest] = self.now()
            self._ended(task.architecture.digest, self.now())
        actor.reply = None

    def close(self) -> None:
        """Nothing runs."""

    def _ended(self, digest: str, at: float) -> None:
        self._under_way -= Counter([digest])
        self._last_end = max(self._last_end, at)

    def _actor(self, *_: object) -> Any:
        actor = SimpleNamespace(free_since=inf)
        actor.reply = Reply(actor, self.now() + START_S)
        actor.ready = SimpleNamespace(remote=lambda: actor.reply)
        actor.child = SimpleNamespace(remote=lambda task: self._begin(actor, task))
        return actor

    def _begin(self, actor: Any, task: ChildTask) -> Reply:
        now = self.now()
        if not self._under_way:  # a batch begins: until now there was nothing to do
            self._batch_from = self._last_end
        digest = task.architecture.digest
        if digest in self._under_way:
            self.record.backups += 1
        else:
            waits_since = self._waits_since.pop(digest, self._batch_from)
            self.record.dispatch_s.append(now - max(actor.free_since, waits_since))
        self._under_way[digest] += 1
        actor.reply = self._try(actor, task, now)
        return actor.reply

    def _try(self, actor: Any, task: ChildTask, now: float) -> Reply:
        digest = task.architecture.digest
        self._tried[digest] += 1
        self.record.tries += 1
        each = f"try {self._tried[digest]}"
        own, here = self._normal(digest, "own"), self._normal(digest, f"speed, {each}")
        spread = [
            sigma * z - sigma**2 / 2 for sigma, z in zip(self._sigmas, (own, here), strict=True)
        ]
        seconds = self._rate * work_of(task) * exp(sum(spread))
        luck = self._chance(digest, each)
        if luck < self._faults.hang:
            return Reply(actor, inf, task=task)
        crashes = luck < self._faults.hang + self._faults.crash
        if crashes:
            seconds *= self._chance(digest, f"when, {each}")
        return Reply(actor, now + seconds, seconds, task, crashes)

    def _chance(self, digest: str, what: str) -> float:
        return float(self._generator(digest, what).random())

    def _normal(self, digest: str, what: str) -> float:
        return float(self._generator(digest, what).standard_normal())

    def _generator(self, digest: str, what: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, int(digest, 16), *what.encode()])


def _key(task: ChildTask) -> tuple[str, str]:
    return task.architecture.digest, task.fidelity.name


def result_of(digest: str, seconds: float, is_nan: bool) -> ChildResult:
    """A child's result: an accuracy that follows from its digest."""
    accuracy = float("nan") if is_nan else 0.5 + 0.4 * int(digest[:8], 16) / 2**32
    return ChildResult(
        digest=digest, accuracy=accuracy, accuracy_no_exit=accuracy, train_seconds=seconds
    )


class VirtualEvaluator(RayEvaluator):
    """The real evaluator, on that cluster."""

    def __init__(
        self, cluster: VirtualCluster, dataset: Any, training: Any, config: EvaluatorConfig
    ) -> None:
        super().__init__(dataset, training, config)
        self._started: Callable[[], Any] = lambda: cluster  # type: ignore[method-assign]
