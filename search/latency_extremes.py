"""The fastest, middling and slowest architectures of a space, by a latency that is no sum over blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from archspace import Choices, SearchSpace

MOST_LOOKED_AT = 20_000
"""Architectures: all of a space that has no more, else so many are drawn."""
_STARTS = 3

Predict = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""(architectures, decisions) choices → (architectures,) milliseconds."""


class LatencyExtremes(NamedTuple):
    """By predicted latency; the middle one is the median. `drawn`: 0 where all architectures were looked at."""

    fastest: Choices
    middle: Choices
    slowest: Choices
    drawn: int


def latency_extremes(
    space: SearchSpace, predict: Predict, *, most: int = MOST_LOOKED_AT
) -> LatencyExtremes:
    """Exact where the space has at most `most` choice lists. Else of `most` drawn ones (fixed seed), the ends improved by
    changing one decision after another as long as that helps: then they are the ends of what was found."""
    if space.size().sequences <= most:
        rows, drawn = _all_choices(space), 0
    else:
        rows, drawn = _drawn_choices(space, most), most
    order = np.argsort(predict(rows), kind="stable")
    fastest, slowest = rows[order[0]], rows[order[-1]]
    if drawn:
        fastest = _descended(space, predict, rows[order[:_STARTS]])
        slowest = _descended(space, lambda c: -predict(c), rows[order[: -_STARTS - 1 : -1]])
    return LatencyExtremes(
        _as_choices(fastest), _as_choices(rows[order[len(rows) // 2]]), _as_choices(slowest), drawn
    )


def _all_choices(space: SearchSpace) -> NDArray[np.intp]:
    rows: list[Choices] = [()]
    for _ in space.decisions:
        rows = [(*row, int(choice)) for row in rows for choice in np.flatnonzero(space.mask(row))]
    return np.array(rows, dtype=np.intp)


def _drawn_choices(space: SearchSpace, count: int) -> NDArray[np.intp]:
    rng = np.random.default_rng(0)

    def pick(prefix: Choices, valid: NDArray[np.intp]) -> int:
        return int(valid[int(len(valid) * rng.random())])

    return np.array([space.complete((), pick) for _ in range(count)], dtype=np.intp)


def _descended(space: SearchSpace, cost: Predict, starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """The cheapest place where no change of one decision helps, of those reached from `starts`."""
    ends = np.array([_descend(space, cost, start) for start in starts])
    return np.asarray(ends[np.argmin(cost(ends))])


def _descend(space: SearchSpace, cost: Predict, start: NDArray[np.intp]) -> NDArray[np.intp]:
    here, here_cost = start, float(cost(start[None])[0])
    while True:
        near = np.array(list(space.neighbours(_as_choices(here))), dtype=np.intp)
        costs = cost(near)
        best = int(np.argmin(costs))
        if costs[best] >= here_cost:
            return here
        here, here_cost = near[best], float(costs[best])


def _as_choices(row: NDArray[np.intp]) -> Choices:
    return tuple(row.tolist())
