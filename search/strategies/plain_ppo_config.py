"""Settings of plain PPO. Beside the strategy, but without its imports: configs are read before torch is loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from search.strategies.keep_schedule import KeepScheduleConfig


class PlainPPOConfig(BaseModel):
    """Settings of `PlainPPOSearch`; the defaults are tuned for budgets of 50–200 children."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["ppo-plain"] = "ppo-plain"
    num_envs: int = Field(8, ge=1, description="architectures of one batch, decided in lockstep")
    episodes: int = Field(1, ge=1, description="batches between two updates")
    learning_rate: float = Field(3e-3, gt=0, le=1, description="Adam's, at the start")
    learning_rate_end: float = Field(3e-3, gt=0, le=1, description="at the end of the budget")
    epochs: int = Field(10, ge=1, description="passes over the rollout an update")
    minibatch: int | None = Field(
        None, ge=2, description="steps an optimiser step; absent: the whole rollout"
    )
    clip_range: float = Field(0.3, gt=0, lt=1, description="of the probability ratio")
    entropy: float = Field(0.03, ge=0, description="weight of the policy's entropy, at the start")
    entropy_end: float = Field(0.01, ge=0, description="at the end of the budget; linear between")
    value_weight: float = Field(0.5, ge=0, description="weight of the critic's squared error")
    max_grad_norm: float = Field(0.5, gt=0, description="gradients are clipped to this norm")
    hidden: tuple[int, ...] = Field((64,), description="widths of the hidden layers")
    reward_scaling: Literal["rank", "zscore"] = Field(
        "rank", description="how rewards are normalised by all rewards seen so far"
    )
    avoid_known: bool = Field(
        True, description="mask last choices that would complete a known list of choices"
    )
    keep_schedule: KeepScheduleConfig | None = Field(
        None, description="absent: all keep ratios are allowed from the start"
    )

    @property
    def follows_budget(self) -> tuple[str, ...]:
        """Settings that change with the share of the budget that is spent: another budget, other proposals."""
        changing = {
            "learning_rate_end": self.learning_rate_end != self.learning_rate,
            "entropy_end": self.entropy_end != self.entropy,
            "keep_schedule": self.keep_schedule is not None,
        }
        return tuple(name for name, changes in changing.items() if changes)
