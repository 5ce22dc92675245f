"""Search by a surrogate of accuracy: rank many architectures, evaluate the most promising, learn, and so on.

The surrogate learns accuracy alone; latency and energy come from the cost model, which is nearly free. It is used
only while it validates: where it ranks left-out children badly, candidates are taken at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from archspace import Choices
from envs import CostBounds
from evaluation import Evaluation, Fidelity, LedgerSession
from search.analysis import Learnt, Ranking
from search.strategies.acquisition import FrontUtility, RewardUtility, Utility, picks
from search.strategies.fidelity_history import at_highest_rung, best_of_highest_rungs, rung_results
from search.strategies.model_based_config import ModelBasedConfig
from search.strategies.ranked_search import RankedSearch, scored_children
from search.surrogates import AccuracySurrogate, CostCorrection, RungSurrogate


class SurrogateSearch(RankedSearch):
    """Without a policy; `PPOSearch` adds one. See `acquisition` for how candidates are ranked."""

    name: ClassVar[str] = "surrogate"

    def __init__(self, config: ModelBasedConfig, bounds: CostBounds, seed: int) -> None:
        super().__init__(config, bounds, seed, front=config.goal == "front")
        self._least_correlation = config.least_correlation
        self._most_for_one_process = config.most_for_one_process
        self.rungs: tuple[Fidelity, ...] = ()

    def use_rungs(self, rungs: Sequence[Fidelity]) -> None:
        self.rungs = tuple(rungs)

    def begin(self, session: LedgerSession) -> None:
        super().begin(session)
        space, most = self.bounds.space, self._most_for_one_process
        if self.rungs:
            costs = [rung.cost for rung in self.rungs]
            self.surrogate: AccuracySurrogate = RungSurrogate(
                space, costs, self.seed, most_results=most
            )
        else:
            self.surrogate = AccuracySurrogate(space, self.seed, most_for_one_process=most)
        self.costs = CostCorrection(space, self.seed, most_for_one_process=most)
        self.rankings: list[Ranking] = []

    def learnt(self, session: LedgerSession) -> Learnt:
        return Learnt(rankings=tuple(self.rankings))

    def children(self, history: Sequence[Evaluation]) -> list[Evaluation]:
        children = super().children(history)
        return at_highest_rung(children, self.rungs) if self.rungs else children

    def parents(self, children: Sequence[Evaluation]) -> list[Choices]:
        if self.rungs:
            children = best_of_highest_rungs(children, self.rungs, self._ranked.parents)
            return [child.architecture.choices for child in children]
        return super().parents(children)

    def go_on(self, session: LedgerSession, children: Sequence[Evaluation]) -> list[Choices]:
        if isinstance(self.surrogate, RungSurrogate):
            self.surrogate.fit_rungs(rung_results(scored_children(session.history), self.rungs))
            self.rankings.append(Ranking(len(children), self.surrogate.rank_correlation()))
        else:
            self._fit(children)
        self._fit_costs(session, children)
        if self._validates:
            return super().go_on(session, children)
        return self.without_surrogate(session, children)

    def _fit(self, children: Sequence[Evaluation]) -> None:
        """Learn from `children`, failed ones included, each architecture once, and note how well that ranks them."""
        lowest = min((child.accuracy for child in children if child.ok), default=0.0)
        self.surrogate.fit(
            [child.architecture.choices for child in children],
            [child.accuracy if child.ok else lowest for child in children],
        )
        self.rankings.append(Ranking(len(children), self.surrogate.rank_correlation()))

    def _fit_costs(self, session: LedgerSession, children: Sequence[Evaluation]) -> None:
        """Learn what expected costs are wrong about; nothing where no costs are known.

        Costs of an earlier version say nothing of the present one: what recalibration mended would count as its error.
        """
        version = session.cost_version
        known = [c for c in children if c.ok and c.costs and c.costs.model_version == version]
        if not known:
            return
        choices = [child.architecture.choices for child in known]
        actual = [(c.costs.latency_ms.value, c.costs.energy_mj.value) for c in known if c.costs]
        self.costs.fit(choices, session.expected_costs(choices), np.array(actual))

    @property
    def _validates(self) -> bool:
        """Whether the surrogate, as fitted last, is good enough to be used."""
        return self.surrogate.ready and self.rankings[-1].correlation >= self._least_correlation

    def without_surrogate(
        self, session: LedgerSession, children: Sequence[Evaluation]
    ) -> list[Choices]:
        """One batch while the surrogate does not validate: candidates in random order."""
        candidates = RankedSearch.candidates(self, children)  # not what a policy learnt from it
        order = self.rng.permutation(len(candidates))
        return self._filled(self._new(candidates[i] for i in order), self._ranked.batch_size)

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
            self.costs(candidates, session.expected_costs(candidates)),
            self._utility(session, children),
            count,
            self.rng,
        )

    def _utility(self, session: LedgerSession, children: Sequence[Evaluation]) -> Utility:
        if self._front:
            return FrontUtility.of(children, session.objective)
        # the best is one trained in full, as predictions are; before there is one, the best of what there is
        known = [child for child in children if child.is_full and child.ok] or children
        return RewardUtility.of(known, session.objective, len(session.history))
