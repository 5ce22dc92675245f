"""Asynchronous successive halving: children are trained cheaply first, and only promising ones further.

Which child is trained next, and at which rung, is decided whenever a result is handed back, by the `Ladder`. Each rung trains
from scratch with its own schedule: a child at a rung is then the same whatever happened before, and costs what that
fidelity states.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from archspace import Choices
from evaluation import Evaluation, Fidelity, LedgerSession
from search.analysis import Learnt
from search.halving_config import HalvingConfig
from search.ladder import Ladder
from search.rung_scores import RungScores
from search.strategies.fidelity_history import rung_of
from search.strategy import BatchStrategy
from search.supernet_gate import SupernetGate
from search.windowed_search import WindowedSearch


class HalvingSearch(WindowedSearch):
    """Runs a strategy over rungs.

    Args:
        strategy: proposes new children.
        config: see `HalvingConfig`.
        rungs: all fidelities, cheapest first, the session's own last; see `rungs_of`.
        window: children under way at a time; None for `config`'s.
    """

    def __init__(
        self,
        strategy: BatchStrategy,
        config: HalvingConfig,
        rungs: Sequence[Fidelity],
        window: int | None = None,
    ) -> None:
        super().__init__(strategy, window or config.window)
        self._rungs = tuple(rungs)
        self._ladder = Ladder(config.reductions)
        self._lowest = 0
        self._gate = SupernetGate(config.supernet) if config.supernet else None
        self._to_propose = 0  # children to be evaluated both ways
        self._to_judge: deque[Choices] = deque()  # in full, too
        self._scores = RungScores(self._rungs)
        self._entered: dict[tuple[int, str], Evaluation] = {}  # in the ladder, by rung and digest
        strategy.use_rungs(self._rungs)

    def next_child(self, session: LedgerSession) -> tuple[Choices, Fidelity] | None:
        if self._gate is not None and self._gate.verdict is None:
            return self._next_to_judge(session, self._gate)
        promotion = self._ladder.promote(self._lowest)
        if promotion is not None:
            below = self._entered[promotion.rung - 1, promotion.child]
            return below.architecture.choices, self._rungs[promotion.rung]
        new = self.new_child(session)
        return None if new is None else (new, self._rungs[self._lowest])

    def _next_to_judge(
        self, session: LedgerSession, gate: SupernetGate
    ) -> tuple[Choices, Fidelity] | None:
        """A child with shared weights, then the same one in full."""
        if self._to_judge:
            return self._to_judge.popleft(), self._rungs[-1]
        if not session.under_way:
            # at first, and again for those that were rejected or known already
            self._to_propose = gate.missing
        if not self._to_propose:
            return None
        new = self.new_child(session)
        if new is None:
            return None
        self._to_propose -= 1
        self._to_judge.append(new)
        return new, self._rungs[0]

    def take(self, session: LedgerSession, evaluation: Evaluation) -> None:
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
        verdict = self._gate.verdict if self._gate is not None else None
        return replace(super().learnt(session), supernet=verdict)
