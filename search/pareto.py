"""Which networks nothing beats: the Pareto front, the three picks from it, and its hypervolume."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from evaluation import Evaluation, LimitsConfig, violation


class Point(NamedTuple):
    """What a network is judged by; expected costs, with its early exits taken."""

    accuracy: float
    """Share 0-1, more is better."""
    latency_ms: float
    energy_mj: float


def point_of(evaluation: Evaluation) -> Point | None:
    """The evaluation's point; None where accuracy or costs are missing, or it was not trained in full."""
    if not evaluation.ok or not evaluation.is_full or evaluation.costs is None:
        return None
    costs = evaluation.costs
    return Point(evaluation.accuracy, costs.latency_ms.value, costs.energy_mj.value)


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is at least as good as `b` everywhere and better somewhere."""
    no_worse = (
        a.accuracy >= b.accuracy and a.latency_ms <= b.latency_ms and a.energy_mj <= b.energy_mj
    )
    return no_worse and a != b


def nondominated(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, fastest first; of equal points, the first.

    Sorted by latency, a point can be dominated only by one before it, so one pass over a growing front is
    enough: O(n · front).
    """
    order = sorted(range(len(points)), key=lambda i: (_fast_first(points[i]), i))
    front: list[int] = []
    for index in order:
        point = points[index]
        if not any(points[i] == point or dominates(points[i], point) for i in front):
            front.append(index)
    return front


def pareto_front(evaluations: Iterable[Evaluation]) -> list[Evaluation]:
    """Evaluations that no other dominates in (accuracy, latency, energy), fastest first.

    Failed and rejected proposals, those without costs and those not trained in full are left out. Of equal points only the one with the
    smallest digest stays, so the order of `evaluations` does not matter.
    """
    pairs = [(e, p) for e in evaluations if (p := point_of(e)) is not None]
    pairs.sort(key=lambda pair: (pair[0].architecture.digest, pair[0].sequence))
    return [pairs[i][0] for i in nondominated([point for _, point in pairs])]


class ParetoArchive:
    """The front of what was added so far; for progress displays."""

    def __init__(self) -> None:
        self._front: list[Evaluation] = []

    def add(self, evaluation: Evaluation) -> bool:
        """Take an evaluation in; whether it is on the front now and was not before."""
        before = {e.architecture.digest for e in self._front}
        self._front = pareto_front([*self._front, evaluation])
        digest = evaluation.architecture.digest
        return digest not in before and any(e.architecture.digest == digest for e in self._front)

    @property
    def front(self) -> tuple[Evaluation, ...]:
        """Fastest first."""
        return tuple(self._front)

    def __len__(self) -> int:
        return len(self._front)


@dataclass(frozen=True, slots=True)
class Picks:
    """Three networks of the front; they may coincide."""

    best: Evaluation
    knee: Evaluation
    fastest: Evaluation

    def by_name(self) -> dict[str, Evaluation]:
        """In the order in which people read them."""
        return {"best": self.best, "knee": self.knee, "fastest": self.fastest}


def picks(evaluations: Iterable[Evaluation]) -> Picks:
    """The front's ends and its knee.

    `best` has the highest accuracy (ties: lower latency, lower energy, smaller digest), `fastest` the lowest
    latency (ties: higher accuracy, then as before), `knee` see `knee`.

    Raises:
        ValueError: nothing with an accuracy and costs.
    """
    front = pareto_front(evaluations)
    if not front:
        raise ValueError("expected at least one evaluation with accuracy and costs, got none")
    return Picks(
        best=min(front, key=_best_first),
        knee=knee(front),
        fastest=min(front, key=lambda e: (_fast_first(_point(e)), e.architecture.digest)),
    )


def within_costs(evaluations: Iterable[Evaluation], limits: LimitsConfig) -> list[Evaluation]:
    """Those whose predicted costs, no exit taken, hold `limits`, the most accurate first.

    Ties: lower latency, lower energy, smaller digest. Failed and rejected proposals and those not trained in full are left out,
    of repeats all but the first.
    """
    distinct: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        if point_of(evaluation) and evaluation.costs and not violation(evaluation.costs, limits):
            distinct.setdefault(evaluation.architecture.digest, evaluation)
    return sorted(distinct.values(), key=_best_first)


def knee(front: Sequence[Evaluation]) -> Evaluation:
    """Where the front of accuracy against latency bends most: farthest above the chord between its ends.

    With accuracy and latency scaled to 0-1 between the most accurate and the fastest network, the distance to
    that chord is (accuracy − latency) / √2 (the normal-boundary knee of Das, *Structural Optimization* 18, 1999).
    Both ends are at distance 0: where no network lies above the chord, the most accurate one is taken.

    Raises:
        ValueError: `front` is empty or holds an evaluation without accuracy or costs.
    """
    if not front:
        raise ValueError("an empty front has no knee")
    best = _point(min(front, key=_best_first))
    fastest = min((_point(e) for e in front), key=_fast_first)
    span_accuracy = best.accuracy - fastest.accuracy
    span_latency = best.latency_ms - fastest.latency_ms
    if span_accuracy <= 0 or span_latency <= 0:
        return min(front, key=_best_first)

    def height(evaluation: Evaluation) -> float:
        point = _point(evaluation)
        accuracy = (point.accuracy - fastest.accuracy) / span_accuracy
        # Rounded, so that points on the chord count as on it and ties go by accuracy.
        return round(accuracy - (point.latency_ms - fastest.latency_ms) / span_latency, 12)

    return min(front, key=lambda e: (-height(e), _best_first(e)))


def hypervolume_2d(points: Iterable[tuple[float, float]], reference: tuple[float, float]) -> float:
    """Area between the points (accuracy, latency_ms) and a reference point that is worse than they are.

    More is better. Unit: accuracy share × ms. Points not better than `reference` in both add nothing.

    Args:
        points: in any order, dominated ones included.
        reference: (lowest accuracy, highest latency_ms) that count. Areas are comparable for one reference.
    """
    floor, ceiling = reference
    inside = sorted((latency, -accuracy) for accuracy, latency in points if latency < ceiling)
    area, highest = 0.0, floor
    for latency, negative in inside:
        accuracy = -negative
        if accuracy > highest:
            area += (accuracy - highest) * (ceiling - latency)
            highest = accuracy
    return area


def _point(evaluation: Evaluation) -> Point:
    point = point_of(evaluation)
    if point is None:
        raise ValueError(f"proposal {evaluation.sequence} has no accuracy or no costs")
    return point


def _fast_first(point: Point) -> tuple[float, float, float]:
    return point.latency_ms, -point.accuracy, point.energy_mj


def _best_first(evaluation: Evaluation) -> tuple[float, float, float, str]:
    point = _point(evaluation)
    return -point.accuracy, point.latency_ms, point.energy_mj, evaluation.architecture.digest
