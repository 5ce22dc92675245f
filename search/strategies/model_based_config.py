"""Settings of the searchers that learn a surrogate of accuracy, PPO among them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from search.strategies.keep_schedule import KeepScheduleConfig
from search.surrogates import LEAST_CHILDREN, MOST_FOR_ONE_PROCESS


class RankedConfig(BaseModel):
    """What all searchers that rank candidates have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(8, ge=1, description="architectures evaluated at once")
    initial: int = Field(16, ge=2, description="random architectures before the first model")
    random_candidates: int = Field(512, ge=1, description="random architectures ranked a batch")
    parents: int = Field(
        5, ge=0, description="best architectures whose mutants are ranked (front: all of the front)"
    )
    mutants: int = Field(512, ge=0, description="mutants ranked a batch, at most")


class ModelBasedConfig(RankedConfig):
    """What `SurrogateSearch` and `PPOSearch` have in common."""

    goal: Literal["reward", "front"] = Field(
        "reward",
        description="reward: the objective's best; front: all trade-offs of accuracy and latency",
    )
    least_correlation: float = Field(
        0.2,
        ge=-1,
        le=1,
        description="Spearman correlation of left-out accuracies below which the surrogate is not used",
    )
    most_for_one_process: int = Field(
        MOST_FOR_ONE_PROCESS,
        ge=LEAST_CHILDREN,
        description="children up to which the surrogate is one Gaussian process; an ensemble beyond",
    )


class SurrogateConfig(ModelBasedConfig):
    """Settings of `SurrogateSearch`."""

    name: Literal["surrogate"] = "surrogate"


class PPOConfig(ModelBasedConfig):
    """Settings of `PPOSearch`."""

    name: Literal["ppo"] = "ppo"
    imagined_envs: int = Field(64, ge=1, description="imagined architectures decided in lockstep")
    imagined_steps: int = Field(
        2000, ge=1, description="imagined decisions a batch, rounded up to whole episodes"
    )
    learning_rate: float = Field(3e-3, gt=0, le=1, description="Adam's")
    epochs: int = Field(4, ge=1, description="passes over imagined decisions an update")
    minibatch: int = Field(256, ge=2, description="decisions an optimiser step")
    clip_range: float = Field(0.2, gt=0, lt=1, description="of the probability ratio")
    entropy: float = Field(
        0.3, ge=0, description="weight of the policy's entropy; low ones collapse the policy"
    )
    value_weight: float = Field(0.5, ge=0, description="weight of the critic's squared error")
    max_grad_norm: float = Field(0.5, gt=0, description="gradients are clipped to this norm")
    hidden: tuple[int, ...] = Field((64, 64), description="widths of the hidden layers")
    optimism: float = Field(
        1.0,
        ge=0,
        description="mean of κ: an imagined accuracy is the predicted one plus κ standard deviations",
    )
    sampled_preferences: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of imagined architectures decided for random preferences, not the objective's",
    )
    sampled_limits: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of those that are decided for accuracy alone under a random limit instead, where there is a cost model",
    )
    keep_schedule: KeepScheduleConfig | None = Field(
        None, description="absent: all keep ratios are allowed from the start"
    )

    @property
    def follows_budget(self) -> tuple[str, ...]:
        """Settings that change with the share of the budget that is spent: another budget, other proposals."""
        return ("keep_schedule",) if self.keep_schedule is not None else ()


class GPConfig(RankedConfig):
    """Settings of `GPSearch`."""

    name: Literal["gp"] = "gp"


class ParEGOConfig(RankedConfig):
    """Settings of `ParEGOSearch`."""

    name: Literal["parego"] = "parego"
