"""Which architectures to measure on a new device, so that the fewest say the most."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from archspace import SearchSpace
from latency_models.active import informative_order
from latency_models.choices.encoding import Choices, Floats
from latency_models.choices.features import PRIOR_MEANS, REFERENCES, Features

MOST_CHOSEN = 100
"""Beyond so many, random ones do as well."""
_NOISE = 0.05  # variance of one measurement, in units of the costs' own
_LEFT_OUT = (
    "pairs"  # hundreds of features of little variance: they would cost time and move nothing
)


def choose_architectures(
    space: SearchSpace,
    pool: Choices,
    count: int,
    rng: np.random.Generator,
    *,
    references: Floats | None = None,
) -> NDArray[np.intp]:
    """Indices into `pool` of `count` architectures, every beginning of which is a good choice by itself.

    The first `MOST_CHOSEN` are chosen one by one, by what they would teach the linear model of `regression` under its
    prior (`informative_order`). The others are drawn.

    Raises:
        ValueError: more than the pool holds.
    """
    if count > len(pool):
        raise ValueError(f"expected at most {len(pool)} architectures to choose, got {count}")
    design = _prior_design(Features.of(space, pool, references), pool)
    chosen = informative_order(design, min(count, MOST_CHOSEN), _NOISE)
    free = np.ones(len(pool), dtype=bool)
    free[chosen] = False
    others = rng.permutation(np.flatnonzero(free))[: count - len(chosen)]
    return np.concatenate([np.array(chosen, dtype=np.intp), others])


def _prior_design(features: Features, pool: Choices) -> Floats:
    """(pool, features + 1): scaled so that all weights have a prior variance of 1."""
    values = features.values(features.encoding.codes(pool))
    parts = [
        group * np.exp(0.5 * (0.0 if name == REFERENCES else PRIOR_MEANS[name]))
        for name, group in values.items()
        if name != _LEFT_OUT
    ]
    return np.column_stack([*parts, np.ones(len(pool))])
