"""Children under way whose results are taken one by one, while more are added."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from evaluation.results import ChildResult, ChildTask

Evaluate = Callable[[Sequence[ChildTask]], Iterator[tuple[int, ChildResult]]]


class ChildPool(ABC):
    """Unlike a batch, which ends before the next one begins. First added, first begun.

    `capacity` is how many children at a time keep its workers busy, 1 or more; further ones only wait in it.
    """

    @property
    def capacity(self) -> int:
        return 1

    @abstractmethod
    def add(self, number: int, task: ChildTask) -> None:
        """Evaluate `task` as soon as a worker is free; `number` names its result and is not in use."""

    @abstractmethod
    def wait(self) -> list[tuple[int, ChildResult]]:
        """Results with their numbers, as soon as there is one; [] where nothing is under way.

        Raises:
            EvaluatorUnavailable: nothing can be evaluated at all.
        """

    @abstractmethod
    def close(self) -> None:
        """Give up what is under way. Safe to call twice."""


class OneByOne(ChildPool):
    """Each child is evaluated when its result is waited for: for evaluators without workers of their own."""

    def __init__(self, evaluate: Evaluate) -> None:
        self._evaluate = evaluate
        self._waiting: deque[tuple[int, ChildTask]] = deque()

    def add(self, number: int, task: ChildTask) -> None:
        self._waiting.append((number, task))

    def wait(self) -> list[tuple[int, ChildResult]]:
        if not self._waiting:
            return []
        number, task = self._waiting.popleft()
        return [(number, result) for _, result in self._evaluate([task])]

    def close(self) -> None:
        self._waiting.clear()
