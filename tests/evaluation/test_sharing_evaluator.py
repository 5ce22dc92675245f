"""Jobs that share results: each child trained once, whatever happens to a job or to the database."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from archspace import Choices, StagedSpace
from evaluation import (
    ChildPool,
    ChildResult,
    ChildTask,
    Evaluation,
    EvaluationError,
    Evaluator,
    FailureReason,
    Fidelity,
    Ledger,
    LedgerSession,
    SharedResults,
    SharedResultsError,
    SharingEvaluator,
    TrainedChild,
    child_seed,
)
from evaluation.child_pool import OneByOne
from evaluation.scoring import without_effort

FIDELITY = Fidelity(name="search", epochs=2)


class Trainer(Evaluator):
    """Accuracy from the digest; `before` is called with it, and gives a failure or None."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.before: Callable[[str], FailureReason | None] = lambda digest: None
        self.workers = 1
        self.own_key = "0123456789abcdef"
        self.closed = 0

    @property
    def key(self) -> str:
        return self.own_key

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            digest = task.architecture.digest
            failure = self.before(digest)
            self.trained.append(digest)
            if failure is not None:
                yield index, ChildResult(digest=digest, failure=failure, message="on purpose")
                continue
            accuracy = int(digest[:4], 16) / 65535
            yield (
                index,
                ChildResult(
                    digest=digest,
                    accuracy=accuracy,
                    accuracy_no_exit=accuracy,
                    train_seconds=1.5,
                    worker="w",
                ),
            )

    def pool(self) -> ChildPool:
        pool = Workers(self.evaluate)
        pool.workers = self.workers
        return pool

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        yield from self.evaluate(tasks)

    def close(self) -> None:
        self.closed += 1


class Workers(OneByOne):
    workers = 1

    @property
    def capacity(self) -> int:
        return self.workers


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Place:
    """One database, and the jobs over it."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'results.db'}"
        self.clock = Clock()
        self.jobs: list[tuple[Trainer, SharingEvaluator]] = []

    def store(self) -> SharedResults:
        return SharedResults(self.url, clock=self.clock)

    def job(
        self, trainer: Trainer | None = None, *, shared: SharedResults | None = None, **more: Any
    ) -> tuple[Trainer, SharingEvaluator]:
        trainer = trainer or Trainer()
        settings = {"origin": "here", "poll_s": 0.01, **more}
        job = trainer, SharingEvaluator(trainer, shared or self.store(), **settings)
        self.jobs.append(job)
        return job


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for _, evaluator in made.jobs:
        evaluator.close()


@pytest.fixture
def tasks(space: StagedSpace, distinct: Callable[[int], list[Choices]]) -> list[ChildTask]:
    """Six."""
    architectures = [space.architecture(choices) for choices in distinct(6)]
    return [
        ChildTask(
            architecture=architecture,
            network=space.resolve(architecture.choices),
            fidelity=FIDELITY,
            replicate=0,
            seed=child_seed(0, architecture.digest, FIDELITY, 0),
        )
        for architecture in architectures
    ]


def digests(tasks: Sequence[ChildTask]) -> list[str]:
    return [task.architecture.digest for task in tasks]


def results_of(evaluator: Evaluator, tasks: Sequence[ChildTask]) -> list[ChildResult]:
    pairs = list(evaluator.evaluate(tasks))
    assert sorted(index for index, _ in pairs) == list(range(len(tasks)))
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]


def bare(results: Sequence[ChildResult]) -> list[ChildResult]:
    return [without_effort(result) for result in results]


class InThread:
    """What a call gives, made in a thread."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._thread = threading.Thread(target=self._run, args=(call,), daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], Any]) -> None:
        self._value = call()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def value(self) -> Any:
        self._thread.join(30)
        assert self.is_over, "it goes on for ever"
        return self._value


def wait_until(true: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_new_database_may_be_opened_by_many_at_once(tmp_path: Path) -> None:
    for number in range(25):
        stores = [SharedResults(f"sqlite:///{tmp_path / str(number)}.db") for _ in range(4)]
        start = threading.Barrier(len(stores))

        def claim(
            store: SharedResults, owner: str, start: threading.Barrier = start
        ) -> list[str] | str:
            start.wait(30)
            try:
                return store.claim(["child"], owner, 30.0, 1)
            except SharedResultsError as error:
                return str(error)

        asked = [
            InThread(lambda s=store, o=owner: claim(s, str(o)))
            for owner, store in enumerate(stores)
        ]
        assert sorted(map(str, (each.value() for each in asked))) == ["['child']", *["[]"] * 3]
        for store in stores:
            store.close()


@pytest.mark.parametrize("workers", [1, 3])
def test_jobs_at_the_same_moment_share_the_work(
    place: Place, tasks: list[ChildTask], workers: int
) -> None:
    both_train = threading.Barrier(2)

    def meet(digest: str) -> None:
        if not met:
            both_train.wait(30)
            met.append(digest)

    met: list[str] = []
    jobs = [place.job() for _ in range(2)]
    for trainer, _ in jobs:
        trainer.before, trainer.workers = meet, workers
    wanted = (tasks[:5], tasks[:0:-1])
    answers = [
        InThread(lambda e=evaluator, w=want: results_of(e, w))
        for (_, evaluator), want in zip(jobs, wanted, strict=True)
    ]
    found = [answer.value() for answer in answers]
    trained = Counter(digest for trainer, _ in jobs for digest in trainer.trained)
    assert trained == dict.fromkeys(digests(tasks), 1)
    alone = bare(results_of(Trainer(), tasks))
    assert bare(found[0]) == alone[:5]
    assert bare(found[1]) == alone[:0:-1]
    for (trainer, _), results in zip(jobs, found, strict=True):
        own = set(trainer.trained)
        assert own
        assert all((result.train_seconds > 0) == (result.digest in own) for result in results)
        assert all((result.worker == "w") == (result.digest in own) for result in results)


def test_a_later_job_trains_what_is_new_only(place: Place, tasks: list[ChildTask]) -> None:
    first, second = place.job(), place.job()
    results = results_of(first[1], tasks[:4])
    again = results_of(second[1], tasks[::-1])
    assert sorted(second[0].trained) == sorted(digests(tasks[4:]))
    assert again[2:] == bare(results[::-1])


def test_a_pool_takes_answers_and_more_children(place: Place, tasks: list[ChildTask]) -> None:
    first, second = place.job(), place.job()
    results_of(first[1], tasks[:2])
    pool = second[1].pool()
    assert pool.wait() == []
    for number in (4, 1, 0):
        pool.add(number, tasks[number])
    assert [number for number, _ in pool.wait()] == [1, 0]
    pool.add(9, tasks[0])
    found = pool.wait() + pool.wait()
    assert sorted(number for number, _ in found) == [4, 9]
    assert second[0].trained == digests(tasks[4:5])
    assert pool.wait() == []


def test_no_more_is_claimed_than_workers_can_begin(place: Place, tasks: list[ChildTask]) -> None:
    trainer, evaluator = place.job()
    trainer.workers = 2
    pool = evaluator.pool()
    for number, task in enumerate(tasks):
        pool.add(number, task)
    pool.wait()
    keys = [evaluator.shared_key(task) for task in tasks]
    assert place.store().claim(keys, "other", 30, most=9) == keys[2:]


def test_a_job_that_died_is_taken_over_when_its_lease_is_over(
    place: Place, tasks: list[ChildTask]
) -> None:
    trainer, evaluator = place.job()
    keys = [evaluator.shared_key(task) for task in tasks]
    assert len(place.store().claim(keys[:2], "dead", 30, most=2)) == 2
    answer = InThread(lambda: results_of(evaluator, tasks[:3]))
    wait_until(lambda: trainer.trained == digests(tasks[2:3]))  # its own first
    place.clock.now += 29
    time.sleep(0.1)
    assert not answer.is_over
    place.clock.now += 2
    assert bare(answer.value()) == bare(results_of(Trainer(), tasks[:3]))
    assert sorted(trainer.trained) == sorted(digests(tasks[:3]))


def test_claims_are_renewed_while_a_child_trains(place: Place, tasks: list[ChildTask]) -> None:
    trainer, evaluator = place.job(shared=SharedResults(place.url), lease_s=0.6)
    training, go_on = threading.Event(), threading.Event()

    def slow(digest: str) -> None:
        training.set()
        go_on.wait(30)

    trainer.before = slow
    answer = InThread(lambda: results_of(evaluator, tasks[:1]))
    training.wait(30)
    time.sleep(1.5)
    other = SharedResults(place.url)
    assert other.claim([evaluator.shared_key(tasks[0])], "other", 30, most=1) == []
    go_on.set()
    answer.value()
    assert other.get_many([evaluator.shared_key(tasks[0])])


@pytest.mark.parametrize("reason", list(FailureReason))
def test_only_what_would_fail_everywhere_is_shared(
    place: Place, tasks: list[ChildTask], reason: FailureReason
) -> None:
    first, second = place.job(), place.job()
    first[0].before = lambda digest: reason
    (failed,) = results_of(first[1], tasks[:1])
    assert failed.failure is reason
    (other,) = results_of(second[1], tasks[:1])
    if reason is FailureReason.NONFINITE:
        assert other == failed
        assert second[0].trained == []
    else:
        assert other.failure is None
        assert second[0].trained == digests(tasks[:1])


def test_a_number_that_is_none_is_shared_as_the_failure_that_it_is(
    place: Place, tasks: list[ChildTask]
) -> None:
    class Wild(Trainer):
        def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
            for index, result in super().evaluate(tasks):
                yield index, replace(result, accuracy=float("nan"), train_seconds=float("inf"))

    results_of(place.job(Wild())[1], tasks[:1])
    (result,) = results_of(place.job()[1], tasks[:1])
    assert result.failure is FailureReason.NONFINITE


def test_the_same_child_twice_is_trained_once_unless_it_fails(
    place: Place, tasks: list[ChildTask]
) -> None:
    trainer, evaluator = place.job()
    trainer.workers = 2
    first, second = results_of(evaluator, [tasks[0], tasks[0]])
    assert trainer.trained == digests(tasks[:1])
    assert second == without_effort(first)
    trainer.before = lambda digest: FailureReason.CRASH
    failed = results_of(evaluator, [tasks[1], tasks[1]])
    assert [result.failure for result in failed] == [FailureReason.CRASH] * 2


def test_what_differs_is_not_shared(
    place: Place, tasks: list[ChildTask], space: StagedSpace
) -> None:
    results_of(place.job()[1], tasks[:1])
    task = tasks[0]
    for changed in (
        replace(task, seed=task.seed + 1),
        replace(task, fidelity=replace(FIDELITY, epochs=3)),
        replace(task, fidelity=replace(FIDELITY, data_fraction=0.5)),
        replace(task, fidelity=replace(FIDELITY, resolution=4)),
        replace(task, architecture=replace(task.architecture, space_digest="f" * 16)),
    ):
        trainer, evaluator = place.job()
        results_of(evaluator, [changed])
        assert trainer.trained == digests([task])
    other_settings, elsewhere = Trainer(), Trainer()
    other_settings.own_key = "f" * 16
    results_of(place.job(other_settings)[1], [task])
    results_of(place.job(elsewhere, origin="another torch")[1], [task])
    assert other_settings.trained == elsewhere.trained == digests([task])


class Cable(SharedResults):
    """Can be pulled."""

    is_pulled = False

    def _transaction(self, *, writes: bool = True) -> Any:
        if self.is_pulled:
            raise SharedResultsError("no connection")
        return super()._transaction(writes=writes)


def test_without_its_database_a_job_trains_alone_and_says_so_once(
    place: Place, tasks: list[ChildTask], caplog: pytest.LogCaptureFixture
) -> None:
    cable = Cable(place.url, clock=place.clock)
    trainer, evaluator = place.job(shared=cable)
    cable.is_pulled = True
    with caplog.at_level(logging.INFO, logger="evaluation.claims"):
        assert len(results_of(evaluator, tasks[:2])) == 2
        evaluator._claims.renew()
        cable.is_pulled = False
        assert len(results_of(evaluator, tasks[2:3])) == 1  # nobody has looked again yet
        assert place.store().get_many([evaluator.shared_key(task) for task in tasks]) == {}
        evaluator._claims.renew()
        results_of(evaluator, tasks[3:4])
        assert len(place.store().get_many([evaluator.shared_key(task) for task in tasks])) == 1
    assert [(record.levelname, record.message[:27]) for record in caplog.records] == [
        ("WARNING", "the shared results cannot b"),
        ("INFO", "the shared results can be r"),
    ]
    assert sorted(trainer.trained) == sorted(digests(tasks[:4]))


def test_the_database_comes_back_by_itself(tmp_path: Path, tasks: list[ChildTask]) -> None:
    place = Place(tmp_path / "later")
    trainer, evaluator = place.job(lease_s=0.06)
    with evaluator:
        results_of(evaluator, tasks[:1])
        (tmp_path / "later").mkdir()
        wait_until(lambda: not evaluator._claims._is_away)
        results_of(evaluator, tasks[1:2])
        keys = [evaluator.shared_key(task) for task in tasks]
        assert list(place.store().get_many(keys)) == keys[1:2]
    assert len(trainer.trained) == 2


def test_who_waits_for_another_job_goes_on_when_the_database_is_gone(
    place: Place, tasks: list[ChildTask]
) -> None:
    cable = Cable(place.url, clock=place.clock)
    trainer, evaluator = place.job(shared=cable)
    place.store().claim([evaluator.shared_key(tasks[0])], "other", 30, most=1)
    answer = InThread(lambda: results_of(evaluator, tasks[:1]))
    time.sleep(0.1)
    assert not answer.is_over
    cable.is_pulled = True
    answer.value()
    assert trainer.trained == digests(tasks[:1])


def _stopped(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    results = evaluator.evaluate(tasks)
    next(results)
    results.close()  # type: ignore[attr-defined]


def _closed_pool(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    pool = evaluator.pool()
    for number, task in enumerate(tasks):
        pool.add(number, task)
    pool.wait()
    pool.close()
    pool.close()


def _another_pool(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    first = evaluator.pool()
    for number, task in enumerate(tasks):
        first.add(number, task)
    first.wait()
    evaluator.pool()
    first.close()


def _finals(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    pool = evaluator.pool()
    pool.add(0, tasks[0])
    pool.add(1, tasks[1])
    pool.wait()
    list(evaluator.train_final(tasks[2:3]))


def _closed(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    pool = evaluator.pool()
    for number, task in enumerate(tasks):
        pool.add(number, task)
    pool.wait()
    evaluator.close()
    evaluator.close()


def _raised(evaluator: SharingEvaluator, tasks: list[ChildTask]) -> None:
    def broken(digest: str) -> None:
        raise EvaluationError("no workers")

    evaluator._inner.before = broken  # type: ignore[attr-defined]
    with pytest.raises(EvaluationError, match="no workers"):
        list(evaluator.evaluate(tasks))


@pytest.mark.parametrize("end", [_stopped, _closed_pool, _another_pool, _finals, _closed, _raised])
def test_who_ends_leaves_its_children_to_others_at_once(
    place: Place, tasks: list[ChildTask], end: Callable[[SharingEvaluator, list[ChildTask]], None]
) -> None:
    trainer, evaluator = place.job()
    trainer.workers = 2
    end(evaluator, tasks)
    store = place.store()
    keys = [evaluator.shared_key(task) for task in tasks]
    results = store.get_many(keys)
    rest = [key for key in keys if key not in results]
    assert store.claim(rest, "other", 30, most=9) == rest


def test_finals_are_not_shared(place: Place, tasks: list[ChildTask]) -> None:
    trainer, evaluator = place.job()
    results_of(evaluator, tasks[:1])
    ((index, final),) = evaluator.train_final(tasks[:1])
    assert (index, final.train_seconds) == (0, 1.5)  # type: ignore[union-attr]
    assert trainer.trained == digests(tasks[:1]) * 2


def test_the_rest_is_the_inner_evaluators(place: Place, tasks: list[ChildTask]) -> None:
    trainer = Trainer()
    trainer.needs_network = False
    evaluator = place.job(trainer)[1]
    assert evaluator.key == trainer.key
    assert not evaluator.needs_network
    assert evaluator.status() == ()
    assert evaluator.missing(tasks[0].architecture) == ""
    evaluator.warm_up()
    evaluator.close()
    assert trainer.closed == 1


def test_a_session_pays_for_what_another_job_trained_and_logs_the_same(
    place: Place,
    tmp_path: Path,
    open_session: Callable[..., LedgerSession],
    distinct: Callable[[int], list[Choices]],
) -> None:
    def searched(name: str, evaluator: Evaluator) -> tuple[list[Evaluation], float]:
        with Ledger(f"sqlite:///{tmp_path / name}.db") as ledger:
            session = open_session(ledger, evaluator=evaluator, budget=5)
            found = session.evaluate(distinct(3)) + session.evaluate(distinct(5))
            return found, session.spent

    (alone, paid), trainer = searched("alone", Trainer()), Trainer()
    searched("first", place.job()[1])
    shared, paid_too = searched("second", place.job(trainer)[1])
    assert trainer.trained == []
    assert paid_too == paid == 5
    assert [replace(e, result=without_effort(e.result)) for e in alone if e.result] == shared
