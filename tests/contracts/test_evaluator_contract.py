"""What every evaluator promises; each real one is put through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import SearchSpace, Shape, StagedSpace, StagedSpaceConfig
from child_models import Dataset, DigitsConfig, TrainingConfig, count_params, load_data
from evaluation import (
    ChildPool,
    ChildResult,
    ChildTask,
    Evaluator,
    EvaluatorConfig,
    FailureReason,
    Fidelity,
    NotSupported,
    RayEvaluator,
    SharedResults,
    SharingEvaluator,
    TableEvaluator,
    TrainedChild,
    TrainingEvaluator,
    child_seed,
)
from latency_models import MeasuredTable

FIDELITY = Fidelity(name="search", epochs=1)


@dataclass(frozen=True)
class Case:
    """An evaluator, tasks that it can do, and one that must fail."""

    evaluator: Evaluator
    tasks: list[ChildTask]
    bad_task: ChildTask


def _task(space: SearchSpace, choices: tuple[int, ...]) -> ChildTask:
    architecture = space.architecture(choices)
    return ChildTask(
        architecture=architecture,
        network=space.resolve(choices),
        fidelity=FIDELITY,
        replicate=0,
        seed=child_seed(0, architecture.digest, FIDELITY, 0),
    )


def _tasks(space: SearchSpace) -> list[ChildTask]:
    rng = np.random.default_rng(3)
    return [_task(space, space.sample(rng)) for _ in range(2)]


def _digits() -> tuple[Dataset, StagedSpace]:
    dataset = load_data(DigitsConfig())
    config = StagedSpaceConfig.model_validate(
        {"stem_channels": 8, "stages": [{"channels": 8, "layers": 1, "stride": 2}] * 2}
    )
    return dataset, StagedSpace(
        config, input_shape=dataset.input_shape, num_classes=dataset.num_classes
    )


def _wrong_images(space: StagedSpace, task: ChildTask) -> ChildTask:
    other = StagedSpace(space.config, input_shape=Shape(3, 8, 8), num_classes=10)
    choices = task.architecture.choices
    return replace(task, architecture=other.architecture(choices), network=other.resolve(choices))


def _training_case(folder: Path) -> Case:
    dataset, space = _digits()
    tasks = _tasks(space)
    evaluator = TrainingEvaluator(dataset, TrainingConfig())
    return Case(evaluator, tasks, _wrong_images(space, tasks[0]))


def _ray_case(folder: Path) -> Case:
    dataset, space = _digits()
    tasks = _tasks(space)
    evaluator = RayEvaluator(dataset, TrainingConfig(), EvaluatorConfig(kind="ray", workers=2))
    return Case(evaluator, tasks, _wrong_images(space, tasks[0]))


def _sharing_case(make: Callable[[Path], Case], folder: Path) -> Case:
    inner = make(folder)
    shared = SharedResults(f"sqlite:///{folder / 'results.db'}")
    return replace(inner, evaluator=SharingEvaluator(inner.evaluator, shared, origin="here"))


def _table_case(folder: Path) -> Case:
    _, space = _digits()
    tasks = _tasks(space)
    labels = {task.architecture.label for task in tasks}
    table = MeasuredTable({"accuracy": {label: 60.0 + i for i, label in enumerate(sorted(labels))}})
    rng = np.random.default_rng(4)
    unknown = next(
        task
        for task in iter(lambda: _task(space, space.sample(rng)), None)
        if task.architecture.label not in labels
    )
    return Case(TableEvaluator(table, "accuracy"), tasks, unknown)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(_training_case, id="training"),
        pytest.param(_table_case, id="table"),
        pytest.param(partial(_sharing_case, _training_case), id="sharing"),
        pytest.param(_ray_case, id="ray", marks=pytest.mark.ray),
        pytest.param(partial(_sharing_case, _ray_case), id="sharing-ray", marks=pytest.mark.ray),
    ],
)
def case(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    make: Callable[[Path], Case] = request.param
    made = make(tmp_path_factory.mktemp("case"))
    with made.evaluator:
        yield made


def _bare(result: ChildResult) -> ChildResult:
    return replace(result, train_seconds=0.0, worker="")


def _results(case: Case, tasks: list[ChildTask]) -> list[ChildResult]:
    pairs = list(case.evaluator.evaluate(tasks))
    assert sorted(index for index, _ in pairs) == list(range(len(tasks)))  # each once
    return [_bare(result) for _, result in sorted(pairs, key=lambda pair: pair[0])]


def test_key_is_stable_text(case: Case) -> None:
    key = case.evaluator.key
    assert len(key) == 16
    assert int(key, 16) >= 0
    assert key == case.evaluator.key


def test_results_belong_to_their_tasks_and_are_shares(case: Case) -> None:
    for task, result in zip(case.tasks, _results(case, case.tasks), strict=True):
        assert result.digest == task.architecture.digest
        assert result.failure is None
        assert 0 <= result.accuracy <= 1
        assert 0 <= result.accuracy_no_exit <= 1
        assert sum(result.exit_shares) == pytest.approx(1)
        assert len(result.exit_shares) == len(result.exit_thresholds) + 1


def test_results_do_not_depend_on_company_or_order(case: Case) -> None:
    first, second = _results(case, case.tasks)
    assert _results(case, case.tasks[::-1]) == [second, first]
    assert _results(case, case.tasks[:1] * 2) == [first, first]


def test_no_tasks_no_results(case: Case) -> None:
    assert list(case.evaluator.evaluate([])) == []


def test_a_bad_child_is_a_result_and_harms_nobody(case: Case) -> None:
    failed, fine = _results(case, [case.bad_task, case.tasks[0]])
    assert failed.failure is FailureReason.CRASH
    assert failed.message
    assert failed.accuracy is None
    assert fine.failure is None


def test_stopping_in_the_middle_leaves_it_usable(case: Case) -> None:
    results = case.evaluator.evaluate(case.tasks)
    next(iter(results))
    results.close()  # type: ignore[attr-defined]
    assert len(_results(case, case.tasks)) == 2


def _pooled(pool: ChildPool, count: int) -> dict[int, ChildResult]:
    found: dict[int, ChildResult] = {}
    while len(found) < count:
        results = pool.wait()
        assert results, "nothing is under way, and results are missing"
        for number, result in results:
            assert number not in found
            found[number] = _bare(result)
    return found


def test_a_pool_gives_each_result_once_and_takes_more_meanwhile(case: Case) -> None:
    expected = _results(case, case.tasks)
    pool = case.evaluator.pool()
    assert pool.wait() == []
    assert pool.capacity >= 1
    pool.add(7, case.tasks[0])
    pool.add(3, case.bad_task)
    found = _pooled(pool, 1)
    pool.add(5, case.tasks[1])
    found |= _pooled(pool, 3 - len(found))
    assert (found[7], found[5]) == tuple(expected)
    assert found[3].failure is FailureReason.CRASH
    assert pool.wait() == []
    pool.add(7, case.tasks[1])  # a number may be used again
    assert _pooled(pool, 1) == {7: expected[1]}
    pool.close()
    pool.close()


def test_a_closed_pool_leaves_the_evaluator_usable(case: Case) -> None:
    pool = case.evaluator.pool()
    for number, task in enumerate([*case.tasks, *case.tasks]):
        pool.add(number, task)
    pool.wait()
    pool.close()
    assert len(_results(case, case.tasks)) == 2
    pool.close()  # its workers serve others by now
    assert len(_results(case, case.tasks[:1])) == 1


def test_a_new_pool_takes_over(case: Case) -> None:
    first, second = case.evaluator.pool(), case.evaluator.pool()
    second.add(1, case.tasks[0])
    first.close()
    assert _pooled(second, 1) == {1: _results(case, case.tasks[:1])[0]}


def test_reduced_fidelities_are_trained_as_they_say(case: Case) -> None:
    if isinstance(case.evaluator, TableEvaluator):
        return
    full, *reduced = _results(
        case,
        [
            replace(case.tasks[0], fidelity=replace(FIDELITY, epochs=4, **less))
            for less in ({}, {"data_fraction": 0.25}, {"resolution": 4})
        ],
    )
    assert all(result.failure is None for result in (full, *reduced))
    assert len({full.accuracy, *(result.accuracy for result in reduced)}) == 3


def test_a_resolution_that_is_none_fails_the_child(case: Case) -> None:
    if isinstance(case.evaluator, TableEvaluator):
        return
    task = replace(case.tasks[0], fidelity=replace(FIDELITY, resolution=64))
    (result,) = _results(case, [task])
    assert result.failure is FailureReason.CRASH
    assert "resolution 64" in result.message


def test_final_training_tests_and_gives_weights_or_is_refused(case: Case) -> None:
    task = case.tasks[0]
    assert task.network is not None
    if isinstance(case.evaluator, TableEvaluator):
        with pytest.raises(NotSupported, match="cannot train"):
            list(case.evaluator.train_final([task]))
        return
    ((index, final),) = case.evaluator.train_final([task])
    assert index == 0
    assert isinstance(final, TrainedChild)
    assert final.test_size == 359
    assert 0 <= final.test_accuracy <= 1
    parameters = {n: w for n, w in final.weights.items() if "running" not in n}
    assert sum(w.size for w in parameters.values()) == count_params(task.network)
    assert _bare(final.result) == _results(case, [task])[0]  # same fidelity and seed, same child


def test_a_final_training_that_fails_is_a_result_and_harms_nobody(case: Case) -> None:
    if isinstance(case.evaluator, TableEvaluator):
        return
    finals = dict(case.evaluator.train_final([case.bad_task, case.tasks[0]]))
    failed, fine = finals[0], finals[1]
    assert isinstance(failed, ChildResult)
    assert failed.failure is FailureReason.CRASH
    assert failed.digest == case.bad_task.architecture.digest
    assert isinstance(fine, TrainedChild)


def test_status_names_workers(case: Case) -> None:
    for worker in case.evaluator.status():
        assert worker.name
        assert worker.doing
        assert worker.seconds >= 0


@pytest.mark.parametrize("make", [_training_case, partial(_sharing_case, _training_case)])
def test_close_twice(make: Callable[[Path], Case], tmp_path: Path) -> None:
    evaluator = make(tmp_path).evaluator
    evaluator.close()
    evaluator.close()


@pytest.mark.ray
@pytest.mark.parametrize("case", [_ray_case], indirect=True)
def test_ray_and_this_process_agree_to_the_last_bit(case: Case, tmp_path: Path) -> None:
    here = _training_case(tmp_path)
    with here.evaluator:
        assert _results(here, case.tasks) == _results(case, case.tasks)
