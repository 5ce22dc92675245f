"""Results handed back in the order in which they come, and a log that repeats that order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from archspace import Choices
from evaluation import (
    Evaluation,
    EvaluationError,
    FailureReason,
    Ledger,
    LedgerError,
    LimitsConfig,
)
from tests.evaluation.conftest import LastFirst

Distinct = Callable[[int], list[Choices]]


def numbers(evaluations: list[Evaluation]) -> list[tuple[int, int | None]]:
    return [(e.sequence, e.arrival) for e in evaluations]


def test_whoever_ends_first_is_handed_back_first(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    session, batch = open_session(ledger, by_arrival=True), distinct(5)
    session.submit(batch[:3])
    assert numbers(session.collect(1)) == [(2, 0)]
    assert session.under_way == 2
    session.submit(batch[3:])
    assert numbers(session.collect(2)) == [(4, 1), (3, 2)]
    assert numbers(session.collect()) == [(1, 3), (0, 4)]
    assert [e.sequence for e in session.history] == [2, 4, 3, 1, 0]
    assert [e.arrival for e in ledger.evaluations("random-0")] == [4, 3, 0, 2, 1]


def test_in_order_of_proposal_nothing_arrives_in_the_log(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    assert numbers(open_session(ledger).evaluate(distinct(2))) == [(0, None), (1, None)]


def test_evaluate_is_in_order_of_proposal_all_the_same(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    session = open_session(ledger, by_arrival=True)
    assert [e.sequence for e in session.evaluate(distinct(3))] == [0, 1, 2]


def test_repeats_arrive_with_the_child_they_repeat_and_later_ones_at_once(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    session, (a, b) = open_session(ledger, by_arrival=True), distinct(2)
    session.submit([a, b, a])
    assert numbers(session.collect(1)) == [(1, 0)]
    session.submit([b])  # known already: it arrives before the child that is under way
    assert numbers(session.collect(1)) == [(3, 1)]
    assert numbers(session.collect()) == [(0, 2), (2, 3)]
    assert [e.charged for e in session.history] == [1, 0, 1, 0]
    assert session.history[1].accuracy == session.history[0].accuracy
    session.submit([a, b])  # of results that were handed back out of their order
    again = session.collect()
    assert [e.accuracy for e in again] == [session.history[2].accuracy, session.history[0].accuracy]


def test_what_breaks_a_limit_arrives_at_once(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    batch = distinct(6)
    session = open_session(ledger, by_arrival=True, limits=LimitsConfig(latency_ms=1.5))
    session.submit(batch)
    found = session.collect()
    rejected = [e for e in found if e.rejected]
    assert 0 < len(rejected) < 6
    assert found[: len(rejected)] == rejected
    assert [e.arrival for e in found] == list(range(6))


@pytest.mark.parametrize("death", range(6))
def test_killed_it_repeats_the_order_of_the_log_and_goes_on(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    evaluator: Any,
    last_first: list[LastFirst],
    death: int,
) -> None:
    batch = distinct(6)
    seen: list[list[tuple[int, float]]] = []

    def search() -> None:
        """What is submitted depends on what came first."""
        session, left = open_session(ledger, by_arrival=True), list(batch)
        seen.append([])
        session.submit([left.pop(0) for _ in range(3)])
        while session.under_way:
            (evaluation,) = session.collect(1)
            seen[-1].append((evaluation.sequence, session.spent))
            if left:
                session.submit([left.pop(evaluation.sequence % len(left))])

    evaluator.stop_after = death
    with pytest.raises(EvaluationError, match="on purpose"):
        search()
    evaluator.stop_after = None
    for _ in range(2):
        search()
    killed, resumed, replayed = seen
    assert len(killed) == death
    assert resumed[:death] == killed
    assert replayed == resumed
    assert len(resumed) == 6
    assert len(evaluator.evaluated) == 6, "something was trained twice"


def test_lost_children_give_their_cost_back_when_they_are_handed_back(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    evaluator: Any,
    last_first: list[LastFirst],
    space: Any,
) -> None:
    batch = distinct(3)
    evaluator.failures = {space.architecture(batch[1]).digest: FailureReason.LOST}
    for _ in range(2):  # the second time from the log
        session = open_session(ledger, by_arrival=True, budget=3)
        session.submit(batch)
        account = []
        for _ in range(3):
            session.collect(1)
            account.append((session.spent, session.remaining))
        assert account == [(1, 0), (1, 1), (2, 1)]


def test_a_result_that_could_not_be_written_takes_no_place(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    last_first: list[LastFirst],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session = open_session(ledger, by_arrival=True)
    session.submit(distinct(2))
    storage = session._storage
    finish = storage.finish
    monkeypatch.setattr(storage, "finish", lambda *a, **k: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        session.collect(1)
    monkeypatch.setattr(storage, "finish", finish)
    assert numbers(session.collect()) == [(1, 0), (0, 1)]


@pytest.mark.parametrize("first", [False, True])
def test_a_session_keeps_its_order(
    ledger: Ledger, open_session: Any, distinct: Distinct, first: bool
) -> None:
    open_session(ledger, by_arrival=first).evaluate(distinct(1))
    with pytest.raises(LedgerError, match="begun with another order"):
        open_session(ledger, by_arrival=not first)


def test_barriers_come_at_the_same_counts(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    for _ in range(2):
        session, batch = open_session(ledger, by_arrival=True), distinct(6)
        reached: list[tuple[int, int]] = []
        session.set_barriers(4, lambda count, s=session, r=reached: r.append((count, s.under_way)))
        assert session.submit(batch) == [0, 1, 2, 3]
        assert [e.sequence for e in session.collect(3)] == [3, 2, 1]
        assert session.must_drain
        session.collect(1)
        assert reached == [(4, 0)]
        session.submit(batch[4:])
        session.collect()
        assert len(session.history) == 6
