"""How long to search, with what, beside what."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evaluation import Fidelity
from search.halving_config import HalvingConfig
from search.strategies import (
    EvolutionConfig,
    PlainPPOConfig,
    PPOConfig,
    RandomConfig,
    StrategyConfig,
    SurrogateConfig,
)

HALVING_STRATEGIES = (PPOConfig, SurrogateConfig, RandomConfig)
"""Those whose strategies propose without evaluating, and tell fidelities apart where they learn."""
ASYNCHRONOUS_STRATEGIES = (*HALVING_STRATEGIES, EvolutionConfig)
"""Those whose strategies propose without evaluating."""
RECALIBRATE_FROM = 200
"""Children; below, measuring during the search is off unless asked for."""


class RecalibrationConfig(BaseModel):
    """Measuring promising children during the search; see `search.recalibration`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(
        None,
        ge=0,
        description="proposals between two barriers; 0: none; null: 100 where the budget is 200 or more, else none",
    )
    networks: int = Field(8, ge=1, le=1000, description="promising children measured at a barrier")
    max_drift: float = Field(
        0.25,
        gt=0,
        description="median relative difference of measured and predicted latency that pauses the search",
    )

    def every_for(self, budget: int) -> int:
        """Proposals between two barriers of a session with this budget; 0: none."""
        if self.every is not None:
            return self.every
        return RECALIBRATE_FROM // 2 if budget >= RECALIBRATE_FROM else 0


class AsynchronousConfig(BaseModel):
    """Results in the order in which they come; see `search.windowed_search`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int = Field(
        16,
        ge=1,
        le=100_000,
        description="children under way at a time: a little more than there are workers, so that none waits while the strategy "
        "thinks. With search.halving it stands in for halving.window",
    )


class SearchConfig(BaseModel):
    """The search itself: one strategy, its budget, and controls at equal budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(64, ge=1, description="new children to pay for, by each session")
    strategy: StrategyConfig = Field(default_factory=PPOConfig)
    controls: tuple[StrategyConfig, ...] = Field(
        default_factory=lambda: (RandomConfig(),),
        description="run beside the strategy through the same ledger, each with its own equal budget",
    )
    recalibration: RecalibrationConfig = Field(default_factory=RecalibrationConfig)
    max_failure_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="share of children that may fail by themselves, from 10 children on; above it the search stops. 1: all may",
    )
    deadline_hours: float | None = Field(
        None,
        gt=0,
        description="hours after the run's start when a search that has not ended stops; it can be resumed with a later "
        "deadline. null: none",
    )
    halving: HalvingConfig | None = Field(
        None,
        description="train children cheaply first, and only promising ones further; the controls, too; "
        "null: all in full",
    )
    asynchronous: AsynchronousConfig | None = Field(
        None,
        description="learn from each result when it comes, so that no worker waits for another one's child; the controls, "
        "too. What is proposed then depends on how fast workers are: a stopped run goes on exactly, but another run "
        "with the same seed differs. null: the same for any number of workers",
    )

    @property
    def window(self) -> int | None:
        """Children under way at a time; None where whole batches are waited for."""
        if self.asynchronous is not None:
            return self.asynchronous.window
        return self.halving.window if self.halving is not None else None

    @property
    def follows_budget(self) -> list[str]:
        """Settings because of which another budget means other proposals from the start; empty where it may grow."""
        return [
            f"{config.name}.{setting}"
            for config in (self.strategy, *self.controls)
            if isinstance(config, PPOConfig | PlainPPOConfig)
            for setting in config.follows_budget
        ]

    @model_validator(mode="after")
    def _names_differ(self) -> SearchConfig:
        """A session is known by its strategy's name and the seed."""
        names = Counter(config.name for config in (self.strategy, *self.controls))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice among strategy and controls")
        return self

    @model_validator(mode="after")
    def _can_be_asynchronous(self) -> SearchConfig:
        if self.asynchronous is not None:
            for config in (self.strategy, *self.controls):
                if not isinstance(config, ASYNCHRONOUS_STRATEGIES):
                    raise ValueError(
                        f"search.asynchronous: {config.name} evaluates its proposals batch by batch; strategy and controls may be "
                        "ppo, surrogate, evolution and random, or leave asynchronous out"
                    )
        return self

    @model_validator(mode="after")
    def _can_halve(self) -> SearchConfig:
        if self.halving is None:
            return self
        for config in (self.strategy, *self.controls):
            if not isinstance(config, HALVING_STRATEGIES):
                raise ValueError(
                    f"search.halving: {config.name} learns from children trained in full alone; strategy and controls "
                    "may be ppo, surrogate and random, or leave halving out"
                )
            if not isinstance(config, RandomConfig) and config.goal != "reward":
                raise ValueError(
                    f"search.halving ranks children by their reward: {config.name} cannot have goal "
                    f"{config.goal} with it"
                )
        return self


class ScheduleConfig(BaseModel):
    """How thoroughly children are trained during the search, and the picks at the end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search_epochs: int = Field(8, ge=1, description="epochs a child during the search")
    final_epochs: int = Field(60, ge=1, description="epochs of the full schedule for the picks")

    @property
    def search(self) -> Fidelity:
        """What one unit of budget buys."""
        return Fidelity(name="search", epochs=self.search_epochs)

    @property
    def final(self) -> Fidelity:
        """The full schedule; not paid from the search's budget."""
        return Fidelity(name="final", epochs=self.final_epochs, cost=0.0)
