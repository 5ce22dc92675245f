"""What the agent sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from envs.cost_bounds import FEATURE_NAMES, FEATURE_RANGE, CostBounds

NUM_WEIGHTS = 3
"""Preference weights: accuracy, latency, energy."""


class ObservationEncoder:
    """Turns the decisions made so far into a vector; the table is in `ArchitectureEnv`.

    Attributes:
        space: Gymnasium's box of all observations, float32.
    """

    def __init__(self, bounds: CostBounds) -> None:
        self._bounds = bounds
        sizes = [len(decision.choices) for decision in bounds.space.decisions]
        self._offsets = np.concatenate([[0], np.cumsum(sizes)])
        self._position_at = int(self._offsets[-1])
        self._costs_at = self._position_at + len(sizes)
        self._weights_at = self._costs_at + len(FEATURE_NAMES)
        self.size = self._weights_at + NUM_WEIGHTS
        high = np.ones(self.size, dtype=np.float32)
        high[self._costs_at : self._weights_at] = FEATURE_RANGE[1]
        self.space = spaces.Box(np.zeros(self.size, dtype=np.float32), high, dtype=np.float32)

    def encode(self, prefix: Sequence[int], weights: Sequence[float]) -> NDArray[np.float32]:
        """Observation before decision ``len(prefix)``: float32, shape (`size`,), always a new array."""
        prefixes = np.array([prefix], dtype=np.intp).reshape(1, -1)
        return self.encode_many(prefixes, np.array([weights])).reshape(-1)

    def encode_many(
        self,
        prefixes: NDArray[np.integer],
        weights: NDArray[np.floating],
        own_limits: NDArray[np.float64] | None = None,
    ) -> NDArray[np.float32]:
        """Observations (n, `size`) of n prefixes of one length.

        Args:
            prefixes: (n, length).
            weights: (n, 3).
            own_limits: (n, 2), see `CostBounds.features`.
        """
        count, made = prefixes.shape
        observations = np.zeros((count, self.size), dtype=np.float32)
        rows = np.arange(count)
        for offset, column in zip(self._offsets, prefixes.T, strict=False):
            observations[rows, offset + column] = 1.0
        if made < len(self._offsets) - 1:
            observations[:, self._position_at + made] = 1.0
        observations[:, self._costs_at : self._weights_at] = self._bounds.features(
            prefixes, own_limits
        )
        observations[:, self._weights_at :] = np.clip(weights, 0.0, 1.0)
        return observations
