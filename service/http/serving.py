"""Starts the HTTP interface beside a supervisor, on its own thread."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from service.deployment import is_loopback
from service.errors import NetlatheError, NotFoundError, UsageError
from service.jobs.folder import JobsFolder
from service.jobs.store import JobStore

LEAST_TOKEN = 16


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, ``[IPV6]:PORT`` or a port alone, which is one of this machine's own. Raises UsageError."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not port.isdigit() or not 0 <= int(port) < 65536:
        raise UsageError(f"--http {text!r}: expected HOST:PORT, such as 127.0.0.1:8100")
    return host, int(port)


def read_token(path: Path | None) -> str | None:
    """The token in a file that nobody else may read.

    Raises:
        NotFoundError: there is no such file.
        UsageError: others may read it, or it holds fewer than 16 characters.
    """
    if path is None:
        return None
    if not path.is_file():
        raise NotFoundError(f"no token file at {path}")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(f"{path}: others may read it (mode {mode:o}); chmod 600 {path}")
    token = path.read_text(encoding="utf-8").strip()
    if len(token) < LEAST_TOKEN or not token.isascii() or not token.isprintable():
        raise UsageError(f"{path}: expected at least {LEAST_TOKEN} printable ASCII characters")
    return token


def check_exposure(host: str, token: str | None) -> None:
    """Refuse to be reachable from other machines without a token. Raises UsageError."""
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--http {host}: other machines can reach that; give --token-file (mode 600), or use 127.0.0.1"
        )


@contextmanager
def http_server(
    store_url: str,
    folder: JobsFolder,
    address: str,
    *,
    token_file: Path | None,
    allow_hosts: Sequence[str] = (),
) -> Iterator[str]:
    """Serve until the end of the block; gives the URL.

    Raises:
        UsageError: an address that is none, one that other machines reach without a token, or a token file that others may read.
        NetlatheError: the address is taken.
    """
    import uvicorn

    from service.http.app import make_app

    host, port = parse_address(address)
    token = read_token(token_file)
    check_exposure(host, token)
    hosts = {host, *allow_hosts, *(("localhost", "127.0.0.1", "::1") if is_loopback(host) else ())}
    store = JobStore(store_url)
    listening = _listen(host, port)
    app = make_app(store, folder, token=token, hosts=hosts)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    name = f"[{host}]" if ":" in host else host
    try:
        yield f"http://{name}:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
        app.state.dashboard.close()
        store.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named, or asyncio does not see that it is TCP and leaves Nagle's algorithm on: 40 ms more an answer
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name == "posix":
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise NetlatheError(f"--http {host}:{port}: {error.strerror or error}") from error
    listening.listen(128)
    return listening
