"""A search space in which only what can still hold the hard limits is valid."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archspace import Architecture, Block, BlockCost, Choices, Network, SearchSpace, SpaceSize
from envs.cost_bounds import CostBounds

CACHED_PREFIXES = 8192


class LimitedSpace(SearchSpace):
    """The space of `bounds`, its masks ANDed with the cost mask; sampling and mutating follow suit.

    A choice stays if, for each limit, the cheapest completion under the additive model plus its margin holds
    it. Where none does, the choice with the smallest bound / limit stays (the first of equals), so every
    prefix can be completed. With several limits, each may be met by another completion: the mask is
    necessary, not sufficient, and the ledger's check by the full model has the last word.

    All else (digests, networks, size) is the underlying space's; `check` follows the masks.
    """

    kind = "limited"

    def __init__(self, bounds: CostBounds) -> None:
        self.bounds = bounds
        self.unlimited = bounds.space
        self.decisions = bounds.space.decisions
        self._cached_mask = lru_cache(CACHED_PREFIXES)(self._mask)

    def mask(self, prefix: Sequence[int]) -> NDArray[np.bool_]:
        return self._cached_mask(tuple(prefix), self.bounds.version).copy()

    def _mask(self, prefix: Choices, version: int) -> NDArray[np.bool_]:
        # `version` only tells the cache apart: other bounds give another mask
        if not self.bounds.binding:
            return self.unlimited.mask(prefix)
        return self.masks(np.array([prefix], dtype=np.intp).reshape(1, -1)).reshape(-1)

    def masks(self, prefixes: NDArray[np.integer]) -> NDArray[np.bool_]:
        return self.masks_within(prefixes, None)

    def masks_within(
        self, prefixes: NDArray[np.integer], own_limits: NDArray[np.float64] | None
    ) -> NDArray[np.bool_]:
        """`masks` where each prefix has limits of its own: (prefixes, `OWN_LIMITS`), infinite where there is none."""
        valid = self.unlimited.masks(prefixes)
        undecided = np.flatnonzero(valid.sum(axis=1) > 1)
        limited = self.bounds.binding or own_limits is not None
        if not limited or len(undecided) == 0:
            return valid
        rows, choices = np.nonzero(valid[undecided])
        longer = np.column_stack([prefixes[undecided][rows], choices])
        own = None if own_limits is None else own_limits[undecided][rows]
        excess = np.full((len(undecided), valid.shape[1]), np.inf)
        excess[rows, choices] = self.bounds.excess(longer, own)
        fits = excess <= 1.0
        none = ~fits.any(axis=1)
        fits[none, excess[none].argmin(axis=1)] = True
        valid[undecided] = fits
        return valid

    def sample(self, rng: np.random.Generator) -> Choices:
        # the underlying space may know a quicker way
        return super().sample(rng) if self.bounds.binding else self.unlimited.sample(rng)

    @property
    def digest(self) -> str:
        return self.unlimited.digest

    def resolve(self, choices: Sequence[int]) -> Network:
        return self.unlimited.resolve(choices)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        return self.unlimited.architecture(choices)

    def size(self) -> SpaceSize:
        """Of the underlying space, limits not considered."""
        return self.unlimited.size()

    def minimum_cost(self, prefix: Sequence[int], block_cost: BlockCost) -> float:
        """Over the underlying space's completions."""
        return self.unlimited.minimum_cost(prefix, block_cost)

    def minimum_costs(
        self, prefixes: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        """Over the underlying space's completions."""
        return self.unlimited.minimum_costs(prefixes, block_cost)

    def head_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        return self.unlimited.head_costs(choices, block_cost)

    def total_costs(
        self, choices: NDArray[np.integer], block_cost: BlockCost
    ) -> NDArray[np.float64]:
        return self.unlimited.total_costs(choices, block_cost)

    def block_usage(
        self, choices: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], tuple[Block, ...]]:
        return self.unlimited.block_usage(choices)

    def to_dict(self) -> dict[str, Any]:
        return self.unlimited.to_dict()
