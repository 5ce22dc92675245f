"""Whatever is proposed, however often it is interrupted: the account is right and replays agree."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from evaluation import (
    BudgetExhausted,
    Evaluation,
    EvaluationError,
    FailureReason,
    Ledger,
    LimitsConfig,
)

POINTS = 12
BUDGET = 7


@pytest.mark.parametrize("limit_ms", [None, 1.5])
def test_account_and_replay(
    limit_ms: float | None, space: Any, evaluator: Any, open_session: Any, distinct: Any
) -> None:
    points = distinct(POINTS)
    digests = [space.architecture(choices).digest for choices in points]
    numbers = st.integers(0, POINTS - 1)

    class Account(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.folder = tempfile.TemporaryDirectory()
            self.over = False
            self.seen: list[Evaluation] = []  # of the session now
            self.proposed: list[Any] = []  # by all sessions, as a searcher would repeat them
            evaluator.failures, evaluator.stop_after, evaluator.transient = {}, None, False
            self.open()

        def open(self) -> None:
            self.ledger = Ledger(f"sqlite:///{Path(self.folder.name) / 'ledger.db'}")
            self.session = open_session(
                self.ledger, budget=BUDGET, limits=LimitsConfig(latency_ms=limit_ms)
            )

        def teardown(self) -> None:
            self.ledger.close()
            self.folder.cleanup()

        @rule(number=numbers, reason=st.sampled_from(list(FailureReason)))
        def fail(self, number: int, reason: FailureReason) -> None:
            """From now on; what is known already must not change."""
            evaluator.failures[digests[number]] = reason

        @rule(number=numbers)
        def mend(self, number: int) -> None:
            evaluator.failures.pop(digests[number], None)

        @precondition(lambda self: not self.over)
        @rule(batch=st.lists(numbers, min_size=1, max_size=5))
        def propose(self, batch: list[int]) -> None:
            before = self.session.remaining
            try:
                evaluations = self.session.evaluate([points[i] for i in batch])
                assert [e.architecture.choices for e in evaluations] == [points[i] for i in batch]
            except BudgetExhausted:
                self.over = True
                assert self.session.remaining == 0, before
            self.check()

        @precondition(lambda self: not self.over)
        @rule(batch=st.lists(numbers, min_size=1, max_size=5), after=st.integers(0, 3))
        def be_killed(self, batch: list[int], after: int) -> None:
            """Die in the middle of a batch, open again, and propose everything again."""
            evaluator.stop_after = after
            proposed = [e.architecture.choices for e in self.session.history]
            finished = {e.sequence: e for e in self.session.history}
            self.session.on_result = lambda e: finished.__setitem__(e.sequence, e)
            try:
                self.session.evaluate([points[i] for i in batch])
            except BudgetExhausted:
                self.over = True
            except EvaluationError:
                pass
            evaluator.stop_after = None
            self.ledger.close()
            self.open()
            while self.session.replaying:
                position = len(self.session.history)
                logged = self.session._log[position].architecture.choices
                if position < len(proposed):
                    assert logged == proposed[position]
                (evaluation,) = self.session.evaluate([logged])
                assert evaluation == finished.get(position, evaluation)
            self.check()

        def check(self) -> None:
            history = self.session.history
            assert self.session.spent == sum(e.charged for e in history) <= BUDGET
            assert [e.sequence for e in history] == list(range(len(history)))
            paid = [e.architecture.digest for e in history if e.charged]
            assert len(paid) == len(set(paid))  # each key once
            first_seen: set[str] = set()
            for e in history:
                digest = e.architecture.digest
                assert e.is_new == (digest not in first_seen)
                first_seen.add(digest)
                lost = e.result is not None and e.result.failure is FailureReason.LOST
                assert not (e.charged and (lost or e.rejected))
                if not lost and not e.rejected:
                    assert digest in paid
            assert self.ledger.evaluations("random-0") == history

    run_state_machine_as_test(
        Account,
        settings=settings(
            max_examples=8,
            stateful_step_count=10,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking takes minutes
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
