"""What every job store promises: SQLite always, PostgreSQL where NETLATHE_TEST_POSTGRES gives a URL.

The database behind that URL must be empty or a test's own: its tables of jobs are emptied.
"""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.database import make_url
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.jobs.job_rows import LeaseLost
from service.jobs.records import Job
from service.jobs.spec import JobSpec
from service.jobs.states import ACTIVE, ENDED, TRANSITIONS, JobState, Reason
from service.jobs.store import JobStore
from tests.contracts.clock import Clock

SPEC = JobSpec(config={"name": "digits", "search": {"budget": 8}}, seed=0)
OTHER = JobSpec(config={"name": "digits", "search": {"budget": 9}}, seed=0)
S = JobState


@pytest.fixture
def url(database_url: str) -> str:
    """Without jobs of an earlier test."""
    engine = sa.create_engine(make_url(database_url))
    with engine.begin() as connection:
        for table in ("job_additions", "job_events", "jobs"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    engine.dispose()
    return database_url


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(url: str, clock: Clock) -> Iterator[JobStore]:
    opened = JobStore(url, clock=clock)
    yield opened
    opened.close()


def claimed(store: JobStore, owner: str = "a") -> Job:
    job = store.claim(owner, 15.0)
    assert job is not None
    assert job.lease is not None
    return job


def running(store: JobStore, job_id: str = "one") -> Job:
    store.submit(job_id, SPEC)
    job = claimed(store)
    assert job.lease
    return store.report(job.id, job.lease, S.RUNNING)


def states(store: JobStore, job_id: str = "one") -> list[JobState]:
    return [event.state for event in store.events(job_id)]


def test_submitting_again_is_the_same_job_and_something_else_a_conflict(store: JobStore) -> None:
    first, fresh = store.submit("one", SPEC)
    assert (first.state, first.attempt, fresh) == (S.PENDING, 1, True)
    turned = JobSpec(config={"search": {"budget": 8}, "name": "digits"}, seed=0)
    assert store.submit("one", turned) == (first, False)
    with pytest.raises(ConflictError, match="asks for something else"):
        store.submit("one", OTHER)
    assert [job.id for job in store.jobs()] == ["one"]
    assert states(store) == [S.PENDING]


@pytest.mark.parametrize(
    "bad", ["", "-a", "A", "a/b", "..", "a.b", "a" * 64, "a\x00", "a\n", "%2e%2e"]
)
def test_other_ids_are_refused(store: JobStore, bad: str) -> None:
    with pytest.raises(UsageError, match="expected up to 63"):
        store.submit(bad, SPEC)


def test_a_job_goes_its_way_and_every_step_is_an_event(store: JobStore) -> None:
    job = running(store)
    assert job.lease
    done = store.report("one", job.lease, S.SUCCEEDED, message="all of it")
    assert done.lease_until is None
    assert states(store) == [S.PENDING, S.STARTING, S.RUNNING, S.SUCCEEDED]
    last = store.events("one")[-1]
    assert (last.message, last.attempt) == ("all of it", 1)
    assert store.events("one", after=last.number) == []
    assert store.claim("b", 15.0) is None


def test_jobs_are_claimed_in_order_and_once(store: JobStore, clock: Clock) -> None:
    for job_id in ("b", "a", "c"):
        store.submit(job_id, SPEC)
        clock.now += 1
    assert [claimed(store, owner).id for owner in "xyz"] == ["b", "a", "c"]
    assert store.claim("x", 15.0) is None


def test_what_a_server_did_not_hold_on_to_goes_to_another(store: JobStore, clock: Clock) -> None:
    job = running(store)
    assert job.lease
    clock.now += 10
    store.renew("one", job.lease, 15.0)
    clock.now += 10
    assert store.claim("b", 15.0) is None
    clock.now += 6
    taken = claimed(store, "b")
    assert taken.lease
    assert taken.lease.token > job.lease.token
    assert states(store)[-2:] == [S.RECOVERING, S.STARTING]
    for late in (S.SUCCEEDED, S.FAILED):
        with pytest.raises(LeaseLost):
            store.report("one", job.lease, late)
    with pytest.raises(LeaseLost):
        store.renew("one", job.lease, 15.0)
    assert store.get("one").state is S.STARTING


@pytest.mark.parametrize(("ask", "then"), [("pause", S.PAUSED), ("cancel", S.CANCELLED)])
def test_asked_for_and_then_lost_is_done(
    store: JobStore, clock: Clock, ask: str, then: JobState
) -> None:
    running(store)
    getattr(store, ask)("one")
    clock.now += 100
    assert store.claim("b", 15.0) is None
    assert store.get("one").state is then


def test_a_change_made_since_the_row_was_read_is_not_overwritten(
    store: JobStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a database lets another server's claim come between a server's look and its report: same state, other token."""
    stale = running(store)
    assert stale.lease
    clock.now += 100
    taken = claimed(store, "b")
    assert taken.lease
    store.report("one", taken.lease, S.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_held", lambda *_: stale)
        with pytest.raises(LeaseLost, match="has just changed"):
            store.report("one", stale.lease, S.SUCCEEDED)
        with pytest.raises(LeaseLost, match="has just changed"):
            store.renew("one", stale.lease, 1000.0)
    assert store.get("one").state is S.RUNNING
    assert store.get("one").lease_until == clock.now + 15


def test_pages_and_counts(store: JobStore, clock: Clock) -> None:
    for job_id in ("c", "b", "d", "a"):
        store.submit(job_id, SPEC)
        clock.now += job_id != "b"  # two at the same time
    assert [job.id for job in store.jobs(most=2)] == ["c", "b"]
    assert [job.id for job in store.jobs(after="b", most=9)] == ["d", "a"]
    store.pause("d")
    assert [job.id for job in store.jobs([S.PENDING], after="c")] == ["b", "a"]
    assert store.counts() == {**dict.fromkeys(S, 0), S.PENDING: 3, S.PAUSED: 1}
    with pytest.raises(NotFoundError):
        store.jobs(after="x")


def test_a_recovering_job_comes_first_but_not_before_its_time(
    store: JobStore, clock: Clock
) -> None:
    job = running(store)
    assert job.lease
    clock.now += 1
    store.submit("two", SPEC)
    store.report("one", job.lease, S.RECOVERING, again_in_s=5)
    assert claimed(store).id == "two"
    assert store.claim("a", 15.0) is None
    clock.now += 6
    assert claimed(store).id == "one"


def test_pause_and_resume(store: JobStore) -> None:
    store.submit("one", SPEC)
    assert store.pause("one").state is S.PAUSED
    assert store.claim("a", 15.0) is None
    assert store.resume("one").state is S.PENDING
    assert store.resume("one").state is S.PENDING  # twice is once
    job = claimed(store)
    assert job.lease
    job = store.report("one", job.lease, S.RUNNING)
    assert store.pause("one").state is S.PAUSING
    assert store.pause("one").state is S.PAUSING
    with pytest.raises(ConflictError, match="cannot be resumed"):
        store.resume("one")
    assert job.lease
    assert store.report("one", job.lease, S.PAUSED).attempt == 1
    assert store.resume("one").attempt == 1


def test_a_failed_job_that_is_resumed_is_the_same_job_once_more(store: JobStore) -> None:
    job = running(store)
    assert job.lease
    store.report("one", job.lease, S.FAILED, reason=Reason.CONFIG, message="no data")
    assert store.get("one").reason is Reason.CONFIG
    again = store.resume("one")
    assert (again.state, again.attempt, again.reason) == (S.PENDING, 2, None)


def test_trials_are_added_once_a_resume_and_only_at_rest(store: JobStore) -> None:
    job = running(store)
    for _ in range(2):
        with pytest.raises(ConflictError, match="is RUNNING; pause it"):
            store.resume("one", add_trials=4, budget=8)
    assert job.lease
    store.report("one", job.lease, S.PAUSED)
    more = store.resume("one", add_trials=4, budget=8)
    assert (more.added_trials, more.spec.budget, more.attempt) == (4, 12, 1)
    assert store.events("one")[-1].message == "resumed with 4 trials more: 12 for each strategy"
    with pytest.raises(ConflictError, match="is PENDING"):
        store.resume("one", add_trials=4, budget=8)  # asked again: not added again
    store.cancel("one")
    again = store.resume("one", add_trials=1, budget=8)  # what it grows from was seen too early
    assert (again.added_trials, again.spec.budget, again.attempt) == (5, 13, 2)
    assert store.resume("one").spec.budget == 13
    assert claimed(store).spec == SPEC.with_budget(13)
    assert [job.spec.budget for job in store.jobs()] == [13]
    assert store.submit("one", SPEC)[1] is False  # still what was asked for
    store.submit("two", SPEC)
    assert (store.get("two").added_trials, store.get("two").spec) == (0, SPEC)


def test_a_deleted_job_leaves_no_added_trials_behind(store: JobStore) -> None:
    store.submit("one", SPEC)
    store.cancel("one")
    store.resume("one", add_trials=4, budget=8)
    store.cancel("one")
    store.delete("one")
    assert store.submit("one", SPEC)[0].spec == SPEC


def test_a_store_from_before_trials_could_be_added_goes_on(store: JobStore, url: str) -> None:
    store.submit("one", SPEC)
    store.cancel("one")
    engine = sa.create_engine(make_url(url))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE job_additions"))
    engine.dispose()
    newer = JobStore(url)
    assert newer.get("one").added_trials == 0
    assert newer.resume("one", add_trials=1, budget=8).added_trials == 1
    newer.close()


def test_cancelling(store: JobStore) -> None:
    job = running(store)
    assert not store.cancel("one").at_once
    assert store.cancel("one", at_once=True).at_once
    with pytest.raises(ConflictError, match="cannot become PAUSED"):
        store.pause("one")
    assert job.lease
    assert store.report("one", job.lease, S.CANCELLED).state is S.CANCELLED
    assert store.cancel("one", at_once=True).state is S.CANCELLED
    assert not store.resume("one").at_once


def test_a_success_is_never_overwritten(store: JobStore) -> None:
    job = running(store)
    assert job.lease
    store.report("one", job.lease, S.SUCCEEDED)
    for ask in (store.pause, store.cancel, store.resume):
        with pytest.raises(ConflictError):
            ask("one")
    with pytest.raises(ConflictError, match="submit it under another --id with a larger"):
        store.resume("one", add_trials=1, budget=8)
    with pytest.raises(LeaseLost):
        store.report("one", job.lease, S.FAILED)
    assert store.get("one").state is S.SUCCEEDED


def test_only_jobs_at_rest_are_deleted(store: JobStore) -> None:
    store.submit("one", SPEC)
    with pytest.raises(ConflictError, match="cancel it first"):
        store.delete("one")
    store.cancel("one")
    store.delete("one")
    for ask in (store.get, store.events, store.delete, store.resume):
        with pytest.raises(NotFoundError, match="no job 'one'"):
            ask("one")
    assert store.submit("one", OTHER)[1]


def _submit_many(url: str, count: int, answers: Any) -> None:
    own = JobStore(url)
    for _ in range(count):
        answers.put(own.submit("same", SPEC)[1])
    own.close()


def test_many_identical_submits_at_once_are_one_job(store: JobStore, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    workers = [context.Process(target=_submit_many, args=(url, 13, answers)) for _ in range(4)]
    for worker in workers:
        worker.start()
    fresh = [answers.get(timeout=60) for _ in range(52)]
    for worker in workers:
        worker.join()
    assert sum(fresh) == 1
    assert states(store, "same") == [S.PENDING]


MOVES = st.lists(
    st.sampled_from(["pause", "cancel", "now", "resume", "more", "claim", "wait", *TRANSITIONS]),
    max_size=30,
)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(moves=MOVES)
def test_whatever_is_asked_in_whatever_order_only_allowed_changes_happen(
    tmp_path_factory: pytest.TempPathFactory, moves: list[str]
) -> None:
    clock = Clock()
    store = JobStore(f"sqlite:///{tmp_path_factory.mktemp('jobs') / 'jobs.db'}", clock=clock)
    store.submit("one", SPEC)
    leases, added = [], 0
    for move in moves:
        before = store.get("one")
        try:
            match move:
                case "pause" | "resume":
                    getattr(store, move)("one")
                case "cancel" | "now":
                    store.cancel("one", at_once=move == "now")
                case "more":
                    store.resume("one", add_trials=1, budget=8)
                    added += 1
                case "claim":
                    job = store.claim("a", 15.0)
                    leases += [job.lease] if job is not None else []
                case "wait":
                    clock.now += 20
                case _ if leases and leases[-1] is not None:
                    store.report("one", leases[-1], JobState(move))
        except NetlatheError:
            assert store.get("one") == before
    history = states(store)
    for before_, after in itertools.pairwise(history):
        assert after in TRANSITIONS[before_] or (before_ is after is S.CANCELLING)
    last = store.get("one")
    assert (last.added_trials, last.spec.budget) == (added, 8 + added)
    assert last.state is history[-1]
    assert (last.lease_until is not None) or last.state not in ACTIVE
    assert history.count(S.PENDING) - 1 >= last.attempt - 1
    assert not (last.state in ENDED and store.claim("b", 15.0))
    store.close()
