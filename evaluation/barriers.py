"""Counts of proposals at which everything comes to rest: nothing open, nothing under way."""

from __future__ import annotations

from collections.abc import Callable


class Barriers:
    """After every `every` proposals handed back, `reached(count)` is called; 0: there are none."""

    def __init__(self, every: int = 0, reached: Callable[[int], None] = lambda count: None) -> None:
        self._every, self._reached = every, reached

    def room(self, made: int) -> int | None:
        """How many proposals may follow the `made` ones before the next barrier; None: as many as one likes."""
        return (-made % self._every or self._every) if self._every else None

    def is_at(self, made: int) -> bool:
        """Whether a barrier comes right after the `made` proposals."""
        return bool(self._every and made and made % self._every == 0)

    def pass_all(self, before: int, given: int) -> None:
        """Reach those after more than `before` and up to `given` proposals."""
        if self._every:
            for count in range(before - before % self._every + self._every, given + 1, self._every):
                self._reached(count)
