"""Trains children in this process, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from evaluation.child_runner import (
    ChildLimits,
    memory_ceiling,
    result_key,
    run_child_here,
    run_final,
)
from evaluation.evaluator import Evaluator, TrainedChild, WorkerStatus
from evaluation.evaluator_config import EvaluatorConfig
from evaluation.recipe import PLAIN, Recipe
from evaluation.results import ChildResult, ChildTask

if TYPE_CHECKING:
    from child_models import Dataset, TrainingConfig

_WORKER = "local"


class TrainingEvaluator(Evaluator):
    """The plain way: no cluster, one thread.

    Args:
        dataset: what children learn; its test split is used by `train_final` alone.
        training: how they learn.
        config: time and memory limits of a search child.
        recipe: what else children get.
    """

    def __init__(
        self,
        dataset: Dataset,
        training: TrainingConfig,
        config: EvaluatorConfig | None = None,
        recipe: Recipe = PLAIN,
    ) -> None:
        config = config or EvaluatorConfig(kind="local")
        self._dataset = dataset
        self._training = training
        self._limits = ChildLimits(
            timeout_s=config.child_timeout_s, memory_mb=config.child_memory_mb
        )
        self._recipe = recipe
        self._key = result_key(dataset, training, recipe)
        self._doing = ("idle", time.monotonic())

    @property
    def key(self) -> str:
        return self._key

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            self._doing = (f"training {task.architecture.digest}", time.monotonic())
            result = run_child_here(
                task, self._dataset, self._training, self._limits, _WORKER, self._recipe
            )
            self._doing = ("idle", time.monotonic())
            yield index, result

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        limits = ChildLimits(memory_mb=self._limits.memory_mb)  # the time limit is a search child's
        for index, task in enumerate(tasks):
            self._doing = (f"final training of {task.architecture.digest}", time.monotonic())
            with memory_ceiling(limits.memory_mb):
                trained = run_final(
                    task, self._dataset, self._training, limits, _WORKER, self._recipe
                )
            self._doing = ("idle", time.monotonic())
            yield index, trained

    def status(self) -> tuple[WorkerStatus, ...]:
        doing, since = self._doing
        return (WorkerStatus(name=_WORKER, doing=doing, seconds=time.monotonic() - since),)
