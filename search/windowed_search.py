"""A window of children under way: whenever a result is handed back, the next child is submitted.

No worker waits for the slowest child of a batch. With a session that hands results back in order of arrival
(`search.asynchronous`), none waits for any other child either; what is proposed then depends on how fast workers are, and the
ledger remembers in which order results came, so that a search that was stopped goes on as if it had not been. In order
of proposal (halving without `search.asynchronous`) a search is the same for any number of workers
(docs/decisions/0005-results-in-order-of-proposal.md).

New children come from a strategy, which thinks once a batch.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

from archspace import Choices
from evaluation import BudgetExhausted, Evaluation, Fidelity, LedgerSession, SpaceExhausted
from search.analysis import Learnt
from search.strategy import BatchStrategy

_log = logging.getLogger(__name__)


class WindowedSearch:
    """Runs a strategy whose children are all trained in full.

    Args:
        strategy: proposes new children.
        window: children under way at a time.
    """

    def __init__(self, strategy: BatchStrategy, window: int) -> None:
        self._strategy = strategy
        self._window = window
        self._new: deque[Choices] = deque()
        self._exhausted: SpaceExhausted | None = None

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

    def learnt(self, session: LedgerSession) -> Learnt:
        """What there is to tell people after `run`."""
        return self._strategy.learnt(session)

    def next_child(self, session: LedgerSession) -> tuple[Choices, Fidelity] | None:
        """What is to be trained next, and how; None where that depends on results that are not in yet."""
        new = self.new_child(session)
        return None if new is None else (new, session.fidelity)

    def take(self, session: LedgerSession, evaluation: Evaluation) -> None:
        """A result was handed back, and was not over a limit."""

    def new_child(self, session: LedgerSession) -> Choices | None:
        """None where the strategy has nothing new, and what is under way may still bring something."""
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
            self._take_all(session, session.collect(1))

    def _submit_next(self, session: LedgerSession) -> bool:
        following = self.next_child(session)
        if following is None:
            return False
        choices, fidelity = following
        taken = session.submit([choices], fidelity)
        assert taken, "not taken, and the budget not exhausted"
        return True

    def _take_all(self, session: LedgerSession, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            if not evaluation.rejected:
                self.take(session, evaluation)
