"""A child's failures and limits, with the real training loop."""

from __future__ import annotations

import errno
import gc
import resource
import signal
import threading
import time
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from archspace import StagedSpace
from child_models import Dataset, DigitsConfig, TrainingConfig, load_data, training
from evaluation import (
    ChildLimits,
    ChildResult,
    ChildTask,
    EvaluatorConfig,
    FailureReason,
    Fidelity,
    TrainedChild,
    TrainingEvaluator,
)
from evaluation.child_runner import (
    ChildMemory,
    ChildTimeout,
    _Watch,
    failure_of,
    memory_ceiling,
    result_key,
    run_child,
    run_final,
    time_ceiling,
)

NO_LIMITS = ChildLimits()


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_data(DigitsConfig())


@pytest.fixture
def task(space: StagedSpace) -> ChildTask:
    choices = space.sample(np.random.default_rng(0))
    return ChildTask(
        architecture=space.architecture(choices),
        network=space.resolve(choices),
        fidelity=Fidelity(name="search", epochs=1),
        replicate=0,
        seed=1,
    )


def test_divergence_is_nonfinite(task: ChildTask, dataset: Dataset) -> None:
    wild = TrainingConfig(optimizer="sgd", learning_rate=10, momentum=0.99, clip_norm=None)
    longer = replace(task, fidelity=Fidelity(name="search", epochs=30))
    result = run_child(longer, dataset, wild, ChildLimits(timeout_s=60), "w")
    assert result.failure is FailureReason.NONFINITE
    assert result.accuracy is None
    assert result.worker == "w"
    assert (
        run_child(longer, dataset, wild, ChildLimits(timeout_s=60), "w").message == result.message
    )


@pytest.mark.parametrize("run", [run_child, run_final])
def test_a_full_disk_is_not_the_child_s_fault(
    task: ChildTask, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("cannot save the teacher's answers") from OSError(
            errno.ENOSPC, "No space left on device"
        )

    monkeypatch.setattr("evaluation.child_runner.train_by", full)
    with pytest.raises(RuntimeError, match="answers"):
        run(task, dataset, TrainingConfig(), NO_LIMITS, "w")


def test_time_out(task: ChildTask, dataset: Dataset) -> None:
    result = run_child(task, dataset, TrainingConfig(), ChildLimits(timeout_s=1e-3), "w")
    assert result.failure is FailureReason.TIMEOUT
    assert "0.001 s" in result.message


def test_crash_is_a_result_with_its_message(task: ChildTask, dataset: Dataset) -> None:
    result = run_child(replace(task, network=None), dataset, TrainingConfig(), NO_LIMITS, "w")
    assert result.failure is FailureReason.CRASH
    assert "carries no network" in result.message
    final = run_final(replace(task, network=None), dataset, TrainingConfig(), NO_LIMITS, "w")
    assert isinstance(final, ChildResult)
    assert final.failure is FailureReason.CRASH


def test_a_stop_from_outside_is_not_a_childs_failure(
    task: ChildTask, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_Watch, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_child(task, dataset, TrainingConfig(), NO_LIMITS, "w")


def test_number_of_threads_does_not_matter_and_is_restored(
    task: ChildTask, dataset: Dataset
) -> None:
    before = torch.get_num_threads()
    accuracies = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            accuracies.append(run_child(task, dataset, TrainingConfig(), NO_LIMITS, "w").accuracy)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert accuracies[0] == accuracies[1]


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_watch_stops_after_its_time() -> None:
    clock = _Clock()
    watch = _Watch(ChildLimits(timeout_s=10), clock)
    clock.now = 10.0
    watch(1, 5)
    clock.now = 10.5
    with pytest.raises(ChildTimeout, match=r"10\.5 s > 10 s after 2 of 5 steps"):
        watch(2, 5)


def test_watch_stops_when_memory_grows() -> None:
    clock = _Clock()
    watch = _Watch(ChildLimits(memory_mb=50), clock)
    clock.now = 1.0
    watch(1, 5)
    ballast = np.ones(100 * 1024 * 1024 // 8)
    watch(2, 5)  # looked a moment ago
    clock.now = 2.0
    with pytest.raises(ChildMemory, match="MB > 50 MB after step 3"):
        watch(3, 5)
    assert ballast.size


def test_memory_ceiling_makes_allocations_fail() -> None:
    with memory_ceiling(1), pytest.raises(MemoryError):
        np.zeros(1024**3, dtype=np.uint8)
    with memory_ceiling(1), pytest.raises(RuntimeError) as caught:
        torch.zeros(1024**3, dtype=torch.uint8)
    assert failure_of(caught.value)[0] is FailureReason.OOM
    assert np.zeros(1024**3, dtype=np.uint8).size  # lifted again


def _sleep_for_ever(*_: object, **__: object) -> None:
    while True:
        time.sleep(3600)


def _run_for_ever(*_: object, **__: object) -> None:
    while True:
        pass


def _allocate_for_ever(*_: object, **__: object) -> None:
    kept = []
    while True:
        kept.append(np.ones(16 * 1024 * 1024))


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (_sleep_for_ever, FailureReason.TIMEOUT),
        (_run_for_ever, FailureReason.TIMEOUT),
        (_allocate_for_ever, FailureReason.OOM),
    ],
)
def test_a_step_without_end_does_not_take_the_search_along(
    task: ChildTask, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, step: Any, reason: Any
) -> None:
    limits_before = (signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_DATA))
    config = EvaluatorConfig(kind="local", child_timeout_s=60, child_memory_mb=300)
    if reason is FailureReason.TIMEOUT:
        config = config.model_copy(update={"child_timeout_s": 0.1})
        monkeypatch.setattr("evaluation.child_runner.GRACE_S", 0.2)
    evaluator = TrainingEvaluator(dataset, TrainingConfig(), config)
    with monkeypatch.context() as patch:
        patch.setattr("evaluation.child_runner.train_by", step)
        ((_, result),) = evaluator.evaluate([task])
    assert result.failure is reason
    assert result.accuracy is None
    after = (signal.getsignal(signal.SIGALRM), resource.getrlimit(resource.RLIMIT_DATA))
    assert after == limits_before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    ((_, final),) = evaluator.train_final([task])
    assert isinstance(final, TrainedChild)  # the process is as it was


def test_outside_of_the_main_thread_nothing_is_interrupted() -> None:
    done: list[bool] = []

    def wait() -> None:
        with time_ceiling(1e-6):
            done.append(signal.getitimer(signal.ITIMER_REAL)[0] == 0)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join()
    assert done == [True]


def test_reasons() -> None:
    assert failure_of(MemoryError())[0] is FailureReason.OOM
    assert failure_of(RuntimeError("CUDA out of memory. Tried"))[0] is FailureReason.OOM
    assert failure_of(RuntimeError("shapes"))[0] is FailureReason.CRASH
    assert failure_of(KeyError("x")) == (FailureReason.CRASH, "KeyError: 'x'")


def test_key_depends_on_all_that_decides_a_result(dataset: Dataset) -> None:
    training = TrainingConfig()
    key = result_key(dataset, training)
    assert key == result_key(load_data(DigitsConfig()), TrainingConfig())
    assert key == result_key(dataset, TrainingConfig(seed=7))  # it is in the task's seed
    assert key != result_key(load_data(DigitsConfig(split_seed=1)), training)
    assert key != result_key(dataset, TrainingConfig(label_smoothing=0.2))


def test_local_limits_come_from_the_config(task: ChildTask, dataset: Dataset) -> None:
    config = EvaluatorConfig(kind="local", child_timeout_s=1e-3)
    evaluator = TrainingEvaluator(dataset, TrainingConfig(), config)
    ((_, result),) = evaluator.evaluate([task])
    assert result.failure is FailureReason.TIMEOUT
    assert [worker.doing for worker in evaluator.status()] == ["idle"]
    ((_, final),) = evaluator.train_final([task])  # the limit is a search child's
    assert isinstance(final, TrainedChild)


def test_what_trainings_leave_is_freed_without_looking_through_the_libraries(
    task: ChildTask, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules: list[weakref.ref[nn.Module]] = []
    build = training.fresh_module

    def remembered(*args: Any, **kwargs: Any) -> nn.Module:
        module = build(*args, **kwargs)
        module.itself = [module]  # a cycle, whatever the optimiser does
        modules.append(weakref.ref(module))
        return module

    monkeypatch.setattr(training, "fresh_module", remembered)
    for _ in range(3):
        assert run_child(task, dataset, TrainingConfig(), NO_LIMITS, "here").failure is None
    assert len(modules) == 3
    assert [module() for module in modules] == [None] * 3
    assert gc.get_freeze_count() > 10_000
