"""Trains one child within its limits, in whatever process it is called; failures become results."""

from __future__ import annotations

import gc
import hashlib
import logging
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING

import psutil

from archspace import Network, is_disk_full
from evaluation.evaluator import TrainedChild
from evaluation.recipe import PLAIN, Recipe, Trained, train_by
from evaluation.results import ChildResult, ChildTask, FailureReason

if TYPE_CHECKING:
    from child_models import Dataset, TrainingConfig

_log = logging.getLogger(__name__)

RESULT_VERSION = 1
"""Grows when the same task would get another result, so that no older cached result is taken."""
GRACE_S = 10.0
"""How long after its time a child may still stop by itself, half of its time not counted."""
_MB = 1024 * 1024
_MEMORY_EVERY_S = 0.1
_OOM_TEXTS = ("can't allocate memory", "not enough memory", "out of memory", "cannot allocate")


class ChildTimeout(Exception):
    """The child has used its time up."""


class ChildMemory(MemoryError):
    """The child uses more memory than it may."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ChildLimits:
    """What one child may use; None: no limit. Memory is what it adds to the process."""

    timeout_s: float | None = None
    memory_mb: float | None = None


def result_key(dataset: Dataset, config: TrainingConfig, recipe: Recipe = PLAIN) -> str:
    """16 hex digits over the data, the training settings, the recipe, and `RESULT_VERSION`.

    The settings' own seed is left out: it reaches a child through the task's seed.
    """
    settings = config.model_dump_json(exclude={"seed"})
    text = f"{RESULT_VERSION}/{dataset.digest}/{settings}{recipe.key}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_child(
    task: ChildTask,
    dataset: Dataset,
    config: TrainingConfig,
    limits: ChildLimits,
    worker: str,
    recipe: Recipe = PLAIN,
) -> ChildResult:
    """Train the child by `recipe` and measure its validation accuracy.

    Never raises for what the child does; a full disk is not the child's fault, and is raised.
    """
    started = time.monotonic()
    try:
        with one_thread():
            trained = _train(task, dataset, config, limits, recipe)
    except Exception as error:  # whatever a child does must not end the search
        if is_disk_full(error):
            raise
        return _failed(task, error, started, worker)
    finally:
        _collect()
    return _result(task, trained, started, worker)


def run_final(
    task: ChildTask,
    dataset: Dataset,
    config: TrainingConfig,
    limits: ChildLimits,
    worker: str,
    recipe: Recipe = PLAIN,
) -> TrainedChild | ChildResult:
    """Train the child at its fidelity, then test it, once. One that fails is a result with the reason."""
    from child_models import apply_exits

    started = time.monotonic()
    try:
        with one_thread():
            trained = _train(task, dataset, config, limits, recipe)
            logits = trained.logits(dataset.test, dataset)
    except Exception as error:
        if is_disk_full(error):
            raise
        return _failed(task, error, started, worker)
    finally:
        _collect()
    labels = dataset.test.labels
    predictions, _ = apply_exits(logits, trained.exit_choice.thresholds)
    return TrainedChild(
        result=_result(task, trained, started, worker),
        test_accuracy=float((predictions == labels).mean()),
        test_accuracy_no_exit=float((logits[-1].argmax(axis=1) == labels).mean()),
        test_size=len(labels),
        weights=trained.weights,
        quantisation=trained.quantisation.to_json() if trained.quantisation else None,
    )


def _collect() -> None:
    """Free what a training leaves: a module and its optimiser hold each other."""
    gc.collect()
    _keep_libraries()


@cache
def _keep_libraries() -> None:
    """Once a process: what is there after a first training is libraries, and each collection would look through all of it."""
    gc.freeze()


def _train(
    task: ChildTask,
    dataset: Dataset,
    config: TrainingConfig,
    limits: ChildLimits,
    recipe: Recipe,
) -> Trained:
    from child_models import at_resolution, reduced_dataset

    fidelity, network = task.fidelity, _network(task)
    if fidelity.reduces_images:
        # one seed for all children: they see the same images, and differ by what they are
        dataset = reduced_dataset(
            dataset, fidelity.data_fraction, fidelity.resolution, seed=config.seed
        )
        network = at_resolution(network, dataset.input_shape)
    return train_by(
        recipe,
        network,
        dataset,
        config,
        epochs=fidelity.epochs,
        seed=task.seed,
        supernet=fidelity.supernet,
        on_step=_Watch(limits),
    )


def _result(task: ChildTask, trained: Trained, started: float, worker: str) -> ChildResult:
    choice = trained.exit_choice
    return ChildResult(
        digest=task.architecture.digest,
        accuracy=choice.accuracy,
        accuracy_no_exit=choice.accuracy_no_exit,
        exit_thresholds=choice.thresholds,
        exit_shares=choice.shares,
        train_seconds=time.monotonic() - started,
        worker=worker,
    )


def run_child_here(
    task: ChildTask,
    dataset: Dataset,
    config: TrainingConfig,
    limits: ChildLimits,
    worker: str,
    recipe: Recipe = PLAIN,
) -> ChildResult:
    """`run_child` in the search's own process, which a child must not take along within one step."""
    started = time.monotonic()
    try:
        with memory_ceiling(limits.memory_mb), time_ceiling(limits.timeout_s):
            return run_child(task, dataset, config, limits, worker, recipe)
    except ChildTimeout as error:  # it came just where the child had ended by itself
        return _failed(task, error, started, worker)


def _failed(task: ChildTask, error: Exception, started: float, worker: str) -> ChildResult:
    reason, message = failure_of(error)
    if reason is FailureReason.CRASH:
        _log.warning("child %s crashed", task.architecture.digest, exc_info=error)
    return ChildResult(
        digest=task.architecture.digest,
        failure=reason,
        message=message,
        train_seconds=time.monotonic() - started,
        worker=worker,
    )


def failure_of(error: Exception) -> tuple[FailureReason, str]:
    """What kind of failure an exception of a child's training is, and a sentence about it."""
    from child_models import NonFiniteTraining

    message = f"{type(error).__name__}: {error}".strip(": ")
    if isinstance(error, NonFiniteTraining):
        return FailureReason.NONFINITE, str(error)
    if isinstance(error, ChildTimeout):
        return FailureReason.TIMEOUT, str(error)
    if isinstance(error, MemoryError):
        return FailureReason.OOM, str(error) or "out of memory"
    if isinstance(error, RuntimeError) and any(text in message.lower() for text in _OOM_TEXTS):
        return FailureReason.OOM, message  # how torch says it
    return FailureReason.CRASH, message


@contextmanager
def one_thread() -> Iterator[None]:
    """Train on one thread: children run side by side, and the number of threads moves the last bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def memory_ceiling(memory_mb: float | None) -> Iterator[None]:
    """A hard stop for children that outgrow their limit within one step: allocating then fails in this process.

    Half again the limit, and 256 MB for what a process needs besides. Only for processes that train one child at
    a time; where the system has no such limit, nothing happens.
    """
    if memory_mb is None or not hasattr(resource, "RLIMIT_DATA"):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    ceiling = _data_bytes() + int((1.5 * memory_mb + 256) * _MB)
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (ceiling, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def overdue_s(timeout_s: float) -> float:
    """After how long a child that does not come to its next step is ended: half again its time, and 10 s."""
    return 1.5 * timeout_s + GRACE_S


@contextmanager
def time_ceiling(timeout_s: float | None) -> Iterator[None]:
    """A hard stop for children that do not come to their next step, where they share the search's process.

    Python code and what waits in the system are interrupted by a signal; C code that holds the interpreter's lock is not. Only in
    a process's main thread; elsewhere nothing happens.

    Raises:
        ChildTimeout: in the middle of what is done inside.
    """
    if timeout_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    seconds = overdue_s(timeout_s)

    def stop(number: int, frame: FrameType | None) -> None:
        raise ChildTimeout(f"{seconds:.1f} s > {timeout_s:g} s and not at a training step; stopped")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _data_bytes() -> int:
    """What RLIMIT_DATA counts: private writable memory of this process."""
    return int(getattr(psutil.Process().memory_info(), "data", 0))


class _Watch:
    """Called after each training step; raises when the child has used up its time or memory."""

    def __init__(self, limits: ChildLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._started = clock()
        self._next_look = self._started
        self._process = psutil.Process()
        self._memory_before = self._process.memory_info().rss

    def __call__(self, step: int, steps: int) -> None:
        now = self._clock()
        timeout_s, memory_mb = self._limits.timeout_s, self._limits.memory_mb
        if timeout_s is not None and now - self._started > timeout_s:
            raise ChildTimeout(
                f"{now - self._started:.1f} s > {timeout_s:g} s after {step} of {steps} steps"
            )
        if memory_mb is None or now < self._next_look:
            return
        self._next_look = now + _MEMORY_EVERY_S
        added_mb = (self._process.memory_info().rss - self._memory_before) / _MB
        if added_mb > memory_mb:
            raise ChildMemory(f"{added_mb:.0f} MB > {memory_mb:g} MB after step {step} of {steps}")


def _network(task: ChildTask) -> Network:
    if task.network is None:
        raise ValueError(f"task {task.architecture.label} carries no network to train")
    return task.network
