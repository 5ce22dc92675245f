"""What a child is compared by at a rung: the reward that it is expected to have in full.

Accuracies at a low rung are lower and closer together than in full, so that rewards there would weigh costs more. They are read
through the straight lines that the surrogate reads them through, fitted to the children that climbed.
"""

from __future__ import annotations

from collections.abc import Sequence

from archspace import Choices
from evaluation import Evaluation, Fidelity, Objective
from search.ladder import Score
from search.strategies.fidelity_history import rung_of
from search.surrogates import RungResult
from search.surrogates.rungs import Line, lines_to_the_top


class RungScores:
    """Scores of one search's children.

    Args:
        rungs: all fidelities, cheapest first, the full one last.
    """

    def __init__(self, rungs: Sequence[Fidelity]) -> None:
        self._rungs = tuple(rungs)
        self._results: list[RungResult] = []
        self._known: set[Choices] = set()
        self._lines: Sequence[Line] = lines_to_the_top((), len(rungs))

    def add(self, evaluation: Evaluation) -> bool:
        """Learn from a result; True: scores below the top rung are others now."""
        if not evaluation.ok:
            return False
        choices = evaluation.architecture.choices
        climbed = choices in self._known
        self._known.add(choices)
        rung = rung_of(evaluation, self._rungs)
        self._results.append(RungResult(choices, rung, evaluation.accuracy))
        if climbed:
            self._lines = lines_to_the_top(self._results, len(self._rungs))
        return climbed

    def score(self, evaluation: Evaluation, objective: Objective) -> Score | None:
        """`objective`'s reward as expected in full; of equal ones the more accurate is better. None: it failed."""
        if not evaluation.ok:
            return None
        if evaluation.is_full:
            return evaluation.reward, evaluation.accuracy
        line = self._lines[rung_of(evaluation, self._rungs)]
        costs = evaluation.costs
        reward = objective.reward(
            min(1.0, max(0.0, line(evaluation.accuracy))),
            costs.latency_ms.value if costs else None,
            costs.energy_mj.value if costs else None,
            evaluation.sequence,
        )
        return reward, evaluation.accuracy
