"""How cheap a network can still become after the decisions made so far."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archspace import Block, BlockCost, SearchSpace
from child_models import count_bytes, count_macs, count_params
from evaluation import LimitsConfig
from latency_models import CostModel

FEATURE_NAMES = ("latency_ms", "energy_mj", "num_params", "macs")
FEATURE_RANGE = (0.0, 10.0)
OWN_LIMITS = ("latency_ms", "energy_mj")
"""What an episode may have limits of its own on, in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CostTerm:
    """One additive cost, worst case (no exit taken), in its own unit.

    A network's bound is (`overhead` + Σ block costs) · (1 + `margin`). `limit` is the hard limit, infinite
    where there is none; `scale` is the limit, else the largest bound of the space.
    """

    name: str
    block_cost: BlockCost
    overhead: float
    margin: float
    limit: float
    scale: float


class CostBounds:
    """Lower bounds of a space's additive costs, and which of them have hard limits.

    | term | block cost | margin |
    |---|---|---|
    | latency_ms | the cost model's, plus its overhead a call | the cost model's `latency_margin` |
    | energy_mj | the cost model's | 0: energy has no stated margin; the full model checks |
    | num_params | exact count | 0 |
    | macs | exact count | 0 |
    | size_bytes | exact count (`count_bytes`); only where it has a limit | 0 |

    Without a cost model (tables of measured results) there are no bounds and no masks: limits are then
    checked by the ledger alone.

    Args:
        space: whose decisions are made.
        cost_model: predicts block costs, or None.
        limits: hard limits; absent ones do not bind.
    """

    def __init__(
        self, space: SearchSpace, cost_model: CostModel | None, limits: LimitsConfig
    ) -> None:
        self.space = space
        self.limits = limits
        self.terms: tuple[CostTerm, ...] = ()
        self.binding: tuple[CostTerm, ...] = ()
        """The terms that have a hard limit."""
        self.version = 0
        """Grows with `use`: what was computed from an older version no longer holds."""
        if cost_model is not None:
            self.use(cost_model)

    def use(self, cost_model: CostModel) -> None:
        """From now on, bound by this model's block costs."""
        limits = self.limits
        self.version += 1
        self.terms = (
            self._term(
                "latency_ms",
                cost_model.block_latency_ms,
                limits.latency_ms,
                overhead=cost_model.additive_overhead_ms,
                margin=cost_model.latency_margin,
            ),
            self._term("energy_mj", cost_model.block_energy_mj, limits.energy_mj),
            self._term("num_params", block_params, limits.num_params),
            self._term("macs", block_macs, limits.macs),
            *self._size_term(),
        )
        self.binding = tuple(term for term in self.terms if math.isfinite(term.limit))

    def _size_term(self) -> tuple[CostTerm, ...]:
        """No feature of its own: what a policy sees does not depend on which limits there are."""
        limit = self.limits.size_bytes
        return (self._term("size_bytes", block_bytes, limit),) if limit is not None else ()

    def _term(
        self,
        name: str,
        block_cost: BlockCost,
        limit: float | None,
        *,
        overhead: float = 0.0,
        margin: float = 0.0,
    ) -> CostTerm:
        most = -self.space.minimum_cost((), lambda block: -block_cost(block))
        largest = (overhead + most) * (1 + margin)
        return CostTerm(
            name=name,
            block_cost=block_cost,
            overhead=overhead,
            margin=margin,
            limit=math.inf if limit is None else float(limit),
            scale=max(largest if limit is None else float(limit), 1e-12),
        )

    def bound(self, term: CostTerm, prefix: Sequence[int]) -> float:
        """Bound of the cheapest completion of `prefix`, in the term's unit."""
        cheapest = self.space.minimum_cost(prefix, term.block_cost)
        return (term.overhead + cheapest) * (1 + term.margin)

    def bounds_of_many(self, term: CostTerm, prefixes: NDArray[np.integer]) -> NDArray[np.float64]:
        """`bound` of many prefixes of one length: (prefixes,) from (prefixes, length)."""
        cheapest = self.space.minimum_costs(prefixes, term.block_cost)
        return (term.overhead + cheapest) * (1 + term.margin)

    def excess(
        self, prefixes: NDArray[np.integer], own_limits: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Largest bound / limit over the terms that have a limit: (prefixes,) from (prefixes, length).

        ≤ 1 fits; 0 without limits.

        `own_limits`: (prefixes, `OWN_LIMITS`), infinite where there is none; they bind beside the hard limits.
        """
        most = np.zeros(len(prefixes))
        for term in self.terms:
            limits = np.full(len(prefixes), term.limit)
            if own_limits is not None and term.name in OWN_LIMITS:
                limits = np.minimum(limits, own_limits[:, OWN_LIMITS.index(term.name)])
            if np.isfinite(limits).any():
                most = np.maximum(most, self.bounds_of_many(term, prefixes) / limits)
        return most

    def features(
        self, prefixes: NDArray[np.integer], own_limits: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Bound / limit, or / `scale` where there is none: (prefixes, `FEATURE_NAMES`) from (prefixes, length).

        Clipped to `FEATURE_RANGE`; 0 where unknown. `own_limits` as for `excess_of_many`.
        """
        values = np.zeros((len(prefixes), len(FEATURE_NAMES)), dtype=np.float32)
        for i, term in enumerate(self.terms[: len(FEATURE_NAMES)]):
            scale = np.full(len(prefixes), term.scale)
            if own_limits is not None and term.name in OWN_LIMITS:
                scale = np.minimum(scale, own_limits[:, OWN_LIMITS.index(term.name)])
            values[:, i] = self.bounds_of_many(term, prefixes) / scale
        return values.clip(*FEATURE_RANGE)


def block_params(block: Block) -> float:
    """Learnable parameters of a block."""
    return float(count_params(block.as_network()))


def block_macs(block: Block) -> float:
    """Multiply-accumulates of a block for one image."""
    return float(count_macs(block.as_network()))


def block_bytes(block: Block) -> float:
    """Bytes of a block's weights as they are stored."""
    return float(count_bytes(block.as_network()))
