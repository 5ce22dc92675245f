"""What the ledger charges, replays, refuses and keeps."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archspace import Choices, InvalidChoices, StagedSpace
from evaluation import (
    BudgetExhausted,
    Evaluation,
    EvaluationError,
    FailureReason,
    Fidelity,
    Ledger,
    LedgerError,
    LimitsConfig,
    MinMaxConfig,
    ReplayDivergence,
    SpaceExhausted,
    check_storage,
    make_objective,
)

Distinct = Callable[[int], list[Choices]]


def test_evaluations_come_in_proposal_order_and_are_charged(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    session = open_session(ledger)
    batch = distinct(4)
    evaluations = session.evaluate(batch)
    assert [e.architecture.choices for e in evaluations] == batch
    assert [e.sequence for e in evaluations] == [0, 1, 2, 3]
    assert [e.charged for e in evaluations] == [1.0] * 4
    assert session.spent == 4
    assert session.remaining == 4
    assert session.name == "random-0"
    for e in evaluations:  # the objective of the conftest, worked out again
        assert e.costs is not None
        latency = 2 - e.costs.latency_ms.value
        expected = 0.6 * e.accuracy + 0.3 * latency + 0.1 * (1 - e.costs.energy_mj.value) / 0.5
        assert e.reward == pytest.approx(expected)


def test_own_repeats_are_free_and_not_evaluated_again(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    session = open_session(ledger)
    a, b = distinct(2)
    first, second, third = session.evaluate([a, b, a])
    assert (first.charged, second.charged, third.charged) == (1, 1, 0)
    assert (first.is_new, third.is_new) == (True, False)
    assert first.accuracy == third.accuracy
    assert third.result is not None
    assert third.result.train_seconds == 0
    (again,) = session.evaluate([b])
    assert (again.charged, again.is_new) == (0, False)
    assert len(evaluator.evaluated) == 2
    assert session.spent == 2


def test_a_control_pays_although_the_cache_answers(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    batch = distinct(3)
    ppo = open_session(ledger, "ppo").evaluate(batch)
    control = open_session(ledger, "random")
    evaluations = control.evaluate(batch)
    assert len(evaluator.evaluated) == 3
    assert control.spent == 3
    assert [e.accuracy for e in evaluations] == [e.accuracy for e in ppo]
    assert all(e.is_new for e in evaluations)
    assert [e.result.train_seconds for e in evaluations] == [0.0] * 3


def test_the_cache_is_not_shared_across_seeds_or_fidelities(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    batch = distinct(1)
    open_session(ledger, "a").evaluate(batch)
    open_session(ledger, "b", training_seed=1).evaluate(batch)
    open_session(ledger, "c", fidelity=Fidelity(name="search", epochs=3)).evaluate(batch)
    open_session(ledger, "d", replicate=1).evaluate(batch)
    assert len(evaluator.evaluated) == 4


def test_budget_is_used_exactly_and_then_ends_the_search(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    session = open_session(ledger, budget=5)
    batch = distinct(8)
    session.evaluate(batch[:3])
    with pytest.raises(BudgetExhausted, match="5 of 5"):
        session.evaluate(batch[3:])
    assert session.spent == 5
    assert len(evaluator.evaluated) == 5
    assert [e.architecture.choices for e in session.history] == batch[:5]
    with pytest.raises(BudgetExhausted):
        session.evaluate(batch[:1])  # even a free one: the search is over
    assert session.logged == 5


def test_free_proposals_fit_into_a_spent_batch(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    a, b = distinct(2)
    session = open_session(ledger, budget=2)
    assert [e.charged for e in session.evaluate([a, b, a])] == [1, 1, 0]


def test_a_fidelity_costs_what_it_says(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    session = open_session(ledger, budget=1, fidelity=Fidelity(name="cheap", epochs=1, cost=0.1))
    assert len(session.evaluate(distinct(10))) == 10  # ten times 0.1 is a whole budget of 1
    assert session.remaining == pytest.approx(0)
    with pytest.raises(BudgetExhausted):
        session.evaluate(distinct(11)[10:])


@pytest.mark.parametrize("reason", [r for r in FailureReason if not r.is_infrastructure])
def test_deterministic_failures_cost_and_stay(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any, reason: FailureReason
) -> None:
    a, b = distinct(2)
    session = open_session(ledger)
    digest = session._scoring.space.architecture(a).digest
    evaluator.failures = {digest: reason}
    failed, fine = session.evaluate([a, b])
    assert not failed.ok
    assert failed.charged == 1
    assert failed.result.failure is reason
    assert failed.reward < fine.reward
    with pytest.raises(ValueError, match="has no accuracy"):
        _ = failed.accuracy
    evaluator.failures = {}
    (again,) = session.evaluate([a])
    assert (again.charged, again.result.failure) == (0, reason)
    (control,) = open_session(ledger, "control").evaluate([a])
    assert (control.charged, control.result.failure) == (1, reason)


def test_lost_children_are_free_and_may_be_asked_for_again(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any, space: StagedSpace
) -> None:
    a, b = distinct(2)
    evaluator.failures = {space.architecture(a).digest: FailureReason.LOST}
    evaluator.transient = True
    session = open_session(ledger, budget=2)
    lost, repeat, fine = session.evaluate([a, a, b])
    assert [e.charged for e in (lost, repeat, fine)] == [0, 0, 1]
    (again,) = session.evaluate([a])
    assert again.ok
    assert again.charged == 1
    assert session.spent == 2
    replayed = open_session(ledger, budget=2)
    assert replayed.evaluate([a, a, b]) == [lost, repeat, fine]
    assert replayed.evaluate([a]) == [again]


def test_a_lost_child_makes_room_within_its_batch(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any, space: StagedSpace
) -> None:
    batch = distinct(3)
    evaluator.failures = {space.architecture(batch[0]).digest: FailureReason.LOST}
    session = open_session(ledger, budget=2)
    assert [e.charged for e in session.evaluate(batch)] == [0, 1, 1]


def test_over_a_limit_is_rejected_free_and_counted(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    session = open_session(ledger, limits=LimitsConfig(latency_ms=1.5))
    evaluations = session.evaluate(distinct(8))
    rejected = [e for e in evaluations if e.rejected]
    taken = [e for e in evaluations if not e.rejected]
    assert rejected
    assert taken
    assert all(e.costs.latency_ms.value > 1.5 for e in rejected)
    assert all(e.costs.latency_ms.value <= 1.5 for e in taken)
    assert all(e.rejected.startswith("latency_ms 1.") for e in rejected)
    assert all((e.charged, e.result, e.ok) == (0, None, False) for e in rejected)
    assert max(e.reward for e in rejected) < min(e.reward for e in taken)
    assert session.spent == len(taken) == len(evaluator.evaluated)
    replayed = open_session(ledger, limits=LimitsConfig(latency_ms=1.5))
    assert replayed.evaluate(distinct(8)) == evaluations


def test_unknown_costs_are_rejected_only_where_they_count(
    ledger: Ledger, open_session: Any, distinct: Distinct, costing: Any
) -> None:
    costing.costs = lambda *args: None
    (refused,) = open_session(ledger).evaluate(distinct(1))
    assert refused.rejected == "its costs are unknown"
    accuracy_only = make_objective(MinMaxConfig(latency_weight=0.0, energy_weight=0.0), None)
    session = open_session(ledger, "accuracy", objective=accuracy_only)
    (taken,) = session.evaluate(distinct(1))
    assert taken.reward == pytest.approx(0.6 * taken.accuracy)
    session = open_session(
        ledger, "limited", objective=accuracy_only, limits=LimitsConfig(macs=1e9)
    )
    assert session.evaluate(distinct(1))[0].rejected


def test_a_thousand_free_proposals_in_a_row_end_the_search(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    a, b = distinct(2)
    session = open_session(ledger)
    session.evaluate([a] + [a] * 900)
    session.evaluate([b] + [a] * 999)
    session.evaluate([b])
    with pytest.raises(SpaceExhausted, match="1000"):
        session.evaluate([b])
    replayed = open_session(ledger)
    replayed.start_at(session.logged)
    with pytest.raises(SpaceExhausted):
        replayed.evaluate([b])


def test_replay_gives_the_same_without_evaluating_or_charging(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    batch = distinct(6)
    first = open_session(ledger).evaluate([*batch[:4], batch[0]])
    evaluator.evaluated.clear()
    told: list[Evaluation] = []
    session = open_session(ledger, on_result=told.append)
    assert session.replaying
    assert session.logged == 5
    assert session.evaluate([*batch[:4], batch[0]]) == first
    assert told == first
    assert not session.replaying
    assert not evaluator.evaluated
    assert session.spent == 4
    session.evaluate(batch[4:])
    assert len(evaluator.evaluated) == 2
    assert session.spent == 6


def test_replay_may_cut_batches_elsewhere(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    batch = distinct(6)
    first = open_session(ledger).evaluate(batch)
    session = open_session(ledger)
    assert session.evaluate(batch[:1]) + session.evaluate(batch[1:]) == first


def test_another_proposal_than_the_logs_is_a_divergence(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    a, b, c = distinct(3)
    open_session(ledger).evaluate([a, b])
    session = open_session(ledger)
    with pytest.raises(ReplayDivergence, match="proposal 1: the log says") as caught:
        session.evaluate([a, c])
    assert str(list(b)) in str(caught.value)
    assert str(list(c)) in str(caught.value)


def test_an_interrupted_batch_is_finished_after_a_restart(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    """Killed between proposals and results: what was ready is kept, the rest is evaluated."""
    batch = distinct(4)
    evaluator.stop_after = 1
    with pytest.raises(EvaluationError, match="on purpose"):
        open_session(ledger, budget=4).evaluate([*batch, batch[0]])
    assert len(evaluator.evaluated) == 1
    evaluator.stop_after = None
    session = open_session(ledger, budget=4)
    resumed = session.evaluate([*batch, batch[0]])
    assert sorted(evaluator.evaluated) == sorted(e.architecture.digest for e in resumed[:4])
    assert session.spent == 4
    uninterrupted = open_session(ledger, "other", budget=4).evaluate([*batch, batch[0]])
    assert [e.reward for e in resumed] == [e.reward for e in uninterrupted]
    assert [e.charged for e in resumed] == [1, 1, 1, 1, 0]


def test_collect_goes_on_after_an_exception(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    session = open_session(ledger)
    assert session.submit(distinct(4)) == [0, 1, 2, 3]
    assert session.remaining == 4
    evaluator.stop_after = 2
    with pytest.raises(EvaluationError):
        session.collect()
    evaluator.stop_after = None
    assert [e.sequence for e in session.collect()] == [0, 1, 2, 3]
    assert len(evaluator.evaluated) == 4
    assert session.collect() == []


def test_submit_twice_then_collect(ledger: Ledger, open_session: Any, distinct: Distinct) -> None:
    session = open_session(ledger)
    a, b, c = distinct(3)
    session.submit([a, b])
    session.submit([a, c])
    with pytest.raises(ValueError, match="collect"):
        session.evaluate([a])
    assert [e.charged for e in session.collect()] == [1, 1, 0, 1]


def test_proposals_are_logged_before_they_are_evaluated(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any, ledger_url: str
) -> None:
    seen: list[int] = []

    def look(result: Any) -> Any:
        path = ledger_url.removeprefix("sqlite:///")
        connection = sqlite3.connect(path)
        seen.append(connection.execute("SELECT count(*) FROM proposals").fetchone()[0])
        connection.close()
        return result

    evaluator.changed = look
    open_session(ledger).evaluate(distinct(3))
    assert seen == [3, 3, 3]


def test_results_are_durable_before_they_are_told(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    def check(evaluation: Evaluation) -> None:
        assert evaluation in ledger.evaluations("random-0")

    told: list[Evaluation] = []
    session = open_session(ledger, on_result=lambda e: (check(e), told.append(e)))
    session.evaluate(distinct(3))
    assert len(told) == 3


def test_start_at_restores_the_account(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    batch = distinct(6)
    first = open_session(ledger).evaluate([*batch[:4], batch[0], *batch[4:]])
    session = open_session(ledger)
    session.start_at(5)
    assert session.spent == 4
    assert session.history == first[:5]
    assert session.replaying
    evaluator.evaluated.clear()
    assert session.evaluate(batch[4:]) == first[5:]
    assert not evaluator.evaluated
    with pytest.raises(ValueError, match="before the first proposal"):
        session.start_at(2)


def test_start_at_refuses_what_the_log_does_not_hold(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    open_session(ledger).evaluate(distinct(2))
    with pytest.raises(ReplayDivergence, match="checkpoint is at proposal 3"):
        open_session(ledger).start_at(3)
    evaluator.stop_after = 0
    with pytest.raises(EvaluationError):
        open_session(ledger).evaluate(distinct(4))
    with pytest.raises(ReplayDivergence, match="have results"):
        open_session(ledger).start_at(3)


def test_numbers_that_are_no_shares_become_failures(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    for number, accuracy in enumerate((float("nan"), float("inf"), 1.5, -0.1)):
        evaluator.changed = lambda result, a=accuracy: replace(result, accuracy=a)
        (evaluation,) = open_session(ledger, f"s{number}", training_seed=number).evaluate(
            distinct(1)
        )
        assert evaluation.result.failure is FailureReason.NONFINITE
        assert evaluation.charged == 1
        assert np.isfinite(evaluation.reward)


def test_an_evaluator_that_forgets_a_task_is_caught(
    ledger: Ledger, open_session: Any, distinct: Distinct, evaluator: Any
) -> None:
    evaluator.evaluate = lambda tasks: iter(())
    with pytest.raises(EvaluationError, match="gave no result for"):
        open_session(ledger).evaluate(distinct(2))


def test_invalid_choices_leave_no_trace(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    session = open_session(ledger)
    with pytest.raises(InvalidChoices):
        session.evaluate([distinct(1)[0], (99,)])
    assert session.logged == 0
    session.evaluate(distinct(1))


def test_a_session_keeps_its_settings(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    open_session(ledger).evaluate(distinct(1))
    open_session(ledger, budget=99)  # more of the same is fine
    assert [record.budget for record in ledger.sessions()] == [99], "for those who look on"
    with pytest.raises(LedgerError, match="training seed"):
        open_session(ledger, training_seed=1)
    with pytest.raises(LedgerError, match="limits"):
        open_session(ledger, limits=LimitsConfig(latency_ms=1))
    objective = make_objective(
        MinMaxConfig(accuracy_weight=0.7, latency_weight=0.0, energy_weight=0.0), None
    )
    with pytest.raises(LedgerError, match="objective"):
        open_session(ledger, objective=objective)


def test_readers_and_records(ledger: Ledger, open_session: Any, distinct: Distinct) -> None:
    evaluations = open_session(ledger, "ppo").evaluate(distinct(2))
    open_session(ledger, "random")
    assert [record.name for record in ledger.sessions()] == ["ppo-0", "random-0"]
    assert ledger.evaluations("ppo-0") == evaluations
    assert ledger.evaluations(ledger.sessions()[0]) == evaluations
    assert ledger.evaluations("random-0") == []
    with pytest.raises(LedgerError, match="ppo-0 of run"):
        ledger.evaluations("tpe-0")
    assert ledger.get_record("final/x") is None
    ledger.put_record("final/x", {"accuracy": 0.1 + 0.2})
    ledger.put_record("final/x", {"accuracy": 1 / 3})
    assert ledger.get_record("final/x") == {"accuracy": 1 / 3}
    with pytest.raises(ValueError, match="JSON"):
        ledger.put_record("bad", {"x": float("nan")})


def test_records_of_other_scopes_are_apart(ledger_url: str) -> None:
    with Ledger(ledger_url, scope="a") as a, Ledger(ledger_url, scope="b") as b:
        a.put_record("x", {"n": 1})
        assert b.get_record("x") is None


def test_two_writers_of_one_session_are_noticed(
    ledger: Ledger, ledger_url: str, open_session: Any, distinct: Distinct
) -> None:
    with Ledger(ledger_url) as other:
        mine, theirs = open_session(ledger), open_session(other)
        mine.evaluate(distinct(1))
        with pytest.raises(LedgerError, match="another process"):
            theirs.evaluate(distinct(1))
        assert len(ledger.evaluations("random-0")) == 1


def test_a_locked_ledger_is_an_error_with_advice(
    ledger: Ledger,
    ledger_url: str,
    open_session: Any,
    distinct: Distinct,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evaluation.database.BUSY_TIMEOUT_S", 0.1)
    with Ledger(ledger_url) as quick:
        session = open_session(quick)
        blocker = sqlite3.connect(ledger_url.removeprefix("sqlite:///"), isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked; another process uses it"):
            session.evaluate(distinct(1))
        blocker.rollback()
        blocker.close()
    assert len(open_session(ledger).evaluate(distinct(1))) == 1


def test_a_full_disk_loses_nothing_that_was_paid(
    ledger: Ledger, ledger_url: str, open_session: Any, distinct: Distinct
) -> None:
    """SQLite's own page limit gives the same error as a full disk."""
    batch = distinct(8)
    before = open_session(ledger).evaluate(batch[:2])
    with Ledger(ledger_url) as full:
        session = open_session(full)
        session.evaluate(batch[:2])
        with full._storage._engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        with pytest.raises(LedgerError, match="disk is full; free some space"):
            full.put_record("big", {"text": "x" * 1_000_000})
    session = open_session(ledger)
    assert session.evaluate(batch[:2]) == before
    assert len(session.evaluate(batch[2:4])) == 2


def test_unusable_ledgers_are_explained(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="unable to open"):
        Ledger(f"sqlite:///{tmp_path / 'missing' / 'ledger.db'}")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database" * 100)
    with pytest.raises(LedgerError, match="not a database; the file is damaged"):
        Ledger(f"sqlite:///{damaged}")
    with pytest.raises(ValueError, match=r"expected sqlite.*got 'nonsense'"):
        Ledger("nonsense")
    with pytest.raises(ValueError, match="expected sqlite") as refused:
        Ledger("mysql://me:secret@host/db")
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="got 'host:port/db'"):
        Ledger("postgresql+psycopg://me:secret@host:port/db")


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE netlathe_meta SET value = '99'")
    connection.commit()
    connection.close()
    with pytest.raises(LedgerError, match="schema version 99"):
        Ledger(f"sqlite:///{path}")


def test_a_file_on_one_machine_is_refused_for_a_cluster() -> None:
    check_storage("sqlite:///x.db", multi_node=False)
    check_storage("postgresql+psycopg://host/db", multi_node=True)
    with pytest.raises(LedgerError, match="PostgreSQL"):
        check_storage("sqlite:///x.db", multi_node=True)


def test_the_file_is_written_through(ledger: Ledger) -> None:
    with ledger._storage._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_barriers_come_at_fixed_counts_when_nothing_is_open(
    ledger_url: str, open_session: Any, distinct: Distinct
) -> None:
    choices = distinct(7)
    repeats = [*choices[:3], choices[0], *choices[3:]]  # repeats count: proposals, not children
    reached: list[tuple[int, int]] = []
    with Ledger(ledger_url) as ledger:
        session = open_session(ledger)
        session.set_barriers(3, lambda count: reached.append((count, len(session.history))))
        assert len(session.evaluate(repeats[:2])) == 2
        assert reached == []
        evaluations = session.evaluate(repeats[2:])
        assert [e.sequence for e in evaluations] == [2, 3, 4, 5, 6, 7]
        assert reached == [(3, 3), (6, 6)]
    with Ledger(ledger_url) as ledger:  # batches of other sizes, the same barriers
        session = open_session(ledger)
        reached.clear()
        session.set_barriers(3, lambda count: reached.append((count, len(session.history))))
        session.start_at(4)
        assert [count for count, _ in reached] == [3]
        session.evaluate(repeats[4:])
        assert [count for count, _ in reached] == [3, 6]


def test_barriers_are_set_before_the_first_proposal(
    ledger: Ledger, open_session: Any, distinct: Distinct
) -> None:
    session = open_session(ledger)
    with pytest.raises(ValueError, match="1 or more"):
        session.set_barriers(0, lambda count: None)
    session.set_barriers(2, lambda count: None)
    assert session.submit(distinct(4)) == [0, 1]
    with pytest.raises(ValueError, match="collect"):
        session.submit(distinct(4)[2:])
    session.collect()
    with pytest.raises(ValueError, match="before the first proposal"):
        session.set_barriers(2, lambda count: None)
