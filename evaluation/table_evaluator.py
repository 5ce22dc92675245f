"""Looks children up in a table of measured results; nothing is trained."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from archspace import Architecture
from evaluation.evaluator import Evaluator, NotSupported, TrainedChild
from evaluation.results import ChildResult, ChildTask, FailureReason

if TYPE_CHECKING:
    from latency_models import MeasuredTable


class TableEvaluator(Evaluator):
    """Validation accuracies from a column of a table, by the architecture's label; no early exits.

    An architecture that the table does not hold is refused, free of charge.

    Args:
        table: the measured results.
        accuracy_column: validation accuracies.
        unit: "percent" (0-100) or "share" (0-1).
    """

    needs_network = False

    def __init__(
        self,
        table: MeasuredTable,
        accuracy_column: str,
        *,
        unit: Literal["percent", "share"] = "percent",
    ) -> None:
        self._table = table
        self._column = accuracy_column
        self._scale = 100.0 if unit == "percent" else 1.0
        text = f"table/{table.digest}/{accuracy_column}/{unit}"
        self._key = hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def key(self) -> str:
        return self._key

    def missing(self, architecture: Architecture) -> str:
        if self._table.value(architecture.label, self._column) is None:
            return f"the table has no {self._column} for it"
        return ""

    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        for index, task in enumerate(tasks):
            yield index, self._result(task)

    def _result(self, task: ChildTask) -> ChildResult:
        label, digest = task.architecture.label, task.architecture.digest
        value = self._table.value(label, self._column)
        if value is None:
            message = f"the table has no {self._column} for {label}"
            return ChildResult(
                digest=digest, failure=FailureReason.CRASH, message=message, worker="table"
            )
        accuracy = value / self._scale
        if not 0 <= accuracy <= 1:
            message = f"{self._column} of {label} is {value:g}; is accuracy_unit right?"
            return ChildResult(
                digest=digest, failure=FailureReason.NONFINITE, message=message, worker="table"
            )
        return ChildResult(
            digest=digest, accuracy=accuracy, accuracy_no_exit=accuracy, worker="table"
        )

    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        raise NotSupported(
            "a table of measured results cannot train a network; train it with evaluator.kind ray"
        )
