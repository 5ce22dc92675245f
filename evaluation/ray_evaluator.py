"""Trains children in parallel on Ray."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evaluation.child_pool import ChildPool
from evaluation.child_runner import result_key
from evaluation.evaluator import Evaluator, TrainedChild, WorkerStatus
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.ray_cluster import Cluster
from evaluation.ray_pool import Crew, Job, RayPool, new_worker
from evaluation.recipe import PLAIN, Recipe
from evaluation.results import ChildResult, ChildTask
from evaluation.stragglers import Pace, work_of

if TYPE_CHECKING:
    from child_models import Dataset, TrainingConfig


class RayEvaluator(Evaluator):
    """One actor a core, each training one child at a time on one thread; the data set is shipped once.

    A child whose worker dies is tried again on a new one, up to `config.max_retries` times; then it is LOST. A child
    that does not keep its own limits (it checks them at each training step) is stopped from here. A child that takes far longer
    than others of its size is begun anew on another worker, once; before that, a worker with nothing to do trains it, too (see `stragglers`).

    Args:
        dataset: what children learn; its test split is used by `train_final` alone.
        training: how they learn.
        config: the cluster, and what one child may use.
        recipe: what else children get; shipped once.

    Warm it up, or use it first, in a thread that stays (see `ray_cluster`).

    Raises:
        EvaluatorUnavailable: Ray is not installed, or its address cannot be reached (from `warm_up` or the first use).
    """

    def __init__(
        self,
        dataset: Dataset,
        training: TrainingConfig,
        config: EvaluatorConfig | None = None,
        recipe: Recipe = PLAIN,
    ) -> None:
        self._dataset = dataset
        self._training = training
        self._config = config or EvaluatorConfig(kind="ray")
        self._recipe = recipe
        self._key = result_key(dataset, training, recipe)
        self._cluster: Cluster | None = None
        self._crew = self._no_crew()
        self._pool: RayPool | None = None

    @property
    def key(self) -> str:
        return self._key

    def warm_up(self) -> None:
        """Start or join the cluster (seconds) and start its workers, which go on loading torch by themselves."""
        if not self._crew.workers:
            cluster = self._started()
            count = self._config.workers or cluster.cores
            names = [f"worker-{i + 1}" for i in range(count)]
            self._crew.workers = [new_worker(name, cluster, self._config) for name in names]

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, outcome in self._run("child", tasks):
            assert isinstance(outcome, ChildResult)
            yield index, outcome

    def pool(self) -> ChildPool:
        return self._new_pool("child")

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        yield from self._run("final", tasks)

    def status(self) -> tuple[WorkerStatus, ...]:
        cluster = self._cluster
        if cluster is None:
            return ()
        now = cluster.now()
        return tuple(
            WorkerStatus(name=worker.name, doing=worker.doing, seconds=now - worker.since)
            for worker in list(self._crew.workers)
        )

    def close(self) -> None:
        """End the workers, and the cluster if it was started here. Safe to call twice."""
        if self._pool is not None:
            self._pool.abandon()
        crew, self._crew, self._pool = self._crew, self._no_crew(), None
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            for worker in crew.workers:
                cluster.kill(worker.actor)
            cluster.close()

    def _started(self) -> Cluster:
        if self._cluster is None:
            self._cluster = Cluster(self._config, self._dataset, self._training, self._recipe)
        return self._cluster

    def _run(
        self, job: Job, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        """Yield what came of each task, as it comes; longest first, so that no long one is left for the end."""
        pool = self._new_pool(job)
        for index in longest_first(tasks):
            pool.add(index, tasks[index])
        try:
            while outcomes := pool.outcomes():
                yield from outcomes
        finally:
            pool.close()

    def _new_pool(self, job: Job) -> RayPool:
        """The workers serve one pool at a time."""
        if self._pool is not None:
            self._pool.close()
        self.warm_up()
        self._pool = RayPool(job, self._crew, self._started(), self._config)
        return self._pool

    def _no_crew(self) -> Crew:
        return Crew([], Pace(self._config.straggler_factor))


def longest_first(tasks: Sequence[ChildTask]) -> list[int]:
    """Indices of `tasks` in the order in which they are best begun."""
    return sorted(range(len(tasks)), key=lambda i: (-work_of(tasks[i]), i))
