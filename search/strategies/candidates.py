"""Where the architectures come from that a surrogate ranks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from archspace import Choices
from envs import LimitedSpace
from evaluation import Evaluation
from search.pareto import Point, nondominated


def random_candidates(
    space: LimitedSpace, count: int, known: set[Choices], rng: np.random.Generator
) -> list[Choices]:
    """Up to `count` distinct choices, drawn as `space.sample` does, none of them `known`."""
    drawn = dict.fromkeys(map(tuple, space.sample_many(count, rng).tolist()))
    return [choices for choices in drawn if choices not in known]


def mutants(
    space: LimitedSpace,
    parents: Iterable[Choices],
    most: int,
    known: set[Choices],
    rng: np.random.Generator,
) -> list[Choices]:
    """What differs from a parent in one decision, none `known`; a random `most` where there are more."""
    found = dict.fromkeys(n for parent in parents for n in space.neighbours(parent))
    new = [choices for choices in found if choices not in known]
    if len(new) <= most:
        return new
    return [new[i] for i in sorted(rng.choice(len(new), size=most, replace=False))]


def best_by_reward(evaluations: Sequence[Evaluation], count: int) -> list[Choices]:
    """The `count` best, ties to the earlier one."""
    ranked = sorted(evaluations, key=lambda e: (-e.reward, e.sequence))
    return [evaluation.architecture.choices for evaluation in ranked[:count]]


def front_members(evaluations: Sequence[Evaluation]) -> list[Choices]:
    """Those that no other beats in both accuracy and expected latency, fastest first."""
    scored = [evaluation for evaluation in evaluations if evaluation.ok and evaluation.costs]
    points = [Point(e.accuracy, e.costs.latency_ms.value, 0.0) for e in scored if e.costs]
    return [scored[i].architecture.choices for i in nondominated(points)]
