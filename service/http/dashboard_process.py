"""The server's side of the dashboard's process: starts it, asks it, ends it."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from service.http.dashboard_worker import DATABASE

_END_S = 5.0
_CHUNK = 65_536
_PASSED_ON = frozenset(
    {b"accept", b"accept-encoding", b"if-modified-since", b"if-none-match", b"range"}
)
"""Headers: neither token nor cookie is any of the dashboard's business."""

Head = tuple[int, list[tuple[bytes, bytes]]]


class DashboardFailed(Exception):
    """It cannot be made, or it ended in the middle of an answer; the message says why."""


class DashboardProcess:
    """Runs from its first use until `close`, or until this process ends.

    Args:
        results: the results folder. Where its ``optuna.db`` is another file than before, the process is another one.
    """

    def __init__(self, results: Path) -> None:
        self._results = results
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._which: tuple[int, int] | None = None

    def address(self) -> Path | None:
        """Its socket; None where there is no database. Takes seconds where it is to be started first.

        Raises:
            DashboardFailed: the database cannot be read.
        """
        with self._lock:
            try:
                status = (self._results / DATABASE).stat()
            except FileNotFoundError:
                return None
            which = status.st_dev, status.st_ino
            if which != self._which or self._process is None or self._process.poll() is not None:
                self._end()
                self._start()
                self._which = which
            assert self._folder is not None
            return self._folder / "socket"

    def close(self) -> None:
        """End it. Safe to call twice."""
        with self._lock:
            self._end()

    def _start(self) -> None:
        # mode 700; short, as a socket's path must be
        self._folder = Path(tempfile.mkdtemp(prefix="netlathe-"))
        command = [sys.executable, "-m", "service.http.dashboard_worker"]
        self._process = subprocess.Popen(
            [*command, str(self._results.resolve()), str(self._folder / "socket")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the server
        )
        assert self._process.stdout is not None
        try:
            error = json.loads(self._process.stdout.readline())["error"]
        except ValueError:
            error = "its process ended"
        if error is not None:
            self._end()
            raise DashboardFailed(error)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            try:
                process.wait(_END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = self._which = None


async def ask(
    address: Path, method: str, path: str, query: bytes, headers: list[tuple[bytes, bytes]]
) -> AsyncIterator[Head | bytes]:
    """Status and headers, then the body part by part.

    Raises:
        DashboardFailed: it does not answer, or not to the end.
    """
    import h11

    kept = [(name, value) for name, value in headers if name.lower() in _PASSED_ON]
    if not any(name.lower() == b"accept-encoding" for name, _ in kept):
        # the dashboard fails without one, which only a browser is sure to send
        kept.append((b"accept-encoding", b"identity"))
    target = quote(path).encode() + (b"?" + query if query else b"")
    http = h11.Connection(h11.CLIENT)
    writer = None
    try:
        reader, writer = await asyncio.open_unix_connection(address)
        kept += [(b"host", b"dashboard"), (b"connection", b"close")]
        request = http.send(h11.Request(method=method, target=target, headers=kept))
        writer.write((request or b"") + (http.send(h11.EndOfMessage()) or b""))
        await writer.drain()
        while not isinstance(event := http.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                yield event.status_code, _end_to_end(list(event.headers))
            elif isinstance(event, h11.Data):
                yield bytes(event.data)
    except (OSError, h11.ProtocolError) as error:
        raise DashboardFailed(f"its process does not answer: {error}") from error
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _end_to_end(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Without those that are of one connection alone."""
    hop = (b"connection", b"keep-alive", b"transfer-encoding", b"date", b"server")
    return [(name, value) for name, value in headers if name.lower() not in hop]
