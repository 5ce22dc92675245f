"""Weights of a supernet, as workers get them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from archspace import Block

if TYPE_CHECKING:
    from child_models.supernet.shared_weights import SharedWeights


@dataclass(frozen=True, kw_only=True, eq=False)
class Inheritance:
    """Plain data: it goes to workers as it is.

    Attributes:
        blocks: what networks of the space are built of.
        arrays: the trained weights by name; see `SharedWeights`.
        seed: of weights that no network asked for in training.
    """

    blocks: tuple[Block, ...]
    arrays: Mapping[str, NDArray[np.float32]]
    seed: int

    @cached_property
    def digest(self) -> str:
        """16 hex digits over all of it: what an inheriting child's result depends on."""
        from child_models.array_digest import array_digest

        text = f"{self.seed}/{array_digest(self.arrays)}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def weights(self) -> SharedWeights:
        """As networks read them."""
        from child_models.supernet.shared_weights import SharedWeights

        weights = SharedWeights(self.blocks, self.seed)
        weights.load(self.arrays)
        return weights

    def __getstate__(self) -> dict[str, Any]:
        # what was worked out stays here
        return {"blocks": self.blocks, "arrays": self.arrays, "seed": self.seed}
