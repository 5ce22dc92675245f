"""Rewards as the agent sees them: normalised by all that were seen so far."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CLIP = 3.0
"""Normalised rewards lie in [-3, 3]."""


class RewardScaler:
    """Keeps every raw reward and maps new ones to about mean 0 and spread 1.

    | rule | a reward r becomes |
    |---|---|
    | zscore | (r − mean) / standard deviation, clipped to [−3, 3] |
    | rank | Φ⁻¹ of its mid-rank among all seen, (#smaller + #equal / 2) / #seen: immune to outliers such as failed children (van der Waerden scores) |

    The batch itself counts as seen.
    """

    def __init__(self, rule: Literal["rank", "zscore"], seen: Sequence[float] = ()) -> None:
        self._rule = rule
        self._sorted = sorted(seen)

    @property
    def seen(self) -> tuple[float, ...]:
        """All raw rewards seen, sorted: the whole state."""
        return tuple(self._sorted)

    def scale(
        self, rewards: Sequence[float], *, is_new: Sequence[bool] | None = None
    ) -> NDArray[np.float64]:
        """Take in `rewards` (those that `is_new`; all by default) and give them normalised, same order."""
        for i, reward in enumerate(rewards):
            if is_new is None or is_new[i]:
                insort(self._sorted, float(reward))
        scores = [self._rank(r) if self._rule == "rank" else self._zscore(r) for r in rewards]
        return np.clip(np.array(scores, dtype=np.float64), -CLIP, CLIP)

    def _rank(self, reward: float) -> float:
        below, not_above = bisect_left(self._sorted, reward), bisect_right(self._sorted, reward)
        share = (below + not_above) / 2 / max(len(self._sorted), 1)
        return NormalDist().inv_cdf(min(max(share, 1e-3), 1 - 1e-3))

    def _zscore(self, reward: float) -> float:
        seen = np.array(self._sorted)
        return float((reward - seen.mean()) / (seen.std() + 1e-8)) if len(seen) else 0.0
