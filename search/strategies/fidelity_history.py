"""A history in which children were trained at several fidelities, as searchers learn from it."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation import Evaluation, Fidelity
from search.surrogates import RungResult


def rung_of(evaluation: Evaluation, rungs: Sequence[Fidelity]) -> int:
    """At which of `rungs` it was trained, the full one being the last."""
    if evaluation.fidelity is None:
        return len(rungs) - 1
    return rungs.index(evaluation.fidelity)


def at_highest_rung(children: Sequence[Evaluation], rungs: Sequence[Fidelity]) -> list[Evaluation]:
    """One evaluation an architecture, that of the highest rung it reached, in order."""
    best: dict[str, Evaluation] = {}
    for child in sorted(children, key=lambda c: (-rung_of(c, rungs), c.sequence)):
        best.setdefault(child.architecture.digest, child)
    return sorted(best.values(), key=lambda child: child.sequence)


def best_of_highest_rungs(
    children: Sequence[Evaluation], rungs: Sequence[Fidelity], count: int
) -> list[Evaluation]:
    """The `count` best of the highest rung by reward, filled up from the rungs below it.

    Rewards at one rung say nothing beside those at another; but who climbed higher was the better one below.
    """
    scored = [child for child in children if child.ok]
    ranked = sorted(scored, key=lambda c: (-rung_of(c, rungs), -c.reward, c.sequence))
    return ranked[:count]


def rung_results(children: Sequence[Evaluation], rungs: Sequence[Fidelity]) -> list[RungResult]:
    """All of them, in order; those that failed count as the least accurate of their rung."""
    lowest: dict[int, float] = {}
    for child in children:
        if child.ok:
            rung = rung_of(child, rungs)
            lowest[rung] = min(lowest.get(rung, 1.0), child.accuracy)
    return [
        RungResult(
            choices=child.architecture.choices,
            rung=(rung := rung_of(child, rungs)),
            accuracy=child.accuracy if child.ok else lowest.get(rung, 0.0),
        )
        for child in children
    ]
