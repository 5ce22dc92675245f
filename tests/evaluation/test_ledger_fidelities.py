"""Reduced fidelities in a session, and results handed back in order while later children train."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archspace import Choices
from evaluation import (
    BudgetExhausted,
    EvaluationError,
    FailureReason,
    Fidelity,
    Ledger,
    LedgerError,
    ReplayDivergence,
    child_seed,
)
from tests.evaluation.conftest import LastFirst

Distinct = Callable[[int], list[Choices]]
CHEAP = Fidelity(name="cheap", epochs=1, data_fraction=0.5, cost=0.25)
FULL = Fidelity(name="search", epochs=2)


def test_each_fidelity_of_a_child_is_paid_once(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    a, b = distinct(2)
    session = open_session(ledger)
    session.submit([a, b, a], CHEAP)
    session.submit([a])
    session.submit([b], FULL)  # said or not, it is the session's own
    session.submit([a], CHEAP)
    evaluations = session.collect()
    assert [e.charged for e in evaluations] == [0.25, 0.25, 0, 1, 1, 0]
    assert [e.is_new for e in evaluations] == [True, True, False, True, True, False]
    assert [e.fidelity for e in evaluations] == [CHEAP, CHEAP, CHEAP, None, None, CHEAP]
    assert [e.is_full for e in evaluations] == [False, False, False, True, True, False]
    assert len(evaluator.evaluated) == 4
    assert session.spent == 2.5
    assert ledger.evaluations("random-0") == evaluations


def test_another_session_finds_cheap_children_in_the_cache_and_pays(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    batch = distinct(2)
    for strategy in ("a", "b"):
        session = open_session(ledger, strategy)
        session.submit(batch, CHEAP)
        assert [e.charged for e in session.collect()] == [0.25, 0.25]
    assert len(evaluator.evaluated) == 2
    session.submit(batch, Fidelity(name="cheap", epochs=1, data_fraction=0.75, cost=0.25))
    session.collect()
    assert len(evaluator.evaluated) == 4, "other data, another child"


def test_the_budget_reaches_for_what_a_fidelity_costs(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    batch = distinct(8)
    session = open_session(ledger, budget=2)
    assert session.submit(batch[:5], CHEAP) == [0, 1, 2, 3, 4]
    assert session.remaining == 0.75
    with pytest.raises(BudgetExhausted, match=r"1\.25 of 2"):
        session.submit(batch[:1])
    assert session.submit(batch, CHEAP) == [5, 6, 7, 8, 9, 10, 11, 12], "five are free repeats"
    assert session.remaining == 0
    session.collect()
    assert session.spent == 2


def test_a_replay_must_ask_for_the_same_fidelity(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    (a,) = distinct(1)
    session = open_session(ledger)
    session.submit([a], CHEAP)
    first = session.collect()
    same = open_session(ledger)
    same.submit([a], CHEAP)
    assert same.collect() == first
    with pytest.raises(ReplayDivergence, match="full fidelity"):
        open_session(ledger).submit([a])


def test_results_come_in_order_of_proposal_while_others_go_on(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    evaluator: Any,
    last_first: list[LastFirst],
) -> None:
    session, batch = open_session(ledger), distinct(6)
    session.submit(batch[:3], CHEAP)
    (first,) = session.collect(1)
    assert first.sequence == 0
    assert len(evaluator.evaluated) == 3, "the first ended last"
    assert session.under_way == 2
    session.submit(batch[3:])
    assert [e.sequence for e in session.collect(2)] == [1, 2]
    assert len(evaluator.evaluated) == 3, "known already: nothing new was begun for it"
    assert session.history == ledger.evaluations("random-0")[:3]
    assert [e.sequence for e in session.collect(1)] == [3]
    assert [e.sequence for e in session.collect(9)] == [4, 5], "no more than there are"
    assert session.collect(1) == []
    assert len(last_first) == 1, "one pool for all"
    assert session.submit(batch[:1], Fidelity(name="other", epochs=1, cost=0.5)) == [6]
    assert [e.sequence for e in session.collect()] == [6], "all of them: through the same pool"


def test_the_account_counts_what_was_handed_back(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    evaluator: Any,
    last_first: list[LastFirst],
    space: Any,
) -> None:
    """A child that is lost gives its cost back when it is handed back, whenever it was lost: as in a replay."""
    batch = distinct(3)
    evaluator.failures = {space.architecture(batch[1]).digest: FailureReason.LOST}
    for _ in range(2):  # the second time from the log
        session = open_session(ledger, budget=3)
        session.submit(batch)
        session.collect(1)
        assert (session.spent, session.remaining) == (1, 0)
        session.collect(1)
        assert (session.spent, session.remaining) == (1, 1)
        session.collect(1)
        assert (session.spent, session.remaining) == (2, 1)


@pytest.mark.parametrize("death", range(5))
def test_killed_with_children_under_way_it_hands_back_the_same(
    ledger: Ledger,
    open_session: Any,
    distinct: Distinct,
    evaluator: Any,
    last_first: list[LastFirst],
    death: int,
) -> None:
    batch = distinct(6)

    def search(strategy: str) -> list[Any]:
        session = open_session(ledger, strategy, training_seed=int(strategy == "killed"))
        session.submit(batch[:3], CHEAP)
        found = session.collect(1)
        session.submit(batch[3:5], CHEAP)
        found += session.collect(2)
        session.submit(batch[5:])
        return found + session.collect()

    whole = search("whole")
    evaluator.evaluated.clear()
    evaluator.stop_after = death
    with pytest.raises(EvaluationError, match="on purpose"):
        search("killed")
    evaluator.stop_after = None
    found = search("killed")
    assert [(e.sequence, e.reward, e.charged, e.fidelity) for e in found] == [
        (e.sequence, e.reward, e.charged, e.fidelity) for e in whole
    ]
    assert len(evaluator.evaluated) == 6, "something was trained twice"


def test_barriers_wait_for_all_that_is_under_way(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    session, batch = open_session(ledger), distinct(6)
    reached: list[tuple[int, int]] = []
    session.set_barriers(4, lambda count: reached.append((count, session.under_way)))
    assert session.submit(batch, CHEAP) == [0, 1, 2, 3], "those before the barrier"
    assert session.must_drain
    session.collect(3)
    assert session.must_drain
    with pytest.raises(ValueError, match="a barrier comes next"):
        session.submit(batch[4:], CHEAP)
    assert reached == []
    session.collect(1)
    assert reached == [(4, 0)]
    assert not session.must_drain
    assert session.submit(batch[4:], CHEAP) == [4, 5]


def test_stopping_gives_up_what_trains_and_collecting_begins_it_anew(
    ledger: Ledger, open_session: Any, distinct: Distinct, last_first: list[LastFirst]
) -> None:
    session = open_session(ledger)
    session.submit(distinct(3))
    session.collect(1)
    session.submit(distinct(5)[3:])
    session.collect(1)
    session.stop()
    assert last_first[0].tasks == {}
    assert [e.sequence for e in session.collect()] == [2, 3, 4]


def test_an_evaluator_that_forgets_a_child_is_caught(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    evaluator.evaluate = lambda tasks: iter(())
    session = open_session(ledger)
    session.submit(distinct(2))
    with pytest.raises(EvaluationError, match="gave no result for"):
        session.collect(1)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_ledger_of_an_older_version_is_brought_up(
    ledger_url: str, open_session: Any, distinct: Distinct, evaluator: Any, version: int
) -> None:
    batch = distinct(3)
    with Ledger(ledger_url) as ledger:
        before = open_session(ledger).evaluate(batch)
    _make_old(ledger_url, version)
    with Ledger(ledger_url) as ledger:
        session = open_session(ledger)
        assert session.evaluate(batch) == before
        session.submit(batch[:1], CHEAP)
        assert session.collect()[0].fidelity == CHEAP
        assert open_session(ledger, "control").evaluate(batch)[0].accuracy == before[0].accuracy
    assert len(evaluator.evaluated) == 4, "the old cache answers"
    with Ledger(ledger_url) as ledger:
        assert [e.fidelity for e in ledger.evaluations("random-0")] == [None, None, None, CHEAP]


def test_a_ledger_of_an_unknown_version_is_refused(ledger_url: str) -> None:
    Ledger(ledger_url).close()
    _set_version(ledger_url, "5")
    with pytest.raises(LedgerError, match="schema version 5, but this Netlathe knows 4"):
        Ledger(ledger_url)


def _make_old(url: str, version: int) -> None:
    path = Path(url.removeprefix("sqlite:///"))
    connection = sqlite3.connect(path)
    connection.execute("ALTER TABLE proposals DROP COLUMN arrival")
    if version == 1:
        connection.execute("ALTER TABLE proposals DROP COLUMN fidelity")
    if version < 3:
        for table in ("sessions", "proposals", "results", "records"):
            connection.execute(f"ALTER TABLE {table} DROP COLUMN checksum")
    connection.commit()
    connection.close()
    _set_version(url, str(version))


def _set_version(url: str, version: str) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(
        "UPDATE netlathe_meta SET value = ? WHERE name = 'schema_version'", [version]
    )
    connection.commit()
    connection.close()


def test_seeds_of_full_children_are_what_they_were_and_others_are_apart() -> None:
    # SHA-256 of "0/dddddddddddddddd/search/2/0", as before there were others: old caches still answer
    assert child_seed(0, "d" * 16, FULL, 0) == 375941259
    seeds = {
        child_seed(0, "d" * 16, fidelity, 0)
        for fidelity in (
            FULL,
            Fidelity(name="search", epochs=2, data_fraction=0.5),
            Fidelity(name="search", epochs=2, resolution=16),
            Fidelity(name="search", epochs=2, data_fraction=0.5, resolution=16),
            Fidelity(name="search", epochs=3),
        )
    }
    assert len(seeds) == 5
    priced = Fidelity(name="search", epochs=2, cost=0.1)
    assert child_seed(0, "d" * 16, priced, 0) == child_seed(0, "d" * 16, FULL, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"epochs": 0}, {"data_fraction": 0.0}, {"data_fraction": 1.1}, {"cost": -1.0}, {"resolution": 0}],
)  # fmt: skip
def test_impossible_fidelities_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="fidelity x"):
        Fidelity(**{"name": "x", "epochs": 1, **wrong})
