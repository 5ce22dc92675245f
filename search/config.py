"""How long to search, with what, beside what."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evaluation import Fidelity
from search.strategies import PPOConfig, RandomConfig, StrategyConfig


class SearchConfig(BaseModel):
    """The search itself: one strategy, its budget, and controls at equal budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    budget: int = Field(64, ge=1, description="new children to pay for, by each session")
    strategy: StrategyConfig = Field(default_factory=PPOConfig)
    controls: tuple[StrategyConfig, ...] = Field(
        default_factory=lambda: (RandomConfig(),),
        description="run beside the strategy through the same ledger, each with its own equal budget",
    )

    @model_validator(mode="after")
    def _names_differ(self) -> SearchConfig:
        """A session is known by its strategy's name and the seed."""
        names = Counter(config.name for config in (self.strategy, *self.controls))
        twice = [name for name, count in names.items() if count > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} stands twice among strategy and controls")
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
