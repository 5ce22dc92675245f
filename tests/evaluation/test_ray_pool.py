"""Who trains what when workers fail or dawdle, without Ray: the pool over a cluster that answers as it is told."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from archspace import Architecture, Network, Shape, StagedSpace, StagedSpaceConfig
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
from evaluation.stragglers import (
    LEAST_CHILDREN,
    LEAST_DEADLINE_S,
    REMEMBERED,
    Pace,
    work_of,
)

FIDELITY = Fidelity(name="search", epochs=1)


def task(name: str, network: Network | None = None, fidelity: Fidelity = FIDELITY) -> ChildTask:
    architecture = Architecture(space_digest="s", choices=(0,), digest=name, label=name)
    return ChildTask(
        architecture=architecture, network=network, fidelity=fidelity, replicate=0, seed=0
    )


class FakeCluster:
    """Actors answer at once: with what `answer` makes of a digest, which may be WorkerLost.

    With `seconds`, the first reply takes as long as it says of a digest, and time passes only while that is waited for.
    """

    dataset = training = recipe = None

    def __init__(
        self, answer: Callable[[str], Any], seconds: Callable[[str], float] = lambda digest: 0.0
    ) -> None:
        self.answer = answer
        self.seconds = seconds
        self.time = 0.0
        self.asked: list[str] = []
        self._numbers = count()
        self.actor_class = SimpleNamespace(remote=self._actor)

    def _actor(self, *arguments: object) -> Any:
        def child(task: ChildTask) -> tuple[str, int, float]:
            digest = task.architecture.digest
            self.asked.append(digest)
            return (digest, next(self._numbers), self.time + self.seconds(digest))

        return SimpleNamespace(
            ready=SimpleNamespace(remote=lambda: ("ready", next(self._numbers), self.time)),
            child=SimpleNamespace(remote=child),
        )

    def now(self) -> float:
        return self.time

    def wait(self, replies: list[Any], timeout_s: float) -> list[Any]:
        first = min(reply[2] for reply in replies)
        self.time = max(self.time, min(first, self.time + 30))
        return [reply for reply in replies if reply[2] <= self.time]

    def get(self, reply: tuple[str, int, float]) -> Any:
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
    crew = Crew(made, Pace(config.straggler_factor))
    return RayPool("child", crew, cluster, config), made  # type: ignore[arg-type]


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
        worker.begin("for another pool", ("x", 1, 0.0), 0, now=0.0)
    pool.close()
    assert workers == after


@pytest.fixture(scope="module")
def network() -> Network:
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 16, "layers": 1, "stride": 1}]}
    )
    space = StagedSpace(config, input_shape=Shape(1, 8, 8), num_classes=10)
    return space.resolve(space.sample(np.random.default_rng(0)))


def straggling(network: Network, seconds: list[float], **settings: Any) -> tuple[Any, FakeCluster]:
    """The result of a child that takes so long at each try, after nine of the same size that took 100 s."""
    left = list(seconds)
    cluster = FakeCluster(good, lambda digest: left.pop(0) if digest == "slow" else 100.0)
    pool, _ = make_pool(cluster, workers=1, **settings)
    for number in range(9):
        pool.add(number, task(f"usual-{number}", network))
    pool.add(9, task("slow", network))
    return all_of(pool)[9], cluster


@pytest.mark.parametrize("factor", [3.0, 1.5])
def test_a_straggler_is_begun_anew_once_and_gets_its_result(
    network: Network, factor: float
) -> None:
    result, cluster = straggling(network, [5000, 100], straggler_factor=factor)
    assert result == good("slow")
    assert cluster.asked.count("slow") == 2
    # given up at its deadline (looked at every 30 s), then 100 s more
    assert cluster.time == pytest.approx(9 * 100 + factor * 100 + 100, abs=31)


def test_the_second_time_a_slow_child_may_take_as_long_as_it_wants(network: Network) -> None:
    result, cluster = straggling(network, [2000, 2000])
    assert result == good("slow"), "never a failure"
    assert cluster.asked.count("slow") == 2


def test_a_straggler_that_hangs_again_times_out(network: Network) -> None:
    result, cluster = straggling(network, [1e9, 1e9], child_timeout_s=1000)
    assert result.failure is FailureReason.TIMEOUT
    assert cluster.asked.count("slow") == 2


def test_no_factor_no_deadline(network: Network) -> None:
    result, cluster = straggling(network, [2000], straggler_factor=None)
    assert result == good("slow")
    assert cluster.asked.count("slow") == 1


def test_giving_up_a_straggler_costs_it_none_of_its_tries(network: Network) -> None:
    left = [5000.0]
    answers = [WorkerLost("gone"), good("slow")]
    cluster = FakeCluster(
        lambda digest: answers.pop(0) if digest == "slow" else good(digest),
        lambda digest: left.pop() if digest == "slow" and left else 100.0,
    )
    pool, _ = make_pool(cluster, workers=1, max_retries=1)
    for number in range(9):
        pool.add(number, task(f"usual-{number}", network))
    pool.add(9, task("slow", network))
    assert all_of(pool)[9] == good("slow")
    assert cluster.asked.count("slow") == 3, "given up, lost, and trained"


class Late:
    """A child that is late on one of two workers, after ten of the same size that took 100 s; `seconds` and `answers`: of its tries."""

    def __init__(
        self,
        network: Network,
        seconds: list[float],
        answers: list[Any] | None = None,
        **settings: Any,
    ) -> None:
        left, replies = list(seconds), [*(answers or [])]
        self.cluster = FakeCluster(
            lambda digest: replies.pop(0) if digest == "late" and replies else good(digest),
            lambda digest: left.pop(0) if digest == "late" else 100.0,
        )
        self.pool, self.workers = make_pool(self.cluster, **settings)
        for number in range(10):
            self.pool.add(number, task(f"usual-{number}", network))
        assert len(all_of(self.pool)) == 10
        self.before = list(self.workers)
        self.since = self.cluster.time
        self.pool.add(10, task("late", network))

    @property
    def tries(self) -> int:
        return self.cluster.asked.count("late")

    def result(self) -> ChildResult:
        """The one that there is, and how long it took is in `took_s`."""
        ((number, result),) = self.pool.wait()
        self.took_s = self.cluster.time - self.since
        assert number == 10
        assert self.pool.wait() == []
        assert all(worker.is_idle or worker.doing == "starting" for worker in self.workers)
        return result


@pytest.mark.parametrize(("seconds", "took_s"), [([5000, 100], 265), ([250, 100], 250)])
def test_a_worker_with_nothing_to_do_trains_a_late_child_too(
    network: Network, seconds: list[float], took_s: float
) -> None:
    """Late, with half of the workers busy, is a quarter of the way from 100 s to the deadline of 300 s; whoever is slower is replaced."""
    late = Late(network, seconds)
    assert late.result() == good("late")
    assert late.took_s == pytest.approx(took_s, abs=31)  # looked at every 30 s
    assert late.tries == 2
    assert sum(worker in late.before for worker in late.workers) == 1


def test_two_answers_at_the_same_moment_are_one_result(network: Network) -> None:
    late = Late(network, [300, 120])  # the backup begins after 180 s
    assert late.result() == good("late")
    assert late.took_s == 300


def test_a_child_with_a_backup_is_no_straggler(network: Network) -> None:
    late = Late(network, [900, 5000])
    assert late.result() == good("late")
    assert late.took_s == 900
    assert late.tries == 2


def test_no_backup_while_children_wait_or_without_deadlines(network: Network) -> None:
    waiting = Late(network, [250])
    for number in range(11, 14):
        waiting.pool.add(number, task(f"usual-{number}", network))
    assert set(all_of(waiting.pool)) == {10, 11, 12, 13}
    assert waiting.tries == 1
    assert Late(network, [5000], straggler_factor=None).result() == good("late")


def test_children_that_end_within_a_minute_have_no_backup(network: Network) -> None:
    left = [59.0]
    cluster = FakeCluster(good, lambda digest: left.pop(0) if digest == "late" else 1.0)
    pool, _ = make_pool(cluster)
    for number in range(10):
        pool.add(number, task(f"usual-{number}", network))
    pool.add(10, task("late", network))
    assert all_of(pool)[10] == good("late")
    assert cluster.asked.count("late") == 1


def test_one_of_two_workers_is_lost_and_the_other_goes_on(network: Network) -> None:
    backup_lost = Late(network, [290, 20, 300], [WorkerLost("gone")], max_retries=0)
    assert backup_lost.result() == good("late")
    assert backup_lost.took_s == 290
    assert backup_lost.tries == 3, "another backup"
    first_lost = Late(network, [240, 100], [WorkerLost("gone")], max_retries=0)
    assert first_lost.result() == good("late")
    assert first_lost.took_s == pytest.approx(265, abs=31)
    both = Late(network, [240, 100], [WorkerLost("gone"), WorkerLost("gone")], max_retries=1)
    assert both.result().failure is FailureReason.LOST


def test_a_child_whose_backup_was_lost_may_still_be_a_straggler(network: Network) -> None:
    late = Late(network, [1e9, 20, 100])
    answer, left = late.cluster.answer, [WorkerLost("gone")]

    def lost_once(digest: str) -> Any:
        if digest != "late" or not left:
            return answer(digest)
        for number in range(11, 16):  # from now on no worker has nothing to do
            late.pool.add(number, task(f"more-{number}", network))
        return left.pop()

    late.cluster.answer = lost_once
    found: dict[int, ChildResult] = {}
    while 10 not in found:
        found |= dict(late.pool.wait())
    assert found[10] == good("late")
    assert late.cluster.time - late.since == pytest.approx(300 + 100, abs=31)  # its deadline
    assert late.tries == 3


def test_a_time_out_is_none_while_the_backup_trains(network: Network) -> None:
    timeout = ChildResult(digest="late", failure=FailureReason.TIMEOUT, message="1000 s")
    late = Late(network, [240, 100], [timeout])
    assert late.result() == good("late")
    both = Late(network, [1e9, 1e9], child_timeout_s=1000)
    assert both.result().failure is FailureReason.TIMEOUT
    assert both.tries == 2


def test_closing_ends_both_workers_of_a_child(network: Network) -> None:
    late = Late(network, [5000, 5000])
    late.pool.add(11, task("longer", network))
    late.cluster.seconds = lambda digest: 400.0
    late.pool.wait()
    late.pool.close()
    assert not any(worker.number for worker in late.workers)


def test_nothing_is_predicted_before_some_children_have_ended(network: Network) -> None:
    pace, work = Pace(3.0), work_of(task("a", network))
    for _ in range(LEAST_CHILDREN - 1):
        pace.learn(work, 100.0)
        assert pace.deadline_s(work) is None
    pace.learn(work, 100.0)
    assert pace.deadline_s(work) == pytest.approx(300)
    assert pace.deadline_s(work_of(task("b"))) is None, "nothing is known of its work"


def test_a_deadline_follows_the_work_and_is_a_minute_at_least(network: Network) -> None:
    pace, work = Pace(2.0), work_of(task("a", network))
    twice = Fidelity(name="twice", epochs=2)
    quarter = Fidelity(name="quarter", epochs=1, resolution=4)  # of a height of 8
    tenth = Fidelity(name="tenth", epochs=1, data_fraction=0.1)
    for _ in range(LEAST_CHILDREN):
        pace.learn(work, 200.0)
    assert pace.deadline_s(work_of(task("b", network, twice))) == pytest.approx(800)
    assert pace.deadline_s(work_of(task("c", network, quarter))) == pytest.approx(100)
    assert pace.deadline_s(work_of(task("d", network, tenth))) == LEAST_DEADLINE_S
    assert work_of(task("d", network, tenth)) == pytest.approx(0.1 * work)


def test_the_fewer_workers_are_busy_the_sooner_a_child_is_late(network: Network) -> None:
    pace, work = Pace(3.0), work_of(task("a", network))
    assert pace.late_s(work, 0.5) is None
    for _ in range(LEAST_CHILDREN):
        pace.learn(work, 100.0)
    assert [pace.late_s(work, busy) for busy in (0.0, 0.5, 1.0)] == pytest.approx([100, 150, 200])
    assert pace.late_s(0.1 * work, 0.5) == LEAST_DEADLINE_S


def test_the_latest_children_set_the_pace(network: Network) -> None:
    pace, work = Pace(2.0), work_of(task("a", network))
    for seconds in (100.0, 200.0):
        for _ in range(REMEMBERED):
            pace.learn(work, seconds)
        assert pace.deadline_s(work) == pytest.approx(2 * seconds)


def test_children_that_began_before_anything_was_known_are_judged_too(network: Network) -> None:
    left = [5000.0]
    cluster = FakeCluster(good, lambda digest: left.pop() if digest == "slow" and left else 100.0)
    pool, _ = make_pool(cluster, workers=10)
    pool.add(0, task("slow", network))
    for number in range(1, 10):
        pool.add(number, task(f"usual-{number}", network))
    assert all_of(pool)[0] == good("slow")
    assert cluster.asked.count("slow") == 2
    assert cluster.time < 500
