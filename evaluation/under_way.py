"""A session's proposals that were made and not handed back yet, and in which order they will be."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from evaluation.results import Evaluation


class UnderWay:
    """In order of proposal, or in order of arrival: as results came, which the log remembers.

    Args:
        by_arrival: the order.
        arrived: how many results the log holds already; the next new one is one later.
    """

    def __init__(self, *, by_arrival: bool, arrived: int) -> None:
        self._by_arrival = by_arrival
        self._arrived = arrived
        self._handed = 0
        # by sequence, in order of proposal; None while there is no result
        self._evaluations: dict[int, Evaluation | None] = {}
        self._may_cost: dict[int, float] = {}
        self._at: dict[int, int] = {}  # sequences by arrival

    def __len__(self) -> int:
        return len(self._evaluations)

    @property
    def may_cost(self) -> float:
        """What all of them together may still cost."""
        return sum(self._may_cost.values())

    def add(self, sequence: int, may_cost: float) -> None:
        """A proposal is made, the one after the last."""
        self._evaluations[sequence] = None
        self._may_cost[sequence] = may_cost

    def arrival(self, later: int = 0) -> int | None:
        """Of the next result, or of one so many later; None in order of proposal. Taken when a result is settled."""
        return self._arrived + later if self._by_arrival else None

    def settle(self, evaluation: Evaluation) -> None:
        """Its result is known and durable."""
        assert evaluation.sequence in self._evaluations, "settled, and not under way"
        self._evaluations[evaluation.sequence] = evaluation
        if self._by_arrival:
            assert evaluation.arrival is not None
            self._at[evaluation.arrival] = evaluation.sequence
            self._arrived = max(self._arrived, evaluation.arrival + 1)

    def __contains__(self, sequence: int) -> bool:
        return sequence in self._evaluations

    def __getitem__(self, sequence: int) -> Evaluation | None:
        return self._evaluations[sequence]

    def ready(self, count: int) -> bool:
        """Whether the next `count` can be handed back."""
        if self._by_arrival:
            return all(self._handed + i in self._at for i in range(count))
        return None not in islice(self._evaluations.values(), count)

    def hand_back(self) -> Evaluation:
        """The next one, which is `ready`."""
        sequence = self._at.pop(self._handed) if self._by_arrival else next(iter(self._evaluations))
        evaluation = self._evaluations.pop(sequence)
        assert evaluation is not None, "handed back before it is known"
        del self._may_cost[sequence]
        self._handed += 1
        return evaluation

    def known_from(self, sequence: int) -> Iterator[Evaluation]:
        """Those from `sequence` on that have a result, in order of proposal."""
        for number, evaluation in self._evaluations.items():
            if number >= sequence and evaluation is not None:
                yield evaluation
