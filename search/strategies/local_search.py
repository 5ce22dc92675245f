"""Local search (White, Nolen and Savani, "Exploring the Loss Landscape in NAS", UAI 2021, algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession
from search.strategies._novelty import Novelty
from search.strategy import Strategy


class LocalSearchConfig(BaseModel):
    """Settings of `LocalSearch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["local"] = "local"
    initial_samples: int = Field(
        8, ge=1, description="random architectures at each start; the climb begins at the best"
    )
    batch_size: int = Field(4, ge=1, description="neighbours evaluated at once")


class LocalSearch(Strategy):
    """First-improvement hill climbing with random restarts.

    Neighbours (one decision changed) are asked for in random order, a few at a time; as soon as a batch
    holds a better one, the climb goes on from the best of that batch. A neighbour asked for before, on any
    climb, is not asked for again: a better one would have been climbed from. At a local optimum it
    starts anew.
    """

    name: ClassVar[str] = "local"

    def __init__(self, config: LocalSearchConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(bounds, seed)
        self._config = config

    def search(self, session: LedgerSession) -> None:
        rng = np.random.default_rng(self.seed)
        novelty = Novelty(self.space)
        while True:
            starts = novelty.take_up_to(
                self._config.initial_samples, lambda: self.space.sample(rng)
            )
            best: Evaluation | None = _best(session.evaluate(starts))
            while best is not None:
                best = self._climb(session, best, novelty, rng)

    def _climb(
        self, session: LedgerSession, start: Evaluation, novelty: Novelty, rng: np.random.Generator
    ) -> Evaluation | None:
        """A better neighbour of `start`; None where there is none."""
        for batch in self._batches(start.architecture.choices, novelty, rng):
            best = _best(session.evaluate(batch))
            if best.reward > start.reward:
                return best
        return None

    def _batches(
        self, choices: Choices, novelty: Novelty, rng: np.random.Generator
    ) -> Iterator[list[Choices]]:
        neighbours = list(self.space.neighbours(choices))
        batch: list[Choices] = []
        for i in rng.permutation(len(neighbours)):
            if novelty.is_new(neighbours[i]):
                novelty.add(neighbours[i])
                batch.append(neighbours[i])
            if len(batch) == self._config.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch


def _best(evaluations: list[Evaluation]) -> Evaluation:
    return max(evaluations, key=lambda e: (e.reward, -e.sequence))
