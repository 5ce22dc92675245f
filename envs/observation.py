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
        observation = np.zeros(self.size, dtype=np.float32)
        for position, choice in enumerate(prefix):
            observation[self._offsets[position] + choice] = 1.0
        if len(prefix) < len(self._offsets) - 1:
            observation[self._position_at + len(prefix)] = 1.0
        observation[self._costs_at : self._weights_at] = self._bounds.features(prefix)
        observation[self._weights_at :] = np.clip(weights, 0.0, 1.0)
        return observation
