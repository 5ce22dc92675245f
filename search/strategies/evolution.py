"""Regularised evolution (Real et al., AAAI 2019, algorithm 1), in batches."""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession
from search.strategies._novelty import Novelty
from search.strategy import BatchStrategy


class EvolutionConfig(BaseModel):
    """Settings of `RegularisedEvolution`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["evolution"] = "evolution"
    population: int = Field(20, ge=2, description="architectures alive; the first ones are random")
    tournament: int = Field(
        5, ge=1, description="drawn from the population; the best is the parent"
    )
    batch_size: int = Field(4, ge=1, description="children bred from one state of the population")


class RegularisedEvolution(BatchStrategy):
    """The best of a random tournament is mutated in one decision; the oldest of the population dies.

    Batch by batch, `batch_size` children are bred from the same population, evaluated together, and
    enter in proposal order, so the result does not depend on which child finishes first; asynchronously (as published)
    they enter as they are handed back. A mutant that was asked for already is bred again; after 50 of them a random
    architecture takes its place.
    """

    name: ClassVar[str] = "evolution"

    def __init__(self, config: EvolutionConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config
        self._alive: deque[Evaluation] = deque(maxlen=config.population)

    def search(self, session: LedgerSession) -> None:
        self.start(session)
        while True:
            session.evaluate(self.propose(session))

    def start(self, session: LedgerSession) -> None:
        self._rng = np.random.default_rng(self.seed)
        self._novelty = Novelty(self.space)
        self._alive.clear()
        self._seen = 0

    def propose(self, session: LedgerSession) -> list[Choices]:
        new = session.history[self._seen :]
        self._seen += len(new)
        self._alive.extend(evaluation for evaluation in new if not evaluation.rejected)
        growing = self._config.population - len(self._alive)
        size = min(growing or self._config.batch_size, self._config.batch_size)
        sources = [self._random] if growing else [self._mutant, self._random]
        return self._novelty.take_up_to(size, *sources)

    def _random(self) -> Choices:
        return self.space.sample(self._rng)

    def _mutant(self) -> Choices:
        size = min(self._config.tournament, len(self._alive))
        drawn = self._rng.choice(len(self._alive), size=size, replace=False)
        parent = max((self._alive[int(i)] for i in drawn), key=lambda e: (e.reward, e.sequence))
        return self.space.mutate(parent.architecture.choices, self._rng)
