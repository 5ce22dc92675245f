"""The contract of everything that can give a child its accuracy."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture
from evaluation.child_pool import ChildPool, OneByOne
from evaluation.results import ChildResult, ChildTask, Fidelity

Weights = Mapping[str, NDArray[np.generic]]
"""A state dict as arrays, by parameter and buffer name."""


class EvaluationError(Exception):
    """Base of this package's errors.

    EvaluationError
    ├── BudgetExhausted      the session's budget is spent: ends a search, normally
    ├── SpaceExhausted       1,000 free proposals in a row: nothing new is being asked for
    ├── ReplayDivergence     a resumed search proposes something else than its log says
    ├── EvaluatorUnavailable the Ray cluster, table or data set cannot be reached or read
    ├── LedgerError          the ledger cannot be opened, read or written (`row_checks.py`)
    │   └── LedgerDamaged    what it holds is not what was written
    ├── SharedResultsError   the results that jobs share cannot be reached (`shared_results.py`)
    └── NotSupported         this evaluator cannot do that (a table cannot train)
    """


class BudgetExhausted(EvaluationError):
    """The session has spent its budget."""


class SpaceExhausted(EvaluationError):
    """The session asked 1,000 times in a row for what it already had."""


class ReplayDivergence(EvaluationError):
    """What a resumed search proposed differs from its log."""


class EvaluatorUnavailable(EvaluationError):
    """Nothing can be evaluated at all; the message says what to check."""


class NotSupported(EvaluationError):
    """This evaluator cannot do what was asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerStatus:
    """What one worker does now, for progress displays."""

    name: str
    doing: str
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainedChild:
    """A child trained at the final schedule, with what is needed to export and test it.

    `test_accuracy` (share 0-1, at the chosen thresholds) comes from the test split, which nothing else sees. `quantisation` is a
    `Quantisation` as JSON text, of a child that runs in INT8.
    """

    result: ChildResult
    test_accuracy: float
    test_accuracy_no_exit: float
    test_size: int
    weights: Weights
    quantisation: str | None = None


class Evaluator(ABC):
    """Evaluates children; failed ones are results with a reason, never exceptions."""

    needs_network: bool = True
    """Whether tasks must carry the resolved network."""

    @property
    @abstractmethod
    def key(self) -> str:
        """16 hex digits over all that decides a result besides architecture, fidelity and seed: data digest, training settings, code version. Part of the shared cache's key."""

    @abstractmethod
    def evaluate(self, tasks: Sequence[ChildTask]) -> Iterator[tuple[int, ChildResult]]:
        """Yield (index into `tasks`, result) as children finish, each index once, in any order."""

    def pool(self) -> ChildPool:
        """A new pool of children of which more may be added while others train; an earlier one is closed."""
        return OneByOne(self.evaluate)

    @abstractmethod
    def train_final(
        self, tasks: Sequence[ChildTask]
    ) -> Iterator[tuple[int, TrainedChild | ChildResult]]:
        """Train at each task's fidelity, then test. Raises NotSupported where there is nothing to train.

        Yields as `evaluate` does; a child that failed is a `ChildResult` with the reason.
        """

    def missing(self, architecture: Architecture) -> str:
        """Why this architecture has no result to be looked up, else "": asking for it is refused, free of charge."""
        return ""

    def warm_up(self) -> None:
        """Start what takes time to start; without this, the first evaluation does."""

    def status(self) -> tuple[WorkerStatus, ...]:
        """What the workers do now; () where that is not known."""
        return ()

    def close(self) -> None:
        """Release workers. Safe to call twice."""

    def __enter__(self) -> Evaluator:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()


def task_key(evaluator_key: str, task: ChildTask) -> str:
    """Under what a cache keeps the result that an evaluator of that `key` gives, within one space."""
    fidelity = f"{task.fidelity.name}-{task.fidelity.epochs}{task.fidelity.reductions}"
    return f"{evaluator_key}/{task.architecture.digest}/{fidelity}/{task.seed}"


def child_seed(training_seed: int, digest: str, fidelity: Fidelity, replicate: int) -> int:
    """Seed of a child in [0, 2³²): from what it is, so that jobs can share results."""
    schedule = f"{fidelity.name}/{fidelity.epochs}{fidelity.reductions}"
    text = f"{training_seed}/{digest}/{schedule}/{replicate}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
