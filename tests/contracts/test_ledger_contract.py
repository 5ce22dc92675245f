"""What every ledger storage promises: SQLite always, PostgreSQL where NETLATHE_TEST_POSTGRES gives a URL.

The database behind that URL must be empty or a test's own: sessions of run "contract-…" are added to it.
"""

from __future__ import annotations

import multiprocessing
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from archspace import Architecture
from evaluation import (
    ChildResult,
    Evaluation,
    FailureReason,
    Fidelity,
    LedgerError,
    NetworkCosts,
)
from evaluation.storage import Storage
from evaluation.tables import LoggedProposal, SessionRecord
from latency_models import Cost

ARCHITECTURE = Architecture(space_digest="space", choices=(0, 1, 2), digest="d" * 16, label="a|b~0")
RESULT = ChildResult(
    digest="d" * 16,
    accuracy=1 / 3,
    accuracy_no_exit=0.1 + 0.2,
    exit_thresholds=(0.25,),
    exit_shares=(1 / 7, 6 / 7),
    train_seconds=1.25,
    worker="w",
)
CHEAP = Fidelity(name="«cheap»", epochs=3, data_fraction=1 / 3, resolution=16, cost=1 / 7)
FAILED = ChildResult(digest="d" * 16, failure=FailureReason.OOM, message="9 MB > 8 MB – «é»")
COSTS = NetworkCosts(
    latency_ms=Cost(1 / 3, 0.1, "predicted"),
    latency_worst_ms=Cost(2 / 3, 0.1, "measured"),
    energy_mj=Cost(1e-9, 0.0, "estimated"),
    energy_worst_mj=Cost(5.0, 0.0, "measured"),
    num_params=12,
    macs=10**12,
    size_bytes=48,
    model_version=3,
)


@pytest.fixture
def url(database_url: str) -> str:
    return database_url


@pytest.fixture
def storage(url: str) -> Iterator[Storage]:
    opened = Storage(url)
    yield opened
    opened.close()


def _session(storage: Storage, run: str | None = None) -> SessionRecord:
    run = run or f"contract-{uuid.uuid4().hex}"
    return storage.open_session(
        run, "ppo", 2**40, budget=8.5, space_digest="space", settings={"a": "b"}
    )


def _evaluation(sequence: int, **changes: Any) -> Evaluation:
    values: dict[str, Any] = {
        "sequence": sequence,
        "architecture": ARCHITECTURE,
        "result": RESULT,
        "costs": COSTS,
        "reward": -1 / 3,
        "charged": 0.1,
        "is_new": True,
    }
    return Evaluation(**(values | changes))


def _proposal(sequence: int, evaluation: Evaluation | None = None) -> LoggedProposal:
    return LoggedProposal(
        sequence=sequence, architecture=ARCHITECTURE, is_new=True, evaluation=evaluation
    )


def test_a_session_is_made_once_and_keeps_its_settings(storage: Storage) -> None:
    first = _session(storage)
    again = storage.open_session(
        first.run, "ppo", 2**40, budget=99, space_digest="other", settings={}
    )
    assert again == first
    assert (again.name, again.budget, again.settings) == ("ppo-1099511627776", 8.5, {"a": "b"})
    assert first in storage.sessions()
    assert _session(storage).id != first.id


@pytest.mark.parametrize(
    "evaluation",
    [
        _evaluation(0),
        _evaluation(0, result=FAILED),
        _evaluation(0, costs=None),
        _evaluation(0, result=None, charged=0.0, rejected="latency_ms 3 > 2"),
        _evaluation(0, fidelity=CHEAP),
    ],
    ids=["ok", "failed", "no costs", "rejected", "reduced fidelity"],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_evaluations_come_back_exactly(
    storage: Storage, url: str, evaluation: Evaluation, at_once: bool
) -> None:
    session = _session(storage)
    opened = replace(_proposal(0), fidelity=evaluation.fidelity)
    if at_once:
        storage.log(session, [replace(opened, evaluation=evaluation)])
    else:
        storage.log(session, [opened])
        assert storage.proposals(session) == [opened]
        storage.finish(session, [evaluation])
    other = Storage(url)
    assert other.proposals(session) == [replace(opened, evaluation=evaluation)]
    other.close()


def test_results_are_shared_by_key_and_the_first_stays(storage: Storage) -> None:
    key = uuid.uuid4().hex
    session = _session(storage)
    storage.log(session, [_proposal(0), _proposal(1)])
    assert storage.cached(key) is None
    storage.finish(session, [_evaluation(0)], cache=(key, RESULT))
    storage.finish(session, [_evaluation(1)], cache=(key, FAILED))
    assert storage.cached(key) == RESULT


def test_a_failed_write_leaves_nothing_of_itself(storage: Storage) -> None:
    session = _session(storage)
    storage.log(session, [_proposal(0)])
    with pytest.raises(LedgerError, match="another process"):
        storage.log(session, [_proposal(1), _proposal(0)])
    assert [row.sequence for row in storage.proposals(session)] == [0]
    key = uuid.uuid4().hex
    with pytest.raises(LedgerError, match="not waiting"):
        storage.finish(session, [_evaluation(0), _evaluation(5)], cache=(key, RESULT))
    assert storage.proposals(session)[0].evaluation is None
    assert storage.cached(key) is None


def test_a_result_is_written_once(storage: Storage) -> None:
    session = _session(storage)
    storage.log(session, [_proposal(0)])
    storage.finish(session, [_evaluation(0)])
    with pytest.raises(LedgerError, match="not waiting"):
        storage.finish(session, [_evaluation(0, reward=9.0)])
    assert storage.proposals(session)[0].evaluation == _evaluation(0)


def test_records(storage: Storage) -> None:
    scope = uuid.uuid4().hex
    assert storage.get_record(scope, "x") is None
    storage.put_record(scope, "x", {"a": [1 / 3, None, "é"]})
    storage.put_record(scope, "x", {"a": [2 / 3]})
    assert storage.get_record(scope, "x") == {"a": [2 / 3]}
    assert storage.get_record(uuid.uuid4().hex, "x") is None


def _die_while_writing(url: str, run: str) -> None:
    storage = Storage(url)
    session = _session(storage, run)
    storage.log(session, [_proposal(0), _proposal(1)])
    storage.finish(session, [_evaluation(0)])
    with storage._writing() as connection:
        connection.exec_driver_sql("UPDATE proposals SET reward = 77, status = 'done'")
        os._exit(9)  # no commit, no clean-up


def test_a_writer_that_dies_leaves_what_it_had_committed(storage: Storage, url: str) -> None:
    run = f"contract-{uuid.uuid4().hex}"
    process = multiprocessing.get_context("spawn").Process(
        target=_die_while_writing, args=(url, run)
    )
    process.start()
    process.join()
    assert process.exitcode == 9
    rows = storage.proposals(_session(storage, run))
    assert [row.evaluation for row in rows] == [_evaluation(0), None]


def test_scopes_share_a_database_and_nothing_else(url: str) -> None:
    names = [f"contract-{uuid.uuid4().hex}" for _ in range(2)]
    one, two = (Storage(url, scope=name) for name in names)
    try:
        session, other = _session(one, "digits"), _session(two, "digits")
        assert session.id != other.id
        assert (one.sessions(), two.sessions()) == ([session], [other])
        one.log(session, [_proposal(0)])
        one.finish(session, [_evaluation(0)], cache=("key", RESULT))
        one.put_record(names[0], "final", {"a": 1})
        assert (one.cached("key"), two.cached("key")) == (RESULT, None)
        two.forget(names[0])
        assert (one.sessions(), two.sessions()) == ([], [other])
        assert one.cached("key") is None
        assert one.get_record(names[0], "final") is None
        assert _session(one, "digits").id != session.id or url.startswith("sqlite")
    finally:
        one.close()
        two.close()
