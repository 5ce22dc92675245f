"""The server's loop, with processes that do what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import NetlatheError
from service.jobs.folder import JobsFolder
from service.jobs.handle import JobHandle
from service.jobs.records import Job
from service.jobs.spec import JobSpec
from service.jobs.states import JobState, Reason
from service.jobs.store import JobStore
from service.jobs.supervisor import DEATHS, Supervisor

SPEC = JobSpec(config={"name": "digits"}, seed=0)
S = JobState


class FakeProcess(JobHandle):
    """Runs until `ends` or it is asked to stop."""

    def __init__(self, job_id: str, spec: JobSpec, folder: JobsFolder) -> None:
        self.job_id = job_id
        self.resumes = folder.run(job_id).run_file.is_file()
        self.started = 0.0
        self.code: int | None = None
        self.words = ""
        self.obeys = True
        self.closed = False

    @property
    def where(self) -> str:
        return "here"

    def exit_code(self) -> int | None:
        return self.code

    def ends(self, code: int, words: str = "") -> None:
        self.code, self.words = code, words

    def ask_to_stop(self) -> None:
        if self.obeys:
            self.code = 75

    def kill(self) -> None:
        self.code = -9

    def close(self) -> None:
        self.closed = True

    def last_words(self) -> str:
        return self.words


class Bench:
    """A supervisor, its store, and the processes it started."""

    def __init__(self, folder: Path, *, lease_s: float = 15.0) -> None:
        self.folder = JobsFolder(folder)
        self.now = 1000.0
        self.store = JobStore(self.folder.database_url, clock=lambda: self.now)
        self.started: list[FakeProcess] = []
        self.server = self.another(lease_s=lease_s)

    def another(self, *, lease_s: float = 15.0, at_once: int = 1) -> Supervisor:
        def start(job_id: str, spec: JobSpec, folder: JobsFolder) -> JobHandle:
            self.started.append(FakeProcess(job_id, spec, folder))
            self.started[-1].started = float("inf")  # never steady
            return self.started[-1]

        return Supervisor(
            self.store, self.folder, at_once=at_once, start=start, lease_s=lease_s, retry_s=0.0
        )

    def job(self, job_id: str = "one") -> Job:
        return self.store.get(job_id)

    def running(self, job_id: str = "one") -> FakeProcess:
        self.store.submit(job_id, SPEC)
        self.server.step()
        assert self.job(job_id).state is S.RUNNING
        return self.started[-1]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


@pytest.mark.parametrize(
    ("code", "words", "state", "reason"),
    [
        (0, "", S.SUCCEEDED, None),
        (70, "something broke", S.FAILED, Reason.INTERNAL),
        (2, "budget: expected a number", S.FAILED, Reason.CONFIG),
        (3, "no data at x", S.FAILED, Reason.CONFIG),
        (4, "already exists", S.FAILED, Reason.CONFIG),
        (5, "the ledger is damaged", S.FAILED, Reason.CORRUPT_CHECKPOINT),
        (6, "6 of 10 children failed", S.FAILED, Reason.TOO_MANY_FAILURES),
        (7, "2 h are over", S.FAILED, Reason.DEADLINE),
        (8, "", S.PAUSED, Reason.DISK_FULL),
        (76, "paused: latencies have drifted", S.PAUSED, Reason.DRIFT),
    ],
)
def test_what_becomes_of_a_job_whose_process_ends(
    bench: Bench, code: int, words: str, state: JobState, reason: Reason | None
) -> None:
    process = bench.running()
    process.ends(code, words)
    bench.server.step()
    job = bench.job()
    assert (job.state, job.reason) == (state, reason)
    assert job.message == (words if code else "")
    assert process.closed
    assert bench.server.running == ()


def test_a_process_that_somebody_else_stopped_goes_on(bench: Bench) -> None:
    """A machine that shuts down signals the server and its processes at once; preemption is no failure."""
    bench.running().ends(75)
    bench.server.step()
    assert [e.state for e in bench.store.events("one")][-3:] == [
        S.RECOVERING,
        S.STARTING,
        S.RUNNING,
    ]


def test_jobs_run_one_after_the_other_or_side_by_side(bench: Bench, tmp_path: Path) -> None:
    for job_id in ("one", "two", "three"):
        bench.store.submit(job_id, SPEC)
        bench.now += 1
    bench.server.step()
    bench.server.step()
    assert bench.server.running == ("one",)
    bench.started[0].ends(0)
    bench.server.step()
    assert bench.server.running == ("two",)
    wide = bench.another(at_once=2)
    wide.step()
    assert wide.running == ("three",)


def test_pause_stops_the_process_and_resume_starts_another(bench: Bench) -> None:
    bench.running()
    bench.store.pause("one")
    bench.server.step()
    bench.server.step()
    assert bench.job().state is S.PAUSED
    bench.server.step()
    assert len(bench.started) == 1
    bench.store.resume("one")
    bench.server.step()
    assert bench.job().state is S.RUNNING
    assert len(bench.started) == 2


def test_cancel_waits_or_does_not(bench: Bench) -> None:
    process = bench.running()
    process.obeys = False
    bench.store.cancel("one")
    bench.server.step()
    bench.server.step()
    assert bench.job().state is S.CANCELLING
    bench.store.cancel("one", at_once=True)
    bench.server.step()
    assert process.code == -9
    bench.server.step()
    assert bench.job().state is S.CANCELLED


def test_a_job_that_ends_while_it_is_cancelled_has_succeeded(bench: Bench) -> None:
    process = bench.running()
    process.obeys = False
    bench.store.cancel("one")
    process.ends(0)
    bench.server.step()
    assert bench.job().state is S.SUCCEEDED


def test_a_lost_process_is_no_failure_until_it_is_lost_again_and_again(bench: Bench) -> None:
    process = bench.running()
    for death in range(1, DEATHS):
        process.ends(-9)
        bench.server.step()  # it is reported, and taken again
        assert bench.job().state is S.RUNNING
        assert len(bench.started) == death + 1
        process = bench.started[-1]
    process.ends(-11)
    bench.server.step()
    job = bench.job()
    assert (job.state, job.reason, job.attempt) == (S.FAILED, Reason.LOST, 1)
    assert "signal 11, 3 times in a row" in job.message


@pytest.mark.parametrize("code", [10, 1])
def test_lost_workers_are_as_a_lost_process(bench: Bench, code: int) -> None:
    """Noticed by the search (10), or by Ray, which ends the process with 1."""
    process = bench.running()
    for _ in range(1, DEATHS):
        process.ends(code, "the Ray cluster is gone")
        bench.server.step()
        assert bench.job().state is S.RUNNING
        process = bench.started[-1]
    process.ends(code, "the Ray cluster is gone")
    bench.server.step()
    job = bench.job()
    assert (job.state, job.reason) == (S.FAILED, Reason.LOST)
    assert "the Ray cluster is gone, 3 times in a row" in job.message


def test_a_partition_of_five_minutes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot reach the store keeps at it; when it comes back, another has long had the job."""
    near = JobStore(bench.folder.database_url, clock=lambda: bench.now)
    far = bench.another()
    monkeypatch.setattr(far, "_store", near)
    bench.store.submit("one", SPEC)
    far.step()
    theirs = bench.started[-1]

    def away(*_: object, **__: object) -> None:
        raise NetlatheError("connection timed out")

    with monkeypatch.context() as cut:
        for name in ("renew", "report", "claim"):
            cut.setattr(near, name, away)
        for second in range(300):
            bench.now += 1
            far.step()
            bench.server.step()
            if second < 10:
                assert bench.server.running == ()  # the lease holds
        assert far.running == bench.server.running == ("one",)
        assert theirs.code is None, "the run's lock keeps the two apart"
        ours = bench.started[-1]
    far.step()
    assert (theirs.code, far.running) == (-9, ())
    assert bench.job().state is S.RUNNING
    ours.ends(0)
    bench.server.step()
    states = [e.state for e in bench.store.events("one")]
    assert states.count(S.SUCCEEDED) == 1
    assert states.count(S.STARTING) == 2
    near.close()


def test_deaths_far_apart_are_not_counted_together(bench: Bench) -> None:
    process = bench.running()
    for _ in range(2 * DEATHS):
        process.started = float("-inf")
        process.ends(-9)
        bench.server.step()
        assert bench.job().state is S.RUNNING
        process = bench.started[-1]


def test_a_stopping_server_leaves_its_jobs_to_the_next(bench: Bench) -> None:
    bench.running()
    bench.store.submit("two", SPEC)
    bench.server.stop()
    bench.server.step()
    assert bench.server.running == ()
    assert bench.job().state is S.RECOVERING
    assert bench.job("two").state is S.PENDING
    bench.another().step()
    assert bench.job().state is S.RUNNING


def test_a_server_that_was_silent_too_long_ends_its_process(bench: Bench) -> None:
    """SIGSTOP past the lease, another server takes over, SIGCONT."""
    process = bench.running()
    bench.now += 100
    other = bench.another()
    other.step()
    assert bench.job().lease is not None
    token = bench.job().lease
    process.ends(0)  # what it did meanwhile is not reported by the server that lost it
    bench.server.step()
    assert bench.job().state is S.RUNNING
    assert bench.job().lease == token
    assert other.running == ("one",)
    assert bench.server.running == ()


def test_a_process_of_a_job_that_is_held_elsewhere_is_killed(bench: Bench) -> None:
    process = bench.running()
    bench.now += 100
    bench.another().step()
    bench.server.step()
    assert process.code == -9


def test_a_run_directory_in_use_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    run = bench.folder.run("one")
    run.path.mkdir()
    run.run_file.write_text("")
    process = bench.running()
    assert process.resumes
    process.ends(9, "in use by another netlathe process")
    bench.server.step()
    assert bench.job().state is S.RECOVERING


def test_a_run_that_another_server_s_process_has_begun_meanwhile_is_gone_on_with(
    bench: Bench,
) -> None:
    process = bench.running()
    assert not process.resumes
    run = bench.folder.run("one")
    run.path.mkdir()
    run.run_file.write_text("")
    process.ends(4, "already exists")
    bench.server.step()
    assert bench.job().state is S.RECOVERING


def test_a_run_that_cannot_be_gone_on_with_is_not_waited_for(bench: Bench) -> None:
    run = bench.folder.run("one")
    run.path.mkdir()
    run.run_file.write_text("")
    bench.running().ends(4, "the data of this run changed since it began")
    bench.server.step()
    assert (bench.job().state, bench.job().reason) == (S.FAILED, Reason.CONFIG)


def test_an_outage_of_the_store_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = bench.running()
    process.ends(0)

    def down(*_: object, **__: object) -> None:
        raise NetlatheError("the database is away")

    with monkeypatch.context() as patch:
        for name in ("renew", "report", "claim"):
            patch.setattr(bench.store, name, down)
        for _ in range(5):
            bench.server.step()
    assert bench.job().state is S.RUNNING
    bench.server.step()
    assert bench.job().state is S.SUCCEEDED
    assert [e.state for e in bench.store.events("one")].count(S.SUCCEEDED) == 1


def test_a_pause_between_taking_and_starting_is_not_lost(bench: Bench) -> None:
    bench.store.submit("one", SPEC)
    original = bench.store.claim

    def claim_then_pause(owner: str, lease_s: float) -> Job | None:
        job = original(owner, lease_s)
        if job is not None:
            bench.store.pause("one")
        return job

    bench.store.claim = claim_then_pause  # type: ignore[method-assign]
    for _ in range(3):
        bench.server.step()
    assert bench.job().state is S.PAUSED


def test_a_process_that_cannot_be_started(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> JobHandle:
        raise OSError(28, "No space left on device")

    server = Supervisor(bench.store, bench.folder, start=fails)
    bench.store.submit("one", SPEC)
    server.step()
    assert (bench.job().state, bench.job().reason) == (S.PAUSED, Reason.DISK_FULL)


def test_machines_that_are_lost_are_no_deaths_however_often(bench: Bench) -> None:
    process = bench.running()
    for _ in range(DEATHS + 2):
        process.lost = True
        process.ends(-9, "its node died")
        bench.server.step()
        assert bench.job().state in (S.RECOVERING, S.RUNNING)
        bench.server.step()
        assert bench.job().state is S.RUNNING
        process = bench.started[-1]
