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
from dataclasses import replace

from archspace import Choices
from evaluation import (
    BudgetExhausted,
    Evaluation,
    Fidelity,
    LedgerSession,
    SpaceExhausted,
)
from search.analysis import Learnt
from search.halving_config import HalvingConfig
from search.ladder import Ladder
from search.rung_scores import RungScores
from search.strategies.fidelity_history import rung_of
from search.strategy import BatchStrategy
from search.supernet_gate import SupernetGate

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
        self._ladder = Ladder(config.reductions)
        self._lowest = 0
        self._gate = SupernetGate(config.supernet) if config.supernet else None
        self._to_propose = 0  # children to be evaluated both ways
        self._to_judge: deque[Choices] = deque()  # in full, too
        self._scores = RungScores(self._rungs)
        self._entered: dict[tuple[int, str], Evaluation] = {}  # in the ladder, by rung and digest
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
            self._take(session, session.collect(1))

    def _submit_next(self, session: LedgerSession) -> bool:
        """Submit what is next; False where that depends on results that are not in yet."""
        gate = self._gate
        if gate is not None and gate.verdict is None:
            following = self._next_to_judge(session, gate)
        else:
            following = self._next(session)
        if following is None:
            return False
        choices, rung = following
        taken = session.submit([choices], self._rungs[rung])
        assert taken, "not taken, and the budget not exhausted"
        return True

    def _next(self, session: LedgerSession) -> tuple[Choices, int] | None:
        """A promotion, else a new child, and its rung."""
        promotion = self._ladder.promote(self._lowest)
        if promotion is not None:
            below = self._entered[promotion.rung - 1, promotion.child]
            return below.architecture.choices, promotion.rung
        new = self._new_child(session)
        return None if new is None else (new, self._lowest)

    def _next_to_judge(
        self, session: LedgerSession, gate: SupernetGate
    ) -> tuple[Choices, int] | None:
        """A child with shared weights, then the same one in full."""
        if self._to_judge:
            return self._to_judge.popleft(), len(self._rungs) - 1
        if not session.under_way:
            # at first, and again for those that were rejected or known already
            self._to_propose = gate.missing
        if not self._to_propose:
            return None
        new = self._new_child(session)
        if new is None:
            return None
        self._to_propose -= 1
        self._to_judge.append(new)
        return new, 0

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

    def _take(self, session: LedgerSession, evaluations: Sequence[Evaluation]) -> None:
        for evaluation in evaluations:
            if evaluation.rejected:
                continue
            if self._scores.add(evaluation):
                for known in self._entered.values():
                    self._enter(session, known)
            if self._gate is not None and self._gate.verdict is None:
                self._judge(session, self._gate, evaluation)
            else:
                self._enter(session, evaluation)

    def _judge(self, session: LedgerSession, gate: SupernetGate, evaluation: Evaluation) -> None:
        """One of the children that decide about shared weights; they are in full already, and climb no more."""
        gate.add(evaluation)
        if evaluation.is_full:
            self._enter(session, evaluation)
        if gate.verdict is None:
            return
        if not gate.verdict.used:
            self._lowest = 1
            return
        for judged in gate.judged:
            self._enter(session, judged)
            self._ladder.skip(judged.architecture.digest, 0)

    def _enter(self, session: LedgerSession, evaluation: Evaluation) -> None:
        rung, digest = rung_of(evaluation, self._rungs), evaluation.architecture.digest
        self._entered[rung, digest] = evaluation
        self._ladder.add(digest, rung, self._scores.score(evaluation, session.objective))

    def learnt(self, session: LedgerSession) -> Learnt:
        """What there is to tell people after `run`."""
        verdict = self._gate.verdict if self._gate is not None else None
        return replace(self._strategy.learnt(session), supernet=verdict)
