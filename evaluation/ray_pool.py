"""Who trains what, when, on Ray's workers, and what happens to children whose worker dies or dawdles."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from archspace import is_disk_full
from evaluation.child_pool import ChildPool
from evaluation.child_runner import ChildLimits, overdue_s
from evaluation.evaluator import EvaluatorUnavailable, TrainedChild
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.ray_cluster import Cluster, WorkerLost
from evaluation.results import ChildResult, ChildTask, FailureReason
from evaluation.stragglers import Pace, work_of

_log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often limits are looked at while children run."""
START_TIMEOUT_S = 120.0
"""How long to wait for a cluster that gives no worker at all."""
FAILED_STARTS = 3
"""Workers in a row that die before they are ready, after which the cluster is given up."""
LOST_CHILDREN = 3
"""Children in a row that lose their worker at every try, after which the cluster is given up."""

Job = Literal["child", "final"]
Outcome = tuple[int, TrainedChild | ChildResult]


@dataclass(eq=False)
class Worker:
    """One actor, and what it was asked: to become ready (`number` None), a task, or nothing (`waits_for` None).

    `since`, on the cluster's clock, it has been `doing` that. `work` is the child's, by which it may be found a straggler; 0:
    it may take its time.
    """

    name: str
    actor: Any
    waits_for: Any
    since: float
    number: int | None = None
    doing: str = "starting"
    work: float = 0.0

    @property
    def is_idle(self) -> bool:
        return self.waits_for is None

    def begin(self, doing: str, reply: Any, number: int, *, now: float, work: float = 0.0) -> None:
        self.doing, self.waits_for, self.number = doing, reply, number
        self.since, self.work = now, work

    def end(self, *, now: float) -> None:
        self.doing, self.waits_for, self.number = "idle", None, None
        self.since, self.work = now, 0.0


@dataclass
class Crew:
    """The workers, how fast they are, and how many in a row died while starting, or took a child's last try with them."""

    workers: list[Worker]
    pace: Pace
    failed_starts: int = 0
    lost_children: int = 0


def new_worker(name: str, cluster: Cluster, config: EvaluatorConfig) -> Worker:
    """One actor; it loads torch by itself."""
    limits = ChildLimits(timeout_s=config.child_timeout_s, memory_mb=config.child_memory_mb)
    actor = cluster.actor_class.remote(
        name, cluster.dataset, cluster.training, limits, cluster.recipe
    )
    return Worker(name=name, actor=actor, waits_for=actor.ready.remote(), since=cluster.now())


class RayPool(ChildPool):
    """Children of one kind of job on workers that outlive it.

    Args:
        job: "child", or "final" for the full schedule with a test, which has no time limit.
        crew: whose workers are replaced where one is lost.
        cluster: what they live on.
        config: tries, and what one child may use.
    """

    def __init__(self, job: Job, crew: Crew, cluster: Cluster, config: EvaluatorConfig) -> None:
        self._job = job
        self._crew = crew
        self._cluster = cluster
        self._config = config
        self._tasks: dict[int, ChildTask] = {}  # without an outcome yet
        self._waiting: deque[int] = deque()
        self._tries: Counter[int] = Counter()
        # stragglers, and late children that have a backup; their second worker may take its time
        self._seconded: set[int] = set()
        self._unavailable: EvaluatorUnavailable | None = None
        self._closed = False

    @property
    def capacity(self) -> int:
        return 2 * len(
            self._crew.workers
        )  # while results are looked at, each begins its next child

    def add(self, number: int, task: ChildTask) -> None:
        assert number not in self._tasks, "a number names one child"
        self._tasks[number] = task
        self._waiting.append(number)

    def wait(self) -> list[tuple[int, ChildResult]]:
        found = []
        for number, outcome in self.outcomes():
            assert isinstance(outcome, ChildResult)
            found.append((number, outcome))
        return found

    def outcomes(self) -> list[Outcome]:
        """What came of some, as soon as it came of one; [] where nothing is under way.

        Raises:
            EvaluatorUnavailable: see `ChildPool.wait`.
        """
        if self._unavailable is not None:
            raise self._unavailable
        found: list[Outcome] = []
        started = self._cluster.now()
        try:
            while self._tasks and not found:
                self._give_out()
                self._back_up_late_children()
                for worker in self._answered():
                    if not worker.is_idle:  # its child's other worker was quicker
                        found += self._reply(worker)
                found += self._overdue()
                self._give_up_stragglers()
                self._check_alive(started)
        except EvaluatorUnavailable as error:
            if not found:
                raise
            self._unavailable = error  # what came before it is not lost
        for number, _ in found:
            del self._tasks[number]
        if self._unavailable is None:
            self._give_out()  # workers first, then whoever waits for this
        return found

    def close(self) -> None:
        if self._closed:
            return  # the workers may serve another pool by now
        self.abandon()
        self._tasks.clear()
        self._waiting.clear()
        for worker in list(self._crew.workers):
            if worker.number is not None:
                try:
                    self._replace(worker)  # nobody waits for this child any more
                except Exception as error:  # the cluster may be what failed
                    _log.debug("%s cannot be replaced: %s", worker.name, error)

    def abandon(self) -> None:
        """From now on the workers are none of its business: they serve others, or are gone."""
        self._closed = True

    def _give_out(self) -> None:
        for worker in self._crew.workers:
            if self._waiting and worker.is_idle:
                self._begin(worker, self._waiting.popleft())

    def _begin(self, worker: Worker, number: int) -> None:
        task = self._tasks[number]
        method = worker.actor.child if self._job == "child" else worker.actor.final
        verb = "training" if self._job == "child" else "final training of"
        doing = f"{verb} {task.architecture.digest}"
        judged = self._job == "child" and number not in self._seconded
        work = work_of(task) if judged else 0.0
        worker.begin(doing, method.remote(task), number, now=self._cluster.now(), work=work)

    def _back_up_late_children(self) -> None:
        """Workers that have nothing to do train late children, too, the latest first; what comes first is the result.

        The more of them there are, the sooner a child is late.
        Dean and Ghemawat 2004, "MapReduce", section 3.6. Both workers would give the same result, so nothing depends on who wins.
        """
        idle = [worker for worker in self._crew.workers if worker.is_idle]
        if not idle:
            return
        busy = 1 - len(idle) / len(self._crew.workers)
        late = self._past(lambda work: self._crew.pace.late_s(work, busy))
        for (worker, seconds, _), second in zip(late, idle, strict=False):
            number = worker.number
            assert number is not None
            _log.info(
                "%s has nothing to do and is %s, too (%s for %.0f s already)",
                second.name, worker.doing, worker.name, seconds,
            )  # fmt: skip
            self._seconded.add(number)
            self._begin(second, number)

    def _past(self, limit_s: Callable[[float], float | None]) -> list[tuple[Worker, float, float]]:
        """Workers whose child takes longer than that of its work, its seconds and the limit; the latest first."""
        now = self._cluster.now()
        found = []
        for worker in self._crew.workers:
            seconds, limit = now - worker.since, limit_s(worker.work)
            judged = worker.number is not None and worker.number not in self._seconded
            if judged and limit is not None and seconds > limit:
                found.append((worker, seconds, limit))
        return sorted(found, key=lambda each: each[2] / each[1])

    def _is_trained(self, number: int) -> bool:
        """By a worker, right now."""
        return any(worker.number == number for worker in self._crew.workers)

    def _end_others(self, number: int) -> None:
        """The child has its outcome: its other worker is not waited for."""
        for worker in list(self._crew.workers):
            if worker.number == number:
                self._replace(worker)
                worker.end(now=self._cluster.now())

    def _answered(self) -> list[Worker]:
        """Workers whose reply, or death, is known."""
        by_reply = {w.waits_for: w for w in self._crew.workers if w.waits_for is not None}
        ready = self._cluster.wait(list(by_reply), POLL_S)
        return [by_reply[reply] for reply in ready]

    def _reply(self, worker: Worker) -> Iterator[Outcome]:
        """What came of a worker's child; nothing where it is tried again, or the worker just became ready."""
        number = worker.number
        outcome = self._outcome(worker)
        if number is None:
            return
        if outcome is not None:
            self._crew.lost_children = 0
            if not (_is_timeout(outcome) and self._is_trained(number)):
                self._end_others(number)
                yield number, outcome
            return
        self._tries[number] += 1
        if self._is_trained(number):
            self._seconded.discard(number)  # by one worker again, which is judged
        elif self._tries[number] <= self._config.max_retries:
            self._waiting.appendleft(number)
        else:
            yield number, self._lost(number)

    def _outcome(self, worker: Worker) -> TrainedChild | ChildResult | None:
        """A worker's reply; None where the worker was lost, or just became ready."""
        number = worker.number
        try:
            value = self._cluster.get(worker.waits_for)
        except WorkerLost as error:
            _log.warning("%s was lost while %s: %s", worker.name, worker.doing, error)
            if number is None:
                self._count_failed_start(error)
            self._replace(worker)
            return None
        except Exception as error:  # raised by the child's own code
            if is_disk_full(error):
                raise EvaluatorUnavailable(f"{worker.name} cannot write: {error}") from error
            worker.end(now=self._cluster.now())
            return None if number is None else self._failed(number, FailureReason.CRASH, str(error))
        now = self._cluster.now()
        seconds = now - worker.since
        worker.end(now=now)
        if number is None:
            self._crew.failed_starts = 0
            return None
        assert isinstance(value, ChildResult | TrainedChild)
        outcome: ChildResult | TrainedChild = value
        if isinstance(outcome, ChildResult) and outcome.failure is None:
            self._crew.pace.learn(work_of(self._tasks[number]), seconds)
        return outcome

    def _replace(self, worker: Worker) -> None:
        self._cluster.kill(worker.actor)
        fresh = new_worker(worker.name, self._cluster, self._config)
        self._crew.workers[self._crew.workers.index(worker)] = fresh

    def _count_failed_start(self, error: Exception) -> None:
        self._crew.failed_starts += 1
        if self._crew.failed_starts >= FAILED_STARTS:
            raise EvaluatorUnavailable(
                f"{FAILED_STARTS} workers in a row died while starting; is the same Netlathe installed "
                f"on all machines, and is there memory left? The last one said: {error}"
            ) from error

    def _lost(self, number: int) -> ChildResult:
        tries = self._tries[number]
        self._crew.lost_children += 1
        if self._crew.lost_children >= LOST_CHILDREN:
            raise EvaluatorUnavailable(
                f"{LOST_CHILDREN} children in a row lost their worker at each of {tries} tries; look "
                "for what kills processes here (memory?), then resume"
            )
        return self._failed(number, FailureReason.LOST, f"its worker died {tries} times")

    def _overdue(self) -> Iterator[Outcome]:
        """Children that should have stopped themselves long ago; their workers are replaced."""
        timeout_s = self._config.child_timeout_s
        if timeout_s is None or self._job == "final":
            return
        now = self._cluster.now()
        for worker in list(self._crew.workers):
            seconds = now - worker.since
            if worker.number is not None and seconds > overdue_s(timeout_s):
                message = f"{seconds:.0f} s > {timeout_s:g} s and not at a training step; killed"
                number = worker.number
                self._replace(worker)
                if not self._is_trained(number):
                    yield number, self._failed(number, FailureReason.TIMEOUT, message)

    def _give_up_stragglers(self) -> None:
        """Children past their deadline are begun anew elsewhere, once each: the worker is to blame, not the child.

        Whatever comes of that is the child's result, so the trial table does not depend on it.
        """
        for worker, seconds, deadline_s in self._past(self._crew.pace.deadline_s):
            assert worker.number is not None
            _log.warning(
                "%s is a straggler: %s for %.0f s, expected at most %.0f s; tried again on a new worker",
                worker.name, worker.doing, seconds, deadline_s,
            )  # fmt: skip
            self._seconded.add(worker.number)
            self._replace(worker)
            self._waiting.appendleft(worker.number)

    def _check_alive(self, started: float) -> None:
        """Raise if no worker has become ready for a long time."""
        none_ready = all(w.number is None and w.waits_for is not None for w in self._crew.workers)
        since = max(started, min(w.since for w in self._crew.workers))
        if none_ready and self._cluster.now() - since > START_TIMEOUT_S:
            raise EvaluatorUnavailable(
                f"the Ray cluster gave no worker within {START_TIMEOUT_S:.0f} s: free some of its "
                "CPUs, or lower evaluator.workers"
            )

    def _failed(self, number: int, reason: FailureReason, message: str) -> ChildResult:
        digest = self._tasks[number].architecture.digest
        return ChildResult(digest=digest, failure=reason, message=message)


def _is_timeout(outcome: TrainedChild | ChildResult) -> bool:
    return isinstance(outcome, ChildResult) and outcome.failure is FailureReason.TIMEOUT
