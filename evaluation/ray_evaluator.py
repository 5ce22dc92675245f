"""Trains children in parallel on Ray: who trains what, when, and what happens to those whose worker dies."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from child_models import count_macs
from evaluation.child_runner import ChildLimits, result_key
from evaluation.evaluator import (
    Evaluator,
    EvaluatorUnavailable,
    TrainedChild,
    WorkerStatus,
)
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.ray_cluster import Cluster, WorkerLost
from evaluation.results import ChildResult, ChildTask, FailureReason

if TYPE_CHECKING:
    from child_models import Dataset, TrainingConfig

_log = logging.getLogger(__name__)

POLL_S = 0.5
"""How often limits are looked at while children run."""
START_TIMEOUT_S = 120.0
"""How long to wait for a cluster that gives no worker at all."""
GRACE_S = 10.0
"""How long after its time a child may still stop by itself, half of its time not counted."""
FAILED_STARTS = 3
"""Workers in a row that die before they are ready, after which the cluster is given up."""
LOST_CHILDREN = 3
"""Children in a row that lose their worker at every try, after which the cluster is given up."""

Job = Literal["child", "final"]


class RayEvaluator(Evaluator):
    """One actor a core, each training one child at a time on one thread; the data set is shipped once.

    A child whose worker dies is tried again on a new one, up to `config.max_retries` times; then it is LOST. A child
    that does not keep its own limits (it checks them at each training step) is stopped from here.

    Args:
        dataset: what children learn; its test split is used by `train_final` alone.
        training: how they learn.
        config: the cluster, and what one child may use.

    Warm it up, or use it first, in a thread that stays (see `ray_cluster`).

    Raises:
        EvaluatorUnavailable: Ray is not installed, or its address cannot be reached (from `warm_up` or the first use).
    """

    def __init__(
        self, dataset: Dataset, training: TrainingConfig, config: EvaluatorConfig | None = None
    ) -> None:
        self._dataset = dataset
        self._training = training
        self._config = config or EvaluatorConfig(kind="ray")
        self._key = result_key(dataset, training)
        self._cluster: Cluster | None = None
        self._workers: list[_Worker] = []
        self._failed_starts = 0
        self._lost_children = 0

    @property
    def key(self) -> str:
        return self._key

    @property
    def multi_node(self) -> bool:
        """Whether children may run on other machines; the ledger must then not be on one's own disk."""
        return self._config.address is not None and self._started().num_nodes > 1

    def warm_up(self) -> None:
        """Start or join the cluster (seconds) and start its workers, which go on loading torch by themselves."""
        if not self._workers:
            cluster = self._started()
            count = self._config.workers or cluster.cores
            self._workers = [self._new_worker(f"worker-{i + 1}") for i in range(count)]

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, outcome in self._run("child", tasks):
            assert isinstance(outcome, ChildResult)
            yield index, outcome

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        yield from self._run("final", tasks)

    def status(self) -> tuple[WorkerStatus, ...]:
        now = time.monotonic()
        return tuple(
            WorkerStatus(name=worker.name, doing=worker.doing, seconds=now - worker.since)
            for worker in list(self._workers)
        )

    def close(self) -> None:
        """End the workers, and the cluster if it was started here. Safe to call twice."""
        workers, self._workers = self._workers, []
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            for worker in workers:
                cluster.kill(worker.actor)
            cluster.close()

    def _started(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._config, self._dataset)
        return self._cluster

    def _new_worker(self, name: str) -> _Worker:
        config = self._config
        limits = ChildLimits(timeout_s=config.child_timeout_s, memory_mb=config.child_memory_mb)
        cluster = self._started()
        actor = cluster.actor_class.remote(name, cluster.dataset, self._training, limits)
        return _Worker(name=name, actor=actor, waits_for=actor.ready.remote())

    def _replace(self, worker: _Worker) -> None:
        self._started().kill(worker.actor)
        self._workers[self._workers.index(worker)] = self._new_worker(worker.name)

    def _run(
        self, job: Job, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        """Yield what came of each task, as it comes; longest first, so that no long one is left for the end."""
        self.warm_up()
        waiting = deque(sorted(range(len(tasks)), key=lambda i: (-_work(tasks[i]), i)))
        tries = [0] * len(tasks)
        left = len(tasks)
        started = time.monotonic()
        try:
            while left:
                self._give_out(job, tasks, waiting)
                for worker in self._answered():
                    index, outcome = worker.index, self._outcome(worker, tasks)
                    if index is None:
                        continue
                    if outcome is None:
                        tries[index] += 1
                        if tries[index] <= self._config.max_retries:
                            waiting.appendleft(index)
                            continue
                        outcome = self._lost(tasks[index], tries[index])
                    else:
                        self._lost_children = 0
                    left -= 1
                    self._give_out(
                        job, tasks, waiting
                    )  # workers first, then whoever waits for this
                    yield index, outcome
                for worker, result in self._overdue(job, tasks):
                    assert worker.index is not None
                    index = worker.index
                    self._replace(worker)
                    left -= 1
                    yield index, result
                self._check_alive(started)
        finally:
            self._stop_busy_workers()

    def _give_out(self, job: Job, tasks: Sequence[ChildTask], waiting: deque[int]) -> None:
        for worker in self._workers:
            if waiting and worker.is_idle:
                index = waiting.popleft()
                method = worker.actor.child if job == "child" else worker.actor.final
                verb = "training" if job == "child" else "final training of"
                worker.begin(
                    f"{verb} {tasks[index].architecture.digest}", method.remote(tasks[index]), index
                )

    def _answered(self) -> list[_Worker]:
        """Workers whose reply, or death, is known."""
        by_reply = {w.waits_for: w for w in self._workers if w.waits_for is not None}
        ready = self._started().wait(list(by_reply), POLL_S)
        return [by_reply[reply] for reply in ready]

    def _outcome(
        self, worker: _Worker, tasks: Sequence[ChildTask]
    ) -> TrainedChild | ChildResult | None:
        """A worker's reply; None where the worker was lost, or just became ready."""
        index = worker.index
        was_starting = index is None
        try:
            value = self._started().get(worker.waits_for)
        except WorkerLost as error:
            _log.warning("%s was lost while %s: %s", worker.name, worker.doing, error)
            if was_starting:
                self._count_failed_start(error)
            self._replace(worker)
            return None
        except Exception as error:  # raised by the child's own code
            worker.end()
            return None if index is None else _failed(tasks[index], FailureReason.CRASH, str(error))
        worker.end()
        if was_starting:
            self._failed_starts = 0
            return None
        assert isinstance(value, ChildResult | TrainedChild)
        return value

    def _count_failed_start(self, error: Exception) -> None:
        self._failed_starts += 1
        if self._failed_starts >= FAILED_STARTS:
            raise EvaluatorUnavailable(
                f"{FAILED_STARTS} workers in a row died while starting; is the same Netlathe installed "
                f"on all machines, and is there memory left? The last one said: {error}"
            ) from error

    def _lost(self, task: ChildTask, tries: int) -> ChildResult:
        self._lost_children += 1
        if self._lost_children >= LOST_CHILDREN:
            raise EvaluatorUnavailable(
                f"{LOST_CHILDREN} children in a row lost their worker at each of {tries} tries; look "
                "for what kills processes here (memory?), then resume"
            )
        return _failed(task, FailureReason.LOST, f"its worker died {tries} times")

    def _overdue(
        self, job: Job, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[_Worker, ChildResult]]:
        """Workers whose child should have stopped itself long ago."""
        timeout_s = self._config.child_timeout_s
        if timeout_s is None or job == "final":
            return
        for worker in list(self._workers):
            seconds = time.monotonic() - worker.since
            if worker.index is not None and seconds > 1.5 * timeout_s + GRACE_S:
                message = f"{seconds:.0f} s > {timeout_s:g} s and not at a training step; killed"
                yield worker, _failed(tasks[worker.index], FailureReason.TIMEOUT, message)

    def _check_alive(self, started: float) -> None:
        """Raise if no worker has become ready for a long time."""
        none_ready = all(w.index is None and w.waits_for is not None for w in self._workers)
        since = max(started, min(w.since for w in self._workers))
        if none_ready and time.monotonic() - since > START_TIMEOUT_S:
            raise EvaluatorUnavailable(
                f"the Ray cluster gave no worker within {START_TIMEOUT_S:.0f} s: free some of its "
                "CPUs, or lower evaluator.workers"
            )

    def _stop_busy_workers(self) -> None:
        """After an interruption: nobody waits for these children any more."""
        for worker in list(self._workers):
            if worker.index is not None and self._cluster is not None:
                try:
                    self._replace(worker)
                except Exception as error:  # the cluster may be what failed
                    _log.debug("%s cannot be replaced: %s", worker.name, error)


@dataclass(eq=False)
class _Worker:
    """One actor, and what it was asked: to become ready (`index` None), a task, or nothing (`waits_for` None)."""

    name: str
    actor: Any
    waits_for: Any
    index: int | None = None
    doing: str = "starting"
    since: float = 0.0

    def __post_init__(self) -> None:
        self.since = time.monotonic()

    @property
    def is_idle(self) -> bool:
        return self.waits_for is None

    def begin(self, doing: str, reply: Any, index: int) -> None:
        self.doing, self.waits_for, self.index = doing, reply, index
        self.since = time.monotonic()

    def end(self) -> None:
        self.doing, self.waits_for, self.index = "idle", None, None
        self.since = time.monotonic()


def _work(task: ChildTask) -> int:
    return count_macs(task.network) * task.fidelity.epochs if task.network is not None else 0


def _failed(task: ChildTask, reason: FailureReason, message: str) -> ChildResult:
    return ChildResult(digest=task.architecture.digest, failure=reason, message=message)
