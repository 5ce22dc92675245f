"""The dashboard's own process: whom it answers, what it is told, and when it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from search import mirror_store
from service.http import dashboard_process
from service.http.dashboard_process import DashboardFailed, DashboardProcess, ask
from tests.service.http.test_dashboard import mirror

WAIT_S = 60.0


@pytest.fixture
def process(tmp_path: Path) -> Iterator[DashboardProcess]:
    made = DashboardProcess(tmp_path)
    yield made
    made.close()


def answer(address: Path, path: str, headers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    async def whole() -> tuple[int, bytes]:
        status, body = 0, b""
        async for part in ask(address, "GET", path, b"", headers):
            if isinstance(part, tuple):
                status = part[0]
            else:
                body += part
        return status, body

    return asyncio.run(whole())


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_answers_in_a_folder_of_its_own_until_it_is_closed(
    process: DashboardProcess, tmp_path: Path
) -> None:
    assert process.address() is None  # no database
    mirror(tmp_path, "one")
    address = process.address()
    assert address is not None
    assert address == process.address()
    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700
    status, body = answer(address, "/api/studies", [])
    assert status == 200
    assert json.loads(body)["study_summaries"][0]["study_name"] == "one"
    (child,) = [c for c in psutil.Process().children() if str(address) in c.cmdline()]
    process.close()
    process.close()
    assert not child.is_running()
    assert not address.parent.exists()


def test_one_that_died_is_started_again(process: DashboardProcess, tmp_path: Path) -> None:
    mirror(tmp_path, "one")
    first = process.address()
    assert first is not None
    assert process._process is not None
    process._process.kill()
    process._process.wait()
    with pytest.raises(DashboardFailed, match="does not answer"):
        answer(first, "/api/studies", [])
    second = process.address()
    assert second is not None
    assert answer(second, "/api/studies", [])[0] == 200
    assert not first.parent.exists()


def test_a_server_that_is_killed_leaves_none_behind(tmp_path: Path) -> None:
    mirror(tmp_path, "one")
    code = (
        "import sys, time, pathlib\n"
        "from service.http.dashboard_process import DashboardProcess\n"
        "process = DashboardProcess(pathlib.Path(sys.argv[1]))\n"
        "print(process.address(), process._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        address, pid = server.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        server.send_signal(signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(int(pid)) or _is_zombie(int(pid)))
    assert not Path(address).parent.exists()


def _is_zombie(pid: int) -> bool:
    """Where nobody collects what has no parent any more, as in a container."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_it_is_told_no_secrets(tmp_path: Path) -> None:
    """Over a socket that writes down what comes."""
    address, came = tmp_path / "socket", b""
    headers = [(b"Authorization", b"Bearer secret"), (b"cookie", b"netlathe=secret"), (b"accept", b"a/b")]  # fmt: skip

    async def serve() -> None:
        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal came
            came = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhel")
            writer.close()

        async with await asyncio.start_unix_server(note, address):
            parts: list[Any] = []

            async def read() -> None:
                async for part in ask(address, "GET", "/csv/1", b"a=1", headers):
                    parts.append(part)

            with pytest.raises(DashboardFailed):  # cut off
                await read()
            assert parts == [(200, [(b"content-length", b"5")]), b"hel"]

    asyncio.run(serve())
    assert came.startswith(b"GET /csv/1?a=1 HTTP/1.1\r\n")
    assert b"a/b" in came
    assert b"secret" not in came


def test_a_process_that_cannot_even_start_is_told(
    process: DashboardProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / mirror_store.DATABASE).write_bytes(b"not a database, but long enough" * 9)
    with pytest.raises(DashboardFailed, match=r"commit|database"):
        process.address()
    monkeypatch.setattr(dashboard_process.sys, "executable", "/bin/false")
    with pytest.raises(DashboardFailed, match="its process ended"):
        process.address()
    assert process._process is None
