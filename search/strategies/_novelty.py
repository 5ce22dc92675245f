"""Which architectures a session has asked for already."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from archspace import Choices, SearchSpace
from evaluation import SpaceExhausted

PATIENCE = 1000
"""Known proposals in a row after which a strategy says that there is nothing new; the ledger's number."""
TRIES = 50
"""Known proposals in a row after which the next source is asked."""


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

    def take_up_to(self, count: int, *sources: Callable[[], Choices]) -> list[Choices]:
        """Up to `count` new proposals, remembered; fewer where the sources have nothing new.

        Each is the first new one of 1,000 proposals of the last source; earlier sources are tried before,
        50 times each.

        Raises:
            SpaceExhausted: not one was new.
        """
        batch: list[Choices] = []
        while len(batch) < count:
            choices = self._first_new(sources)
            if choices is None:
                break
            self.add(choices)
            batch.append(choices)
        if not batch:
            raise SpaceExhausted(f"{PATIENCE} proposals in a row were known already")
        return batch

    def _first_new(self, sources: Sequence[Callable[[], Choices]]) -> Choices | None:
        for source in sources:
            for _ in range(PATIENCE if source is sources[-1] else TRIES):
                choices = source()
                if self.is_new(choices):
                    return choices
        return None
