"""Random search: the control that every strategy has to beat."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import LedgerSession
from search.strategies._novelty import Novelty
from search.strategy import BatchStrategy


class RandomConfig(BaseModel):
    """Settings of `RandomSearch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["random"] = "random"
    batch_size: int = Field(16, ge=1, description="proposals sent to the ledger at once")


class RandomSearch(BatchStrategy):
    """Each decision uniform over its valid choices; architectures asked for already are drawn again."""

    name: ClassVar[str] = "random"

    def __init__(self, config: RandomConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config

    def search(self, session: LedgerSession) -> None:
        self.start(session)
        while True:
            session.evaluate(self.propose(session))

    def start(self, session: LedgerSession) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._novelty = Novelty(self.space)

    def propose(self, session: LedgerSession) -> list[Choices]:
        size = self._config.batch_size
        return self._novelty.take_up_to(size, lambda: self.space.sample(self._rng))
