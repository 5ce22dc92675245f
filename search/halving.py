"""Asynchronous successive halving: children are trained cheaply first, and only promising ones further.

Which child is trained next, and at which rung, is decided whenever a result is handed back, by the `Ladder`. Results
are handed back in order of proposal, `window` proposals being under way: so decisions depend on results and on nothing
else, and a search is the same for any number of workers and any kills, yet no worker waits for the slowest child of a
batch (docs/decisions/0005-results-in-order-of-proposal.md).

New children come from a strategy, which thinks once a batch. Each rung trains from scratch with its own schedule: a
child at a rung is then the same whatever happened before, and costs what that fidelity states.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from archspace import Choices
from evaluation import BudgetExhausted, Evaluation, Fidelity, LedgerSession, SpaceExhausted
from search.halving_config import HalvingConfig
from search.ladder import Ladder
from search.strategies.fidelity_history import rung_of
from search.strategy import BatchStrategy

_log = logging.getLogger(__name__)


class HalvingSearch:
    """Runs a strategy over rungs.

    Args:
        strategy: proposes new children.
        config: see `HalvingConfig`.
        rungs: all fidelities, cheapest first, the session's own last; see `rungs_of`.
    """

    def __init__(
        self, strategy: BatchStrategy, config: HalvingConfig, rungs: Sequence[Fidelity]
    ) -> None:
        self._strategy = strategy
        self._window = config.window
        self._rungs = tuple(rungs)
        self._ladder = Ladder(len(self._rungs), config.reduction)
        self._choices: dict[str, Choices] = {}  # by digest
        self._new: deque[Choices] = deque()
        self._exhausted: SpaceExhausted | None = None
        strategy.use_rungs(self._rungs)

    def run(self, session: LedgerSession) -> None:
        """Search until the budget is spent or nothing new is found; both are normal ends."""
        try:
            self._search(session)
        except BudgetExhausted:
            _log.info("%s: the budget is spent", self._strategy.name)
        except SpaceExhausted as error:
            _log.warning("%s: ended with budget left: %s", self._strategy.name, error)
        finally:
            session.stop()

    def _search(self, session: LedgerSession) -> None:
        self._strategy.start(session)
        while True:
            try:
                while session.under_way < self._window and not session.must_drain:
                    if not self._submit_next(session):
                        break
            except (BudgetExhausted, SpaceExhausted):
                session.collect()  # what is paid for counts, though it decides nothing any more
                raise
            self._take(session.collect(1))

    def _submit_next(self, session: LedgerSession) -> bool:
        """Submit a promotion, else a new child; False where there is neither before more results are in."""
        promotion = self._ladder.promote()
        if promotion is not None:
            choices, rung = self._choices[promotion.child], promotion.rung
        else:
            new = self._new_child(session)
            if new is None:
                return False
            choices, rung = new, 0
        taken = session.submit([choices], self._rungs[rung])
        assert taken, "not taken, and the budget not exhausted"
        return True

    def _new_child(self, session: LedgerSession) -> Choices | None:
        """None where the strategy has nothing new, and what is under way may still climb."""
        if not self._new and self._exhausted is None:
            try:
                self._new.extend(self._strategy.propose(session))
            except SpaceExhausted as error:
                self._exhausted = error
        if self._new:
            return self._new.popleft()
        assert self._exhausted is not None, "a strategy proposes something, or says that it cannot"
        if session.under_way:
            return None
        raise self._exhausted

    def _take(self, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            if evaluation.rejected:
                continue
            digest = evaluation.architecture.digest
            self._choices[digest] = evaluation.architecture.choices
            # equal rewards (as below an accuracy floor): the more accurate first
            score = (evaluation.reward, evaluation.accuracy) if evaluation.ok else None
            self._ladder.add(digest, rung_of(evaluation, self._rungs), score)
