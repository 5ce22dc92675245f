"""The verbs for jobs: what they print, and with what exit code they end, for a folder and for a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from service.cli import app
from service.commands import job_logs, job_watch
from service.commands.job_watch import look_on
from service.errors import NetlatheError
from service.http.serving import http_server
from service.jobs.answers import JobAnswer, JobPlan
from service.jobs.client import JobsAt, JobsClient
from service.jobs.folder import JobsFolder
from service.jobs.progress import SessionProgress, utilisation
from service.jobs.spec import JobSpec
from service.jobs.states import JobState, Reason
from service.jobs.store import JobStore
from tests.service.jobs.ledgers import BAD, GOOD, write_run

CONFIG = Path(__file__).parents[3] / "configs" / "digits-quick.yaml"
SPEC = JobSpec(config=yaml.safe_load(CONFIG.read_text()), seed=0)
S = JobState


class Verbs:
    """The command line over one place of jobs."""

    def __init__(self, store: JobStore, folder: JobsFolder, options: list[str]) -> None:
        self.store, self.folder, self.options = store, folder, options

    def run(self, *arguments: str, fails: int = 0) -> tuple[str, str]:
        """(stdout, stderr or the error's text)."""
        done = CliRunner().invoke(app, [*arguments, *self.options])
        if isinstance(done.exception, NetlatheError):
            assert done.exception.exit_code == fails, done.exception
            return done.stdout, str(done.exception)
        assert done.exit_code == fails, (done.output, done.exception)
        return done.stdout, done.stderr

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json")[0])

    def failed(self, job_id: str, reason: Reason) -> None:
        self.store.submit(job_id, SPEC)
        job = self.store.claim("server", 15)
        assert job is not None
        assert job.lease is not None
        self.store.report(job_id, job.lease, S.FAILED, reason=reason, message="why")


@pytest.fixture(params=["folder", "server"])
def verbs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Verbs]:
    folder = JobsFolder(tmp_path / "results")
    folder.results.mkdir()
    store = JobStore(folder.database_url)
    if request.param == "folder":
        yield Verbs(store, folder, ["--results", str(folder.results)])
    else:
        with http_server(folder.database_url, folder, "0", token_file=None) as url:
            yield Verbs(store, folder, ["--server", url])
    store.close()


def test_each_verb_gives_the_job_as_json(verbs: Verbs) -> None:
    job = verbs.json("submit", str(CONFIG), "--id", "one")
    assert (job["id"], job["state"]) == ("one", "PENDING")
    fields = set(JobAnswer.model_fields)
    for verb, state in (
        (("pause", "one"), "PAUSED"),
        (("resume", "one", "--add-trials", "3"), "PENDING"),
        (("cancel", "one", "--drain"), "CANCELLED"),
        (("resume", "one"), "PENDING"),
        (("cancel", "one", "--now"), "CANCELLED"),
        (("status", "one"), "CANCELLED"),
        (("logs", "one"), "CANCELLED"),
        (("delete", "one"), "CANCELLED"),
    ):
        told = verbs.json(*verb)
        assert (told["state"], told["added_trials"]) == (state, 0 if verb[0] == "pause" else 3)
        assert fields <= set(told), verb
    assert verbs.json("list") == verbs.json("retry-failed") == []


def test_for_people(verbs: Verbs) -> None:
    verbs.run("submit", str(CONFIG), "--id", "one")
    verbs.run("pause", "one")
    assert "3 trials added" in verbs.run("resume", "one", "--add-trials", "3")[1]
    out, _ = verbs.run("list")
    assert out.startswith("Jobs of ")
    assert "nothing evaluated yet" in out
    out, _ = verbs.run("status", "one")
    assert "one: PENDING" in out
    assert "3 trials for each strategy were added" in out
    assert "resumed with 3 trials more" in out
    assert ("run directory" in out) is (verbs.options[0] == "--results")
    verbs.run("cancel", "one")
    assert "its run directory stays" in verbs.run("delete", "one")[1]


def test_errors_have_the_same_exit_code_everywhere(verbs: Verbs) -> None:
    verbs.run("submit", str(CONFIG), "--id", "one")
    for verb in ("status", "watch", "logs", "pause", "cancel", "best", "delete", "retry-failed"):
        assert "no job 'two'" in verbs.run(verb, "two", fails=3)[1]
    assert "no job 'two'" in verbs.run("resume", "two", fails=3)[1]
    verbs.run("best", "one", fails=3)
    verbs.run("logs", "one", fails=3)
    verbs.run("delete", "one", fails=4)
    verbs.run("resume", "one", "--add-trials", "1", fails=4)
    verbs.run("submit", str(CONFIG), "--id", "one", "--seed", "9", fails=4)
    verbs.run("submit", str(CONFIG), "--id", "A", fails=2)
    verbs.run("list", "--state", "odd", fails=2)
    verbs.run("retry-failed", "--reason", "odd", fails=2)
    verbs.run("logs", "one", "-f", "--trial", "1", fails=2)
    verbs.run("resume", "one", "--accept-drift", fails=2)


def test_a_wrong_config_makes_no_folder(tmp_path: Path) -> None:
    verbs = Verbs(cast(JobStore, None), JobsFolder(tmp_path), ["--results", str(tmp_path / "new")])
    verbs.run("submit", str(CONFIG), "--set", "search.budgte=1", fails=2)
    verbs.run("submit", str(CONFIG), "--device-file", str(tmp_path / "none"), fails=3)
    assert not (tmp_path / "new").exists()


def test_an_unreachable_server_is_a_failure_with_advice() -> None:
    done = CliRunner().invoke(app, ["list", "--server", "http://localhost:1"])
    assert isinstance(done.exception, NetlatheError)
    assert done.exception.exit_code == 1
    assert "netlathe serve --http" in str(done.exception)


def test_server_and_token_by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, token = JobsFolder(tmp_path / "results"), tmp_path / "token"
    folder.results.mkdir()
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    with http_server(folder.database_url, folder, "0", token_file=token) as url:
        monkeypatch.setenv("NETLATHE_SERVER", url)
        monkeypatch.setenv("NETLATHE_TOKEN_FILE", str(token))
        done = CliRunner().invoke(app, ["submit", str(CONFIG), "--id", "one"])
        assert done.exit_code == 0, done.output
        done = CliRunner().invoke(app, ["export", "one", "--to", str(tmp_path / "to")])
        assert "exported nothing yet" in str(done.exception)
        done = CliRunner().invoke(app, ["export", "one", "--to", "x", "--pick", "knee"])
        assert "for runs here" in str(done.exception)
        (folder.run("one").best).mkdir(parents=True)
        (folder.run("one").best / "architecture.json").write_text("{}")
        done = CliRunner().invoke(app, ["export", "one", "--to", str(tmp_path / "to"), "--json"])
        assert json.loads(done.stdout)["job"] == "one"
        assert (tmp_path / "to" / "architecture.json").read_text() == "{}"


def test_a_local_job_is_exported_as_its_run(verbs: Verbs, tmp_path: Path) -> None:
    verbs.run("submit", str(CONFIG), "--id", "one")
    _, said = verbs.run("export", "one", "--to", str(tmp_path / "to"), fails=3)
    local = verbs.options[0] == "--results"
    assert ("is not a run" if local else "exported nothing yet") in said


def test_retrying_what_failed(verbs: Verbs) -> None:
    assert "nothing to retry" in verbs.run("retry-failed")[1]
    verbs.failed("lost", Reason.LOST)
    verbs.failed("wrong", Reason.CONFIG)
    verbs.failed("other", Reason.LOST)
    verbs.store.submit("waits", SPEC)
    out, said = verbs.run("retry-failed", "waits", "lost", "wrong", "--reason", "LOST")
    assert out == "lost: PENDING, attempt 2\n"
    assert "waits: PENDING; left as it is" in said
    assert "wrong: FAILED CONFIG; left as it is" in said
    assert [job["id"] for job in verbs.json("retry-failed", "--reason", "internal")] == []
    assert [job["id"] for job in verbs.json("retry-failed")] == ["wrong", "other"]
    assert {job.state for job in verbs.store.jobs()} == {S.PENDING}


def test_one_trial_for_people_and_as_json(verbs: Verbs) -> None:
    verbs.store.submit("one", SPEC)
    write_run(verbs.folder.run("one"))
    out, _ = verbs.run("logs", "one", "--trial", BAD)
    assert "ppo-0, trial 1: fedcba9876543210" in out
    assert "failed: OOM: needs 9 GB, reward -1.0000, paid 1" in out
    assert f"t INFO {BAD}: OOM: needs 9 GB" in out
    out, _ = verbs.run("logs", "one", "--trial", "0")
    assert "stage1.layer0.op group_conv_k3, stage1.layer0.skip False" in out
    assert "accuracy 90.0 %, reward 0.7000" in out
    assert "8 s on worker-1" in out
    assert "1.5 ms predicted, 3 mJ estimated, 1,234 parameters, 56,789 MACs" in out
    assert verbs.json("logs", "one", "--trial", GOOD)["rows"][0]["digest"] == GOOD
    best = verbs.json("best", "one")
    assert [session["best_digest"] for session in best] == [GOOD]


def test_following_a_log_to_its_end(verbs: Verbs, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs.store.submit("one", SPEC)
    log = verbs.folder.log("one")
    log.parent.mkdir(parents=True)
    log.write_text("first\n" * 5000)
    naps = 0

    def nap(_: float) -> None:
        nonlocal naps
        naps += 1
        with log.open("a") as file:
            file.write(f"later {naps}\n")
        if naps == 2:
            verbs.store.cancel("one")

    monkeypatch.setattr(job_logs.time, "sleep", nap)
    assert verbs.run("logs", "one", "-f")[0] == "first\n" * 5000 + "later 1\nlater 2\n"
    parts = [json.loads(line) for line in verbs.run("logs", "one", "-f", "--json")[0].splitlines()]
    assert "".join(part["text"] for part in parts) == log.read_text()
    assert naps == 2


def session(paid: float, seconds: float = 0.0) -> SessionProgress:
    return SessionProgress(
        name="ppo-0", paid=paid, budget=64, children=int(paid), train_seconds=seconds, front=3,
        best_reward=0.5, best_accuracy=0.9, best_latency_ms=1.25, best_digest=GOOD,
    )  # fmt: skip


def test_utilisation_by_hand() -> None:
    """Two workers, 100 s, of which children took 150 of 200 worker-seconds."""
    now, before = [session(30, 200)], [session(10, 50)]
    assert utilisation(now, before, 100, 2) == pytest.approx(0.75)
    assert utilisation(now, before, 100, 1) == 1.0  # some began before it was watched
    assert utilisation(now, before, 100, None) is None
    assert utilisation(now, now, 100, 2) is None


class Scripted:
    """A job that is something else each time that it is asked for."""

    def __init__(self, *jobs: JobAnswer) -> None:
        self.jobs = list(jobs)

    def when_reachable(self, ask: Any) -> Any:
        return ask()

    def job(self, job_id: str) -> JobAnswer:
        return self.jobs.pop(0) if len(self.jobs) > 1 else self.jobs[0]

    def plan(self, job_id: str) -> JobPlan:
        return JobPlan(sessions=2, budget=64, workers=2)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobsClient:
    """At work for two looks, the second 600 s after the first; then done."""
    store = JobStore(JobsFolder(tmp_path).database_url)
    job = JobAnswer.of(store.submit("one", SPEC)[0], JobsFolder(tmp_path))
    store.close()
    running = job.model_copy(update={"state": "RUNNING", "sessions": [session(16, 100)]})
    later = running.model_copy(update={"sessions": [session(32, 1000)]})
    done = later.model_copy(update={"state": "SUCCEEDED"})
    clock = iter([0.0, 0.0, 300.0, 600.0, 700.0, 800.0])
    monkeypatch.setattr(job_watch.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(job_watch.time, "sleep", lambda _: None)
    return cast(JobsClient, Scripted(running, running, later, later, done))


def test_watching_says_a_line_a_change(scripted: JobsClient) -> None:
    """16 children in 10 minutes; 32 and a control's 64 are left. 900 s of two workers' 1200 s."""
    console = Console(file=StringIO(), force_terminal=False)
    assert look_on(scripted, "one", console).state == "SUCCEEDED"
    first, second, last = cast(StringIO, console.file).getvalue().splitlines()
    assert first == "RUNNING: ppo-0 16/64 children, Pareto size 3, best 90.0 %"
    assert second == (
        "RUNNING: ppo-0 32/64 children, Pareto size 3, best 90.0 %, 96 trials/h, "
        "30 min 00 s to 2 h 00 min left, workers about 75 % busy"
    )
    assert last.startswith("SUCCEEDED: ")


def test_what_follows_the_search_does_not_count(
    scripted: JobsClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is paid for after 600 s; that the picks are trained for another 1000 s slows nothing down."""
    jobs = cast(Scripted, scripted).jobs
    searched = [session(64, 600), session(64, 600)]
    jobs[2:] = [job.model_copy(update={"sessions": searched}) for job in jobs[2:]]
    jobs[3] = jobs[3].model_copy(update={"message": "finals"})
    clock = iter([0.0, 0.0, 300.0, 600.0])
    monkeypatch.setattr(job_watch.time, "monotonic", lambda: next(clock))
    console = Console(file=StringIO(), force_terminal=False)
    look_on(scripted, "one", console)
    last = cast(StringIO, console.file).getvalue().splitlines()[-1]
    assert last.startswith("SUCCEEDED: ")
    assert last.endswith("best 90.0 %, 672 trials/h, workers about 92 % busy")


def test_watching_on_a_terminal_is_one_table_that_changes(scripted: JobsClient) -> None:
    console = Console(file=StringIO(), force_terminal=True, width=120)
    look_on(scripted, "one", console)
    said = cast(StringIO, console.file).getvalue()
    for part in (
        "one: SUCCEEDED",
        "Pareto size",
        "32/64",
        "1.25",
        "96 trials/h",
        "about 75 % busy",
    ):
        assert part in said
    assert "\x1b[2K" in said or "\x1b[1A" in said, "drawn over"


def test_watching_as_json_is_one_object_a_line(
    scripted: JobsClient, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(self: JobsAt, *, make: bool = False) -> Any:
        from contextlib import nullcontext

        return nullcontext(scripted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobsAt, "opened", opened)
        job_watch.run_watch("one", JobsAt(Path()), as_json=True)
    looks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [look["state"] for look in looks] == ["RUNNING", "RUNNING", "SUCCEEDED"]
    assert looks[0]["pace"] is None
    assert looks[1]["pace"]["per_hour"] == pytest.approx(96)
    assert looks[1]["utilisation"] == pytest.approx(0.75)
    assert replace(session(32, 1000)) == SessionProgress(**looks[1]["sessions"][0])


def test_a_job_that_rests_is_shown_once(verbs: Verbs) -> None:
    verbs.store.submit("one", SPEC)
    verbs.store.cancel("one")
    out, _ = verbs.run("watch", "one")
    assert out.splitlines() == [
        "CANCELLED: nothing evaluated yet",
        "one: CANCELLED cancel asked for",
    ]
