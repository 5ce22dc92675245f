"""A job's process somewhere on a cluster, with a cluster that does what a test says."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from evaluation.ray_cluster import WorkerLost
from service.deployment import MAX_WORKERS
from service.jobs import ray_process
from service.jobs.folder import JobsFolder
from service.jobs.process_host import FolderNotShared, ProcessHost
from service.jobs.ray_process import RayJobProcess
from service.jobs.spec import JobSpec

SPEC = JobSpec(config={"name": "digits"}, seed=0)


class Method:
    """Of an actor: each call's reply is a `Future` that the test may answer."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.reply: Future[Any] = Future()

    def remote(self, *arguments: Any) -> Future[Any]:
        self.calls.append(arguments)
        return self.reply


class FakeActor:
    def __init__(self) -> None:
        self.start, self.wait, self.stop, self.kill = Method(), Method(), Method(), Method()


class FakeHosts:
    """As `RayHosts`."""

    address = "head:6379"

    def __init__(self) -> None:
        self.actor = FakeActor()
        self.killed: list[Any] = []
        self.fault: WorkerLost | None = None

    def host(self, kind: type) -> FakeActor:
        assert kind is ProcessHost
        if self.fault is not None:
            raise self.fault
        return self.actor

    def is_there(self, reply: Future[Any]) -> bool:
        return reply.done()

    def get(self, reply: Future[Any]) -> Any:
        return reply.result(timeout=0)

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


@pytest.fixture
def hosts() -> FakeHosts:
    return FakeHosts()


@pytest.fixture
def process(hosts: FakeHosts, tmp_path: Path) -> RayJobProcess:
    return RayJobProcess("one", SPEC, JobsFolder(tmp_path), {"A": "b", MAX_WORKERS: "3"}, hosts)  # type: ignore[arg-type]


def test_it_runs_until_it_ends(process: RayJobProcess, hosts: FakeHosts) -> None:
    actor = hosts.actor
    assert process.exit_code() is None  # not placed yet
    actor.start.reply.set_result(None)
    assert process.exit_code() is None
    actor.wait.reply.set_result(75)
    assert [process.exit_code(), process.exit_code(), process.lost] == [75, 75, False]
    (command, run, log, environment, (proof, content)) = actor.start.calls[0]
    assert command[0] == "search"
    assert all(Path(path).is_absolute() for path in (command[1], command[3], run, log, proof))
    assert environment["A"] == "b"
    assert Path(proof).read_text() == content
    told = JobsFolder(Path(proof).parent.parent).place("one").read_text()
    assert json.loads(told) == {MAX_WORKERS: "3"}  # for `plan_of`


def test_a_machine_that_is_gone_is_no_death(process: RayJobProcess, hosts: FakeHosts) -> None:
    hosts.actor.start.reply.set_result(None)
    process.exit_code()
    hosts.actor.wait.reply.set_exception(WorkerLost("its node died"))
    assert (process.exit_code(), process.lost, process.last_words()) == (-9, True, "its node died")


def test_a_cluster_that_does_not_answer(hosts: FakeHosts, tmp_path: Path) -> None:
    hosts.fault = WorkerLost("no answer")
    process = RayJobProcess("one", SPEC, JobsFolder(tmp_path), {}, hosts)  # type: ignore[arg-type]
    process.ask_to_stop()
    process.kill()
    process.close()
    assert (process.exit_code(), process.lost, process.last_words()) == (-9, True, "no answer")
    assert hosts.killed == []


def test_a_cluster_without_a_place(
    process: RayJobProcess, hosts: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_process, "PLACE_TIMEOUT_S", -1.0)
    assert (process.exit_code(), process.lost) == (-9, True)
    assert hosts.killed == [hosts.actor]


def test_a_machine_without_the_folder_is_the_operator_s_mistake(
    process: RayJobProcess, hosts: FakeHosts
) -> None:
    hosts.actor.start.reply.set_exception(FolderNotShared("m does not see r"))
    assert (process.exit_code(), process.lost, process.last_words()) == (
        2,
        False,
        "m does not see r",
    )


def test_killing_waits_for_the_machine_but_not_for_ever(
    process: RayJobProcess, hosts: FakeHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_process, "KILL_TIMEOUT_S", 0.2)
    process.kill()
    process.kill()
    assert len(hosts.actor.kill.calls) == 1
    assert (hosts.killed, process.exit_code()) == ([hosts.actor], -9)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., ProcessHost]:
    def started(*command: str) -> ProcessHost:
        host = ProcessHost()
        (tmp_path / "proof").write_text("right")
        proof = (str(tmp_path / "proof"), "right")
        host.start(command, str(tmp_path), str(tmp_path / "log"), {}, proof)
        return host

    return started


def test_a_host_gives_the_exit_code_and_keeps_the_words(
    start: Callable[..., ProcessHost], tmp_path: Path
) -> None:
    host = start("resume", str(tmp_path / "nothing"))
    assert host.wait() == 3
    said = (tmp_path / "log").read_text()
    assert f"on {socket.gethostname()}" in said
    assert "is not a run" in said


def test_a_host_kills(start: Callable[..., ProcessHost], tmp_path: Path) -> None:
    host = start("serve", "--results", str(tmp_path / "r"))  # goes on and on
    started = time.monotonic()
    host.kill()
    assert host.wait() == -9
    assert time.monotonic() - started < 5


def test_a_host_stops_what_was_not_started_yet(tmp_path: Path) -> None:
    host = ProcessHost()
    host.stop()
    (tmp_path / "proof").write_text("right")
    proof = (str(tmp_path / "proof"), "right")
    serve = ["serve", "--results", str(tmp_path / "r")]
    host.start(serve, str(tmp_path), str(tmp_path / "log"), {}, proof)
    assert host.wait() in (75, -15)  # -15: before it could say otherwise


@pytest.mark.parametrize("content", ["wrong", None])
def test_a_host_refuses_another_folder(content: str | None, tmp_path: Path) -> None:
    (tmp_path / ".jobs").mkdir()
    proof = tmp_path / ".jobs" / "shared"
    if content is not None:
        proof.write_text(content)
    with pytest.raises(FolderNotShared, match=f"does not see the server's {tmp_path}:"):
        ProcessHost().start(
            ["doctor"], str(tmp_path), str(tmp_path / "log"), {}, (str(proof), "right")
        )
