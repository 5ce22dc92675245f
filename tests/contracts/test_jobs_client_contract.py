"""What every place of jobs promises the verbs: a results folder here, and a server over a real socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.deployment import MAX_WORKERS, RAY_ADDRESS
from service.errors import ConflictError, NotFoundError, UsageError
from service.http.serving import http_server
from service.jobs.client import JobsAt, JobsClient
from service.jobs.folder import JobsFolder
from service.jobs.plan import keep_place
from service.jobs.states import JobState, Reason
from service.jobs.store import JobStore
from tests.service.jobs.ledgers import BAD, GOOD, write_run

CONFIG: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "configs" / "digits-quick.yaml").read_text()
)
S = JobState


@pytest.fixture
def folder(tmp_path: Path) -> JobsFolder:
    return JobsFolder(tmp_path / "results")


@pytest.fixture
def store(folder: JobsFolder) -> Iterator[JobStore]:
    """The server's."""
    folder.results.mkdir()
    made = JobStore(folder.database_url)
    yield made
    made.close()


@pytest.fixture(params=["folder", "server"])
def client(
    request: pytest.FixtureRequest, store: JobStore, folder: JobsFolder, tmp_path: Path
) -> Iterator[JobsClient]:
    if request.param == "folder":
        with JobsAt(folder.results).opened() as made:
            yield made
        return
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    with (
        http_server(folder.database_url, folder, "0", token_file=token) as url,
        JobsAt(folder.results, server=url, token_file=token).opened() as made,
    ):
        yield made


def submit(client: JobsClient, job_id: str | None = "one", **more: Any) -> Any:
    config = {**CONFIG, **more}
    return client.submit(config, source="config", job_id=job_id, device_file=None)


def test_submitting(client: JobsClient, tmp_path: Path) -> None:
    job, fresh = submit(client)
    assert (job.id, job.state, job.attempt, job.sessions, fresh) == ("one", S.PENDING, 1, [], True)
    assert submit(client) == (job, False)
    assert submit(client, None)[0].id == f"{CONFIG['name']}-s0"
    with pytest.raises(ConflictError, match="asks for something else"):
        submit(client, seed=7)
    for bad in ("../x", "A", "a/b"):
        with pytest.raises(UsageError, match="expected up to 63"):
            submit(client, bad)
    with pytest.raises(UsageError, match="did you mean"):
        submit(client, "two", search={"budgte": 1})
    with pytest.raises(UsageError):
        submit(client, "two", search={"budget": float("nan")})
    with pytest.raises(NotFoundError, match="no device file at"):
        client.submit(CONFIG, source="x", job_id="two", device_file=tmp_path / "nothing.json")
    device = tmp_path / "device.json"
    device.write_text("{}")
    assert client.submit(CONFIG, source="x", job_id="two", device_file=device)[1]


def test_what_is_not_there(client: JobsClient) -> None:
    for job_id in ("nothing", "../../etc", "A", "a/b", "", "."):
        for ask in (
            client.job,
            client.plan,
            client.events,
            client.pause,
            client.resume,
            client.best,
            client.log_end,
        ):
            with pytest.raises(NotFoundError, match="no job"):
                ask(job_id)
        for more in (
            lambda job_id=job_id: client.cancel(job_id, now=True),
            lambda job_id=job_id: client.delete(job_id, files=True),
            lambda job_id=job_id: client.log_part(job_id, 0),
            lambda job_id=job_id: client.trial(job_id, "0"),
        ):
            with pytest.raises(NotFoundError, match="no job"):
                more()


def test_asking_for_things(client: JobsClient, store: JobStore) -> None:
    submit(client)
    assert client.pause("one").state == S.PAUSED
    assert client.resume("one").state == S.PENDING
    lease = store.claim("server", 15)
    assert lease is not None
    assert client.cancel("one", now=True).state == S.CANCELLING
    assert store.get("one").at_once
    with pytest.raises(ConflictError, match="cannot become PAUSED"):
        client.pause("one")
    assert [event.state for event in client.events("one")] == [
        "PENDING", "PAUSED", "PENDING", "STARTING", "CANCELLING",
    ]  # fmt: skip


def test_adding_trials(client: JobsClient, store: JobStore) -> None:
    submit(client)
    budget = client.plan("one").budget
    with pytest.raises(ConflictError, match="pause it"):
        client.resume("one", 5)
    client.cancel("one", now=False)
    job = client.resume("one", 5)
    assert (job.state, job.attempt, job.added_trials) == (S.PENDING, 2, 5)
    assert client.plan("one").budget == store.get("one").spec.budget == budget + 5
    scheduled = {**CONFIG["search"], "strategy": {"name": "ppo", "keep_schedule": {}}}
    submit(client, "two", search=scheduled)
    client.pause("two")
    with pytest.raises(UsageError, match=r"ppo\.keep_schedule follows the share"):
        client.resume("two", 5)
    assert client.resume("two").added_trials == 0


def test_many_jobs_and_those_in_one_state(client: JobsClient) -> None:
    names = [f"job-{number:03}" for number in range(101)]
    for name in names:
        submit(client, name)
    client.pause("job-007")
    assert [job.id for job in client.jobs()] == names
    assert [job.id for job in client.jobs(S.PAUSED)] == ["job-007"]
    assert client.jobs(S.RUNNING) == []


def test_what_a_job_is_to_do(client: JobsClient) -> None:
    submit(client, evaluator={"kind": "ray", "workers": 3})
    plan = client.plan("one")
    assert (plan.sessions, plan.workers) == (1 + len(CONFIG["search"]["controls"]), 3)
    submit(client, "two", evaluator={"kind": "ray", "address": "10.0.0.1:6379"})
    assert client.plan("two").workers is None
    submit(client, "three", evaluator={"kind": "local"})
    assert client.plan("three").workers == 1


@pytest.mark.parametrize(("told", "workers"), [({}, 6), ({MAX_WORKERS: "2"}, 2)])
def test_a_plan_knows_the_share_of_the_cores(
    client: JobsClient, folder: JobsFolder, told: dict[str, str], workers: int
) -> None:
    """As `serve --jobs N` gives one to each job's process."""
    for job_id, asked in (("one", {"workers": 6}), ("two", {"workers": 1}), ("local", None)):
        submit(client, job_id, evaluator={"kind": "ray", **asked} if asked else {"kind": "local"})
        keep_place(folder, job_id, told | {"NETLATHE_JOB_STORE": "postgresql://me:secret@db/x"})
        assert "secret" not in folder.place(job_id).read_text()
    assert [client.plan(job_id).workers for job_id in ("one", "two", "local")] == [workers, 1, 1]
    folder.place("one").write_text('{"NETLATHE_MAX_WORKERS": "many"}')
    assert client.plan("one").workers == 6
    client.cancel("one", now=True)
    client.delete("one", files=False)
    assert not folder.place("one").exists()


def test_a_cluster_without_a_share_has_any_number_of_workers(
    client: JobsClient, folder: JobsFolder
) -> None:
    submit(client, evaluator={"kind": "ray"})
    assert client.plan("one").workers == len(os.sched_getaffinity(0))
    keep_place(folder, "one", {RAY_ADDRESS: "10.0.0.1:6379"})
    assert client.plan("one").workers is None
    keep_place(folder, "one", {RAY_ADDRESS: "10.0.0.1:6379", MAX_WORKERS: "12"})
    assert client.plan("one").workers == 12


def test_a_run_at_work(client: JobsClient, folder: JobsFolder) -> None:
    submit(client)
    assert client.best("one") == []
    with pytest.raises(NotFoundError, match="no trial 0"):
        client.trial("one", "0")
    write_run(folder.run("one"))
    ppo, random = client.best("one")
    assert (ppo.best_digest, ppo.best_accuracy, ppo.train_seconds) == (GOOD, 0.9, 10.0)
    assert (random.best_digest, random.children) == (None, 1)
    assert client.job("one").sessions == [ppo, random]


def test_one_trial(client: JobsClient, folder: JobsFolder) -> None:
    submit(client)
    write_run(folder.run("one"))
    found = client.trial("one", "0")
    assert [(row.session, row.digest) for row in found.rows] == [("ppo-0", GOOD), ("random-0", BAD)]
    good = found.rows[0]
    assert good.architecture == "conv_k3@0.5 identity"
    assert len(good.choices) == 10
    assert good.choices["stage1.layer0.op"] == "group_conv_k3"
    assert good.choices["stage2.layer1.skip"] is True
    assert good.choices["stage2.layer1.keep"] == 0.25
    assert good.result is not None
    assert (good.result["accuracy"], good.result["worker"]) == (0.9, "worker-1")
    assert good.costs is not None
    assert good.costs["latency_ms"] == {"value": 1.5, "std": 0.1, "source": "predicted"}
    failed = client.trial("one", BAD[:6])
    assert [(row.session, row.sequence) for row in failed.rows] == [("ppo-0", 1), ("random-0", 0)]
    assert failed.rows[0].result is not None
    assert failed.rows[0].result["message"] == "needs 9 GB"
    assert [line.message for line in failed.log] == [f"{BAD}: OOM: needs 9 GB"]
    assert [line.message for line in client.trial("one", GOOD).log] == [f"looked at {GOOD}"]
    for missing in ("7", "abcd"):
        with pytest.raises(NotFoundError, match=f"no trial {missing}"):
            client.trial("one", missing)
    for bad in ("x", "../one", "%", "", "abc", "-1"):
        with pytest.raises(UsageError, match="expected a number, or a digest"):
            client.trial("one", bad)


def test_logs_from_a_place_on(client: JobsClient, folder: JobsFolder) -> None:
    submit(client)
    assert client.log_end("one") == ""
    nothing = client.log_part("one", 0)
    assert (nothing.text, nothing.next) == ("", 0)
    log = folder.log("one")
    log.parent.mkdir(parents=True, exist_ok=True)
    text = "größer\n" * 20_000
    log.write_bytes(text.encode() + "ß".encode()[:1])  # a character that is being written
    read, offset, parts = "", 0, 0
    while (part := client.log_part("one", offset)).next > offset:
        assert len(part.text.encode()) <= 65_536
        read, offset, parts = read + part.text, part.next, parts + 1
    assert (read, offset) == (text, len(text.encode()))
    assert parts > 1
    with log.open("ab") as file:
        file.write("ß".encode()[1:])
    assert client.log_part("one", offset).text == "ß"
    assert client.log_part("one", 10**9).text == ""
    assert client.log_end("one").endswith("größer\nß")


@pytest.mark.parametrize("files", [False, True])
def test_deleting(client: JobsClient, store: JobStore, folder: JobsFolder, files: bool) -> None:
    submit(client)
    with pytest.raises(ConflictError, match="cancel it first"):
        client.delete("one", files=files)
    write_run(folder.run("one"))
    folder.log("one").parent.mkdir(parents=True, exist_ok=True)
    folder.log("one").write_text("said")
    job = store.claim("server", 15)
    assert job is not None
    assert job.lease is not None
    store.report("one", job.lease, S.FAILED, reason=Reason.INTERNAL)
    client.delete("one", files=files)
    assert not store.knows("one")
    assert not folder.log("one").exists()
    assert folder.run("one").path.exists() is not files
