"""Jobs whose searches run on a Ray cluster of several nodes, one of which dies in the middle."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from evaluation.ray_hosts import RayHosts
from service.jobs.process_host import ProcessHost
from tests.service.jobs.place import CONFIG, TINY, Place, assert_as_undisturbed, processes_of

pytestmark = pytest.mark.ray
ON_RAY = [*TINY[:-2], "--set", "evaluator.kind=ray", "--set", "evaluator.workers=2"]
START_S = 180


class RayNodes:
    """A head node without CPUs and others with one each, all on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._temp = tempfile.TemporaryDirectory(prefix="nlt-", ignore_cleanup_errors=True)
        self._nodes: list[subprocess.Popen[bytes]] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        head = ["--head", f"--port={port}", "--num-cpus=0", "--include-dashboard=false"]
        self._start(*head, f"--temp-dir={self._temp.name}")

    @property
    def head(self) -> subprocess.Popen[bytes]:
        return self._nodes[0]

    def add(self) -> None:
        self._start(f"--address={self.address}", "--num-cpus=1")

    def _start(self, *options: str) -> None:
        log = self._folder / f"node-{len(self._nodes)}.log"
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
        command = [*ray, "--node-ip-address=127.0.0.1", *options]
        with log.open("w") as output:
            self._nodes.append(subprocess.Popen(command, stdout=output, stderr=output))
        end = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text():
            assert self._nodes[-1].poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)

    def hosted(self) -> list[int]:
        """By node, the head's first."""
        return [
            sum("ray::ProcessHost" in " ".join(child.cmdline()) for child in _below(node))
            for node in self._nodes
        ]

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """As if its machine had lost its power: all that runs there."""
        processes = _below(node)
        for process in [psutil.Process(node.pid), *processes]:
            if process.is_running():
                process.kill()
        psutil.wait_procs(processes, timeout=20)
        node.wait()
        self._nodes.remove(node)

    def node_of(self, process: psutil.Process) -> subprocess.Popen[bytes]:
        ancestors = {parent.pid for parent in process.parents()}
        return next(node for node in self._nodes if node.pid in ancestors)

    def close(self) -> None:
        for node in reversed(list(self._nodes)):
            self.kill(node)
        self._temp.cleanup()


def _below(node: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(node.pid).children(recursive=True)


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayNodes]:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    if "RAY_AUTH_TOKEN" not in os.environ:
        monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef" * 4)
    with closing(RayNodes(tmp_path)) as made:
        made.add()
        made.add()
        yield made


def test_nothing_is_hosted_on_the_head(nodes: RayNodes) -> None:
    with closing(RayHosts(nodes.address)) as hosts:
        hosted = [hosts.host(ProcessHost) for _ in range(6)]
        for host in hosted:
            hosts.get(host.__ray_ready__.remote())
        assert nodes.hosted() == [0, 3, 3]


def test_a_node_that_dies_takes_nothing_with_it(
    place: Place, device: Path, nodes: RayNodes
) -> None:
    place.verb("submit", CONFIG, "--id", "one", "--device-file", device, *ON_RAY)
    place.serve("--ray", nodes.address)
    place.wait_for(lambda: place.children() >= 4, seconds=180)
    (search,) = processes_of(place)
    assert nodes.node_of(search) is not nodes.head
    nodes.kill(nodes.node_of(search))
    nodes.add()
    place.wait_for(lambda: "RECOVERING" in place.states(), seconds=180)
    place.wait_for(lambda: place.job()["state"] in ("SUCCEEDED", "FAILED"), seconds=240)
    job = place.job()
    assert (job["state"], job["attempt"]) == ("SUCCEEDED", 1)
    assert_as_undisturbed(place, device)
