"""Wide networks first: a schedule for the keep ratios that may be chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from archspace import Choice, Decision

_ROUNDING = 1e-9


class KeepScheduleConfig(BaseModel):
    """Which keep ratios the agent may choose: only large ones at first, smaller ones step by step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: float = Field(0.8, gt=0, le=1, description="smallest ratio allowed at first")
    end: float = Field(0.3, gt=0, le=1, description="smallest ratio allowed at last")
    steps: int = Field(6, ge=2, description="how many equal parts of `until` there are")
    until: float = Field(0.5, gt=0, le=1, description="share of the budget after which `end` holds")

    @model_validator(mode="after")
    def _goes_down(self) -> KeepScheduleConfig:
        if self.end > self.start:
            raise ValueError(
                f"keep schedule: end {self.end} is above start {self.start}; it must go down"
            )
        return self


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
