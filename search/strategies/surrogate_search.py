"""Search by a surrogate of accuracy: rank many architectures, evaluate the most promising, learn, and so on.

The surrogate learns accuracy alone; latency and energy come from the cost model, which is nearly free. It is used
only while it validates: where it ranks left-out children badly, candidates are taken at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, LedgerSession
from search.analysis import Learnt, Ranking
from search.strategies.acquisition import FrontUtility, RewardUtility, Utility, picks
from search.strategies.model_based_config import ModelBasedConfig
from search.strategies.ranked_search import RankedSearch
from search.surrogates import AccuracySurrogate


class SurrogateSearch(RankedSearch):
    """Without a policy; `PPOSearch` adds one. See `acquisition` for how candidates are ranked."""

    name: ClassVar[str] = "surrogate"

    def __init__(self, config: ModelBasedConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(config, bounds, seed, front=config.goal == "front")
        self._least_correlation = config.least_correlation
        self._most_for_one_process = config.most_for_one_process

    def begin(self, session: LedgerSession) -> None:
        super().begin(session)
        self.surrogate = AccuracySurrogate(
            self.bounds.space, self.seed, most_for_one_process=self._most_for_one_process
        )
        self.rankings: list[Ranking] = []

    def learnt(self, session: LedgerSession) -> Learnt:
        return Learnt(rankings=tuple(self.rankings))

    def go_on(self, session: LedgerSession, children: Sequence[Evaluation]) -> None:
        self._fit(children)
        if self._validates:
            super().go_on(session, children)
        else:
            self.without_surrogate(session, children)

    def _fit(self, children: Sequence[Evaluation]) -> None:
        """Learn from `children`, failed ones included, each architecture once, and note how well that ranks them."""
        lowest = min((child.accuracy for child in children if child.ok), default=0.0)
        self.surrogate.fit(
            [child.architecture.choices for child in children],
            [child.accuracy if child.ok else lowest for child in children],
        )
        self.rankings.append(Ranking(len(children), self.surrogate.rank_correlation()))

    @property
    def _validates(self) -> bool:
        """Whether the surrogate, as fitted last, is good enough to be used."""
        return self.surrogate.ready and self.rankings[-1].correlation >= self._least_correlation

    def without_surrogate(self, session: LedgerSession, children: Sequence[Evaluation]) -> None:
        """One batch while the surrogate does not validate: candidates in random order."""
        candidates = self.candidates(children)
        order = self.rng.permutation(len(candidates))
        batch = self._new(candidates[i] for i in order)
        self._evaluate(session, batch, self._ranked.batch_size)

    def choose(
        self,
        session: LedgerSession,
        children: Sequence[Evaluation],
        candidates: Sequence[Choices],
        count: int,
    ) -> list[int]:
        return picks(
            self.surrogate,
            self.surrogate.predict(candidates),
            session.expected_costs(candidates),
            self._utility(session, children),
            count,
            self.rng,
        )

    def _utility(self, session: LedgerSession, children: Sequence[Evaluation]) -> Utility:
        if self._front:
            return FrontUtility.of(children, session.objective)
        return RewardUtility.of(children, session.objective, len(session.history))
