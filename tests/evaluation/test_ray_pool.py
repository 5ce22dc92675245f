"""Who trains what when workers fail, without Ray: the pool over a cluster that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from archspace import Architecture
from evaluation import (
    ChildResult,
    ChildTask,
    EvaluatorConfig,
    EvaluatorUnavailable,
    FailureReason,
    Fidelity,
)
from evaluation.ray_cluster import WorkerLost
from evaluation.ray_pool import Crew, RayPool, Worker, new_worker

FIDELITY = Fidelity(name="search", epochs=1)


def task(name: str) -> ChildTask:
    architecture = Architecture(space_digest="s", choices=(0,), digest=name, label=name)
    return ChildTask(
        architecture=architecture, network=None, fidelity=FIDELITY, replicate=0, seed=0
    )


class FakeCluster:
    """Actors answer at once: with what `answer` makes of a digest, which may be WorkerLost."""

    dataset = training = recipe = None

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self._numbers = count()
        self.actor_class = SimpleNamespace(remote=self._actor)

    def _actor(self, *arguments: object) -> Any:
        def child(task: ChildTask) -> tuple[str, int]:
            self.asked.append(task.architecture.digest)
            return (task.architecture.digest, next(self._numbers))

        return SimpleNamespace(
            ready=SimpleNamespace(remote=lambda: ("ready", next(self._numbers))),
            child=SimpleNamespace(remote=child),
        )

    def wait(self, replies: list[Any], timeout_s: float) -> list[Any]:
        return replies

    def get(self, reply: tuple[str, int]) -> Any:
        answer = 1 if reply[0] == "ready" else self.answer(reply[0])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: object) -> None:
        """Gone."""


def good(digest: str) -> ChildResult:
    return ChildResult(digest=digest, accuracy=0.5, accuracy_no_exit=0.5)


def make_pool(
    cluster: FakeCluster, workers: int = 2, **settings: Any
) -> tuple[RayPool, list[Worker]]:
    config = EvaluatorConfig.model_validate({"kind": "ray", "max_retries": 1, **settings})
    made = [new_worker(f"w{i}", cluster, config) for i in range(workers)]  # type: ignore[arg-type]
    return RayPool("child", Crew(made), cluster, config), made  # type: ignore[arg-type]


def all_of(pool: RayPool) -> dict[int, ChildResult]:
    found: dict[int, ChildResult] = {}
    while results := pool.wait():
        found |= dict(results)
    return found


def test_first_added_first_begun() -> None:
    cluster = FakeCluster(good)
    pool, _ = make_pool(cluster, workers=1)
    for number, name in ((5, "a"), (2, "b"), (9, "c")):
        pool.add(number, task(name))
    assert {n: r.digest for n, r in all_of(pool).items()} == {5: "a", 2: "b", 9: "c"}
    assert cluster.asked == ["a", "b", "c"]


def test_a_child_that_loses_its_worker_is_tried_again_and_then_lost() -> None:
    lost = [WorkerLost("gone")]

    def answer(digest: str) -> Any:
        return (
            lost.pop()
            if digest == "a" and lost
            else WorkerLost("x")
            if digest == "b"
            else good(digest)
        )

    cluster = FakeCluster(answer)
    pool, workers = make_pool(cluster)
    before = list(workers)
    for number, name in enumerate("abc"):
        pool.add(number, task(name))
    found = all_of(pool)
    assert (found[0].failure, found[1].failure, found[2].failure) == (
        None,
        FailureReason.LOST,
        None,
    )
    assert sorted(cluster.asked) == ["a", "a", "b", "b", "c"]
    assert all(worker not in before for worker in workers), "both were replaced"


def test_what_came_before_the_cluster_is_given_up_is_handed_over() -> None:
    cluster = FakeCluster(lambda digest: good(digest) if digest == "d" else WorkerLost("gone"))
    pool, _ = make_pool(cluster, workers=4, max_retries=0)
    for number, name in enumerate("dabc"):
        pool.add(number, task(name))
    found = dict(pool.wait())
    assert found[0] == good("d")
    with pytest.raises(EvaluatorUnavailable, match="3 children in a row"):
        pool.wait()


def test_closing_replaces_busy_workers_and_only_once() -> None:
    cluster = FakeCluster(good)
    pool, workers = make_pool(cluster)
    for number, name in enumerate("abcdef"):
        pool.add(number, task(name))
    pool.wait()
    busy = [worker for worker in workers if worker.number is not None]
    assert busy
    pool.close()
    assert not any(worker in workers for worker in busy)
    after = list(workers)
    for worker in workers:
        worker.begin("for another pool", ("x", 1), 0)
    pool.close()
    assert workers == after
