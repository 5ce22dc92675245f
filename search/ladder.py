"""Which child climbs to the next rung: the rule of asynchronous successive halving.

Li et al. 2020, "A system for massively parallel hyperparameter tuning" (MLSys), algorithm 2: looking from the
highest rung down, the first child that is in the top 1/η of its rung and was not promoted yet is trained at the next
rung; where there is none, a new one begins at the lowest.

But never more than 1/η of a rung's children (as in the delayed variant, D-ASHA, of Li et al. 2022, "Hyper-Tune", PVLDB 15(6)): where
a strategy finds better and better children, each of them is in the top 1/η when it comes, and with the rule alone nearly all would climb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Score: TypeAlias = tuple[float, ...]
"""More is better; compared place by place."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """Train `child` at `rung` next."""

    child: str
    rung: int


class Ladder:
    """Children and their scores at each rung.

    Args:
        reductions: η of each rung but the top one, lowest first, all > 1.
    """

    def __init__(self, reductions: Sequence[float]) -> None:
        assert all(reduction > 1 for reduction in reductions)
        self._reductions = tuple(reductions)
        rungs = len(self._reductions) + 1
        self._scores: list[dict[str, Score]] = [{} for _ in range(rungs)]
        self._promoted: list[set[str]] = [set() for _ in range(rungs)]
        self._barred: list[set[str]] = [set() for _ in range(rungs)]  # never to be promoted

    def add(self, child: str, rung: int, score: Score | None) -> None:
        """Enter a result, or another score of one; None: it failed, counts as the rung's worst and never climbs."""
        self._scores[rung][child] = score if score is not None else ()
        if score is None:
            self._barred[rung].add(child)

    def promote(self, lowest: int = 0) -> Promotion | None:
        """The next child to climb from a rung not below `lowest`, which counts as promoted from then on; None: nobody may."""
        for rung in reversed(range(lowest, len(self._scores) - 1)):
            promoted = self._promoted[rung]
            if len(promoted) >= self._most(rung):
                continue
            for child in self._top(rung):
                if child not in promoted and child not in self._barred[rung]:
                    promoted.add(child)
                    return Promotion(child, rung + 1)
        return None

    def skip(self, child: str, rung: int) -> None:
        """`child` is not to climb from `rung`: it has been taken further already."""
        self._barred[rung].add(child)

    def count(self, rung: int) -> int:
        """How many results there are at `rung`."""
        return len(self._scores[rung])

    def _most(self, rung: int) -> int:
        """⌊n/η⌋ of the rung's n children."""
        return math.floor(len(self._scores[rung]) / self._reductions[rung] + 1e-9)

    def _top(self, rung: int) -> list[str]:
        """The best ⌊n/η⌋, best first; ties go to who came first."""
        scores = self._scores[rung]
        # () is less than any other score: those that failed come last
        return sorted(scores, key=scores.__getitem__, reverse=True)[: self._most(rung)]
