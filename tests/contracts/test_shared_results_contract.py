"""What shared results promise: SQLite always, PostgreSQL where NETLATHE_TEST_POSTGRES gives a URL.

The database behind that URL must be empty or a test's own: its tables of shared results are emptied.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from evaluation import ChildResult, FailureReason, SharedResults, SharedResultsError, shared_results
from evaluation.database import make_url
from evaluation.shared_results import MAX_RESULT_CHARS
from tests.contracts.clock import Clock

GOOD = ChildResult(
    digest="d" * 16,
    accuracy=0.1 + 0.2,
    accuracy_no_exit=1 / 3,
    exit_thresholds=(0.1,),
    exit_shares=(0.7, 0.30000000000000004),
)
BAD = ChildResult(digest="d" * 16, failure=FailureReason.NONFINITE, message="the loss is NaN — ∞")


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(make_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def url(database_url: str) -> str:
    """Without results of an earlier test."""
    tables = ("shared_results", "shared_claims")
    execute(database_url, *(f"DROP TABLE IF EXISTS {table}" for table in tables))
    return database_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[SharedResults]:
    opened = SharedResults(url, clock=clock)
    yield opened
    opened.close()


def test_what_is_put_is_there_for_all_exactly(store: SharedResults, url: str) -> None:
    assert store.get_many(["a", "b"]) == {}
    store.put("a", GOOD)
    store.put("b", BAD)
    other = SharedResults(url)
    assert other.get_many(["b", "x", "a", "a"]) == {"a": GOOD, "b": BAD}
    assert other.get_many([]) == {}
    other.close()


def test_the_first_result_stays(store: SharedResults) -> None:
    store.put("a", GOOD)
    store.put("a", BAD)
    assert store.get_many(["a"]) == {"a": GOOD}


def test_a_child_is_one_jobs(store: SharedResults) -> None:
    assert store.claim(["a", "b", "c"], "one", 30, most=2) == ["a", "b"]
    assert store.claim(["c", "b", "a"], "two", 30, most=9) == ["c"]
    assert store.claim(["a", "b", "c"], "one", 30, most=9) == []  # one's own is no different
    assert store.claim([], "one", 30, most=9) == []
    assert store.claim(["d", "d"], "one", 30, most=9) == ["d"]


def test_what_has_a_result_is_nobodys(store: SharedResults) -> None:
    store.claim(["a"], "one", 30, most=1)
    store.put("a", GOOD)
    assert store.claim(["a", "b"], "two", 30, most=9) == ["b"]


def test_a_result_ends_the_claim_whoever_has_it(store: SharedResults, clock: Clock) -> None:
    store.claim(["a"], "slow", 30, most=1)
    clock.now += 31
    assert store.claim(["a"], "two", 30, most=1) == ["a"]
    store.put("a", GOOD)  # the slow one, after all
    store.put("a", BAD)
    assert store.get_many(["a"]) == {"a": GOOD}
    assert store.claim(["a"], "three", 30, most=1) == []


def test_claims_run_out_unless_renewed_by_their_owner(store: SharedResults, clock: Clock) -> None:
    store.claim(["a", "b"], "one", 30, most=2)
    clock.now += 20
    store.renew(["a"], "one", 30)
    store.renew(["b"], "two", 30)  # not its own
    clock.now += 20
    assert store.claim(["a", "b"], "two", 30, most=2) == ["b"]
    clock.now += 11
    store.renew(["b"], "one", 30)  # no longer
    assert store.claim(["a", "b"], "three", 30, most=2) == ["a"]
    store.renew([], "one", 30)


def test_released_claims_are_free_at_once(store: SharedResults) -> None:
    store.claim(["a", "b"], "one", 30, most=2)
    store.release(["b"], "two")  # not its own
    assert store.claim(["b"], "two", 30, most=1) == []
    store.release(["b"], "one")
    assert store.claim(["a", "b"], "two", 30, most=2) == ["b"]


def test_many_keys(store: SharedResults) -> None:
    keys = [f"k{i}" for i in range(603)]
    assert store.claim(keys, "one", 30, most=2000) == keys
    store.renew(keys, "one", 30)
    store.put(keys[600], GOOD)
    assert list(store.get_many(keys)) == [keys[600]]
    store.release(keys, "one")
    assert store.claim(keys, "two", 30, most=2000) == keys[:600] + keys[601:]


def test_a_result_that_comes_between_look_and_claim_is_seen(
    store: SharedResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a database lets another job's result come between them."""
    store.put("a", GOOD)
    known, looks = shared_results._known, iter([set(), set()])
    monkeypatch.setattr(shared_results, "_known", lambda *args: next(looks, None) or known(*args))
    assert store.claim(["a", "b"], "one", 30, most=2) == ["b"]
    monkeypatch.undo()
    store.release(["b"], "one")
    assert store.claim(["a", "b"], "two", 30, most=2) == ["b"]


def test_no_row_is_large(store: SharedResults) -> None:
    long = ChildResult(
        digest="d" * 16, failure=FailureReason.NONFINITE, message="x" * MAX_RESULT_CHARS
    )
    store.claim(["a"], "one", 30, most=1)
    store.put("a", long)
    assert store.get_many(["a"]) == {}
    assert store.claim(["a"], "two", 30, most=1) == ["a"]


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"failure":null}', '{"failure":"X"}'])
def test_a_damaged_row_is_dropped(store: SharedResults, url: str, damage: str) -> None:
    store.put("a", GOOD)
    engine = sa.create_engine(make_url(url))
    with engine.begin() as connection:
        connection.execute(sa.update(shared_results.results_table).values(result=damage))
    engine.dispose()
    assert store.get_many(["a"]) == {}
    assert store.claim(["a"], "one", 30, most=1) == ["a"]
    store.put("a", GOOD)
    assert store.get_many(["a"]) == {"a": GOOD}


def test_a_database_that_comes_back_empty(store: SharedResults, url: str) -> None:
    store.put("a", GOOD)
    execute(url, "DROP TABLE shared_results", "DROP TABLE shared_claims")
    with pytest.raises(SharedResultsError):
        store.get_many(["a"])
    assert store.claim(["a"], "one", 30, most=1) == ["a"]


def test_what_cannot_be_reached_says_where(tmp_path: Any) -> None:
    store = SharedResults(f"sqlite:///{tmp_path / 'none' / 'results.db'}")
    for ask in (
        lambda: store.get_many(["a"]),
        lambda: store.claim(["a"], "one", 30, most=1),
        lambda: store.renew([], "one", 30),
        lambda: store.put("a", GOOD),
        lambda: store.release(["a"], "one"),
    ):
        with pytest.raises(SharedResultsError, match=r"none/results\.db: unable to open"):
            ask()
    store.close()
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/db"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected sqlite"):
        SharedResults(url)


def _train_all(url: str, number: int, trained: Any) -> None:
    """Go through the same children in an order of one's own, as jobs do, and report whom one has trained."""
    keys = [f"k{i}" for i in range(60)]
    random.Random(number).shuffle(keys)
    own = SharedResults(url)
    mine = []
    end = time.monotonic() + 50
    while keys and time.monotonic() < end:
        answered = own.get_many(keys)
        keys = [key for key in keys if key not in answered]
        for key in own.claim(keys, f"job {number}", 60, most=2):
            mine.append(key)
            own.put(key, GOOD)
    own.close()
    trained.put(mine)


def test_jobs_in_many_processes_train_each_child_once(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    trained = context.Queue()
    jobs = [context.Process(target=_train_all, args=(url, i, trained)) for i in range(3)]
    for job in jobs:
        job.start()
    counts = Counter(key for _ in jobs for key in trained.get(timeout=60))
    for job in jobs:
        job.join()
    assert counts == {f"k{i}": 1 for i in range(60)}
