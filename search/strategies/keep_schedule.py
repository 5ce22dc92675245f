"""Wide networks first: a schedule for the keep ratios that may be chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archspace import Choice, Decision
from search.strategies.plain_ppo_config import KeepScheduleConfig

_ROUNDING = 1e-9


class KeepSchedule:
    """Allows ratios of at least `threshold(progress)` in decisions named ``*.keep``.

    Args:
        config: start, end and steps.
        decisions: the space's.
    """

    def __init__(self, config: KeepScheduleConfig, decisions: Sequence[Decision]) -> None:
        self._config = config
        self._ratios = [
            np.array([_number(choice) for choice in decision.choices])
            if decision.name.endswith(".keep")
            else None
            for decision in decisions
        ]

    def threshold(self, progress: float) -> float:
        """Smallest ratio allowed when the share `progress` (0–1) of the budget is spent.

        `steps` values, evenly spaced from `start` to `end`, each for an equal part of [0, `until`); then `end`.
        """
        config = self._config
        step = min(int(progress / config.until * config.steps), config.steps - 1)
        return config.start - (config.start - config.end) * step / (config.steps - 1)

    def allowed(
        self, position: int, valid: NDArray[np.bool_], progress: float
    ) -> NDArray[np.bool_]:
        """`valid` without too small ratios; if nothing is left, the largest valid ratio."""
        ratios = self._ratios[position]
        if ratios is None:
            return valid
        allowed = valid & (ratios >= self.threshold(progress) - _ROUNDING)
        if not allowed.any():
            allowed[int(np.argmax(np.where(valid, ratios, -np.inf)))] = True
        return allowed


def _number(choice: Choice) -> float:
    assert isinstance(choice, int | float), f"keep ratio {choice!r} is not a number"
    return float(choice)
