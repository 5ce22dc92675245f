"""How a device is profiled."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ProfileConfig(BaseModel):
    """How much is measured. What does not fit into the time is left out; a least amount is always measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    budget_s: float = Field(default=40.0, gt=0, le=86400)
    """Seconds for measuring. A short one gives a rougher model."""
    num_networks: int = Field(default=320, ge=8, le=10000)
    """Whole networks that the correction is fitted on, at most."""
    num_held_out: int = Field(default=64, ge=8, le=10000)
    """Whole networks that the model is judged on, at most; they are in no fit."""
    num_blocks: int = Field(default=400, ge=8, le=100000)
    """Blocks measured one by one, at most; the most frequent first."""
    rounds: int = Field(default=5, ge=2, le=1000)
    """Rounds behind each measurement; see `measuring`."""
    repeats: int = Field(default=5, ge=1, le=1000)
    """Passes in a round."""

    def with_budget(self, budget_s: float) -> ProfileConfig:
        """As this one, for another time: with more of it, as many more networks and blocks, and steadier figures."""
        scale = max(1.0, budget_s / self.budget_s)
        return ProfileConfig(
            budget_s=budget_s,
            num_networks=_scaled(self.num_networks, scale, 2000),
            num_held_out=_scaled(self.num_held_out, scale**0.5, 256),
            num_blocks=_scaled(self.num_blocks, scale, 2000),
            rounds=max(self.rounds, 9) if scale >= 3 else self.rounds,
            repeats=self.repeats,
        )


def _scaled(number: int, scale: float, most: int) -> int:
    return max(number, min(most, round(number * scale)))
