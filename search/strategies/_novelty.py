"""Which architectures a session has asked for already."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from archspace import Choices, SearchSpace
from evaluation import Evaluation, SpaceExhausted

PATIENCE = 1000
"""Known proposals in a row after which a strategy says that there is nothing new; the ledger's number."""


class Novelty:
    """Digests asked for, by this session alone: never by the shared cache, so controls stay honest."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self._digests: set[str] = set()

    def digest(self, choices: Choices) -> str:
        """What identifies the architecture."""
        return self._space.architecture(choices).digest

    def is_new(self, choices: Choices) -> bool:
        """Whether the architecture has not been asked for."""
        return self.digest(choices) not in self._digests

    def add(self, choices: Choices) -> None:
        """Remember the architecture as asked for."""
        self._digests.add(self.digest(choices))

    def add_all(self, evaluations: Iterable[Evaluation]) -> None:
        """Remember what was evaluated."""
        self._digests.update(evaluation.architecture.digest for evaluation in evaluations)

    def take(self, propose: Callable[[], Choices], *, tries: int = PATIENCE) -> Choices:
        """The first new proposal, remembered. Raises SpaceExhausted after `tries` known ones in a row."""
        return self.take_up_to(1, propose, tries=tries)[0]

    def take_up_to(
        self, count: int, propose: Callable[[], Choices], *, tries: int = PATIENCE
    ) -> list[Choices]:
        """Up to `count` new proposals, remembered; fewer where `tries` in a row were known.

        Raises:
            SpaceExhausted: not one was new.
        """
        batch: list[Choices] = []
        while len(batch) < count:
            choices = self.try_take(propose, tries=tries)
            if choices is None:
                break
            batch.append(choices)
        if not batch:
            raise SpaceExhausted(f"{tries} proposals in a row were known already")
        return batch

    def try_take(self, propose: Callable[[], Choices], *, tries: int) -> Choices | None:
        """The first new one of `tries` proposals, remembered; else None."""
        for _ in range(tries):
            choices = propose()
            if self.is_new(choices):
                self.add(choices)
                return choices
        return None
