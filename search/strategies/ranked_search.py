"""Rounds of: gather candidates, rank them by what was learnt, evaluate the most promising."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import numpy as np

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, Fidelity, LedgerSession
from search.strategies._novelty import Novelty
from search.strategies.candidates import best_by_reward, front_members, mutants, random_candidates
from search.strategies.model_based_config import RankedConfig
from search.strategies.process_state import OutsideSession, SeparateState
from search.strategy import BatchStrategy


class RankedSearch(BatchStrategy):
    """Candidates are random architectures and mutants of the best, none asked for before.

    Each batch is synchronous: learn from everything evaluated, rank, evaluate. The first `initial` architectures are
    random.

    Args:
        config: see `RankedConfig`.
        bounds: the space with its additive costs and hard limits.
        seed: of all random numbers.
        front: parents of mutants are the front's members, not the best by reward.
    """

    def __init__(self, config: RankedConfig, bounds: CostBounds, seed: int, *, front: bool) -> None:
        super().__init__(bounds, seed)
        self._ranked = config
        self._front = front
        self._state = SeparateState()
        self.proposes_only = False
        """Others evaluate what it proposes."""

    @abstractmethod
    def choose(
        self,
        session: LedgerSession,
        children: Sequence[Evaluation],
        candidates: Sequence[Choices],
        count: int,
    ) -> list[int]:
        """Up to `count` candidates by number, the most promising first.

        Args:
            session: may be asked for costs and the objective.
            children: all evaluated so far, failed ones included, each architecture once.
            candidates: at least one.
            count: twice a batch, for some may build what is known already.
        """

    def search(self, session: LedgerSession) -> None:
        with self._state.inside():
            self.begin(session)
            while True:
                self.advance(session)

    def begin(self, session: LedgerSession) -> None:
        """Before the first batch."""
        self.rng = np.random.default_rng(self.seed)
        self.novelty = Novelty(self.space)
        self.known: set[Choices] = set()

    def start(self, session: LedgerSession) -> None:
        self.proposes_only = True
        with self._state.inside_again():
            self.begin(session)

    def propose(self, session: LedgerSession) -> list[Choices]:
        with self._state.inside_again():
            return self.next_batch(session)

    def advance(self, session: LedgerSession) -> None:
        """One batch."""
        self.outside(session).evaluate(self.next_batch(session))

    def next_batch(self, session: LedgerSession) -> list[Choices]:
        """What is to be evaluated now; [] where that was done already."""
        children = self.children(session.history)
        missing = self._ranked.initial - len(children)
        if missing > 0:
            return self._filled([], min(self._ranked.batch_size, missing))
        return self.go_on(session, children)

    def children(self, history: Sequence[Evaluation]) -> list[Evaluation]:
        """Those that are learnt from, each architecture once; the best of them become parents."""
        return scored_children(history)

    def go_on(self, session: LedgerSession, children: Sequence[Evaluation]) -> list[Choices]:
        """One batch after the initial ones."""
        candidates, size = self.candidates(children), self._ranked.batch_size
        chosen = self.choose(session, children, candidates, 2 * size) if candidates else []
        return self._filled(self._new(candidates[i] for i in chosen), size)

    def candidates(self, children: Sequence[Evaluation]) -> list[Choices]:
        """What is ranked for a batch."""
        config = self._ranked
        found = [
            *random_candidates(self.space, config.random_candidates, self.known, self.rng),
            *mutants(self.space, self.parents(children), config.mutants, self.known, self.rng),
        ]
        return list(dict.fromkeys(found))

    def parents(self, children: Sequence[Evaluation]) -> list[Choices]:
        """Whose mutants are ranked."""
        if self._front:
            return front_members(children)
        return best_by_reward(children, self._ranked.parents)

    def outside(self, session: LedgerSession) -> OutsideSession:
        """`session`, asked with the process's own random states in place."""
        return OutsideSession(session, self._state)

    def remember(self, choices: Choices) -> None:
        """These were asked for."""
        self.known.add(choices)
        self.novelty.add(choices)

    def _filled(self, batch: list[Choices], size: int) -> list[Choices]:
        """Filled up to `size` with random architectures."""
        if len(batch) < size:
            drawn = self.novelty.take_up_to(size - len(batch), lambda: self.space.sample(self.rng))
            self.known.update(drawn)
            batch = [*batch, *drawn]
        return batch

    def _new(self, candidates: Iterable[Choices]) -> list[Choices]:
        """Those that build something not asked for before, remembered; at most a batch."""
        batch: list[Choices] = []
        for choices in candidates:
            if len(batch) == self._ranked.batch_size:
                break
            is_new = self.novelty.is_new(choices)
            self.remember(choices)
            if is_new:
                batch.append(choices)
        return batch


def scored_children(history: Sequence[Evaluation]) -> list[Evaluation]:
    """One evaluation an architecture and fidelity that was trained or looked up, failed ones included, in order."""
    found: dict[tuple[str, Fidelity | None], Evaluation] = {}
    for evaluation in history:
        result = evaluation.result
        lost = result is None or (result.failure is not None and result.failure.is_infrastructure)
        if not lost:
            found.setdefault((evaluation.architecture.digest, evaluation.fidelity), evaluation)
    return list(found.values())
