"""A server's client: what goes wrong on the way, and what must not come along."""

from __future__ import annotations

import io
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.http.serving import http_server
from service.jobs import client as client_module
from service.jobs import server_jobs, unpacking
from service.jobs.client import Unreachable
from service.jobs.folder import JobsFolder
from service.jobs.server_jobs import ServerJobs
from service.jobs.spec import JobSpec
from service.jobs.states import JobState
from service.jobs.store import JobStore
from service.jobs.unpacking import unpack_export

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def folder(tmp_path: Path) -> JobsFolder:
    made = JobsFolder(tmp_path / "results")
    made.results.mkdir()
    store = JobStore(made.database_url)
    store.submit("one", JobSpec(config={"name": "digits"}, seed=0))
    store.close()
    return made


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN)
    path.chmod(0o600)
    return path


@contextmanager
def opened(url: str, token: Path | None = None) -> Iterator[ServerJobs]:
    made = ServerJobs(url, token)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[str]:
    """A server that says the same to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_token_is_wanted_and_must_be_the_right_one(
    folder: JobsFolder, token: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("another-token-of-somebody")
    wrong.chmod(0o600)
    with http_server(folder.database_url, folder, "0", token_file=token) as url:
        with opened(url, token) as client:
            assert client.job("one").state == JobState.PENDING
        with opened(url) as client, pytest.raises(NetlatheError, match="--token-file FILE") as none:
            client.job("one")
        with (
            opened(url, wrong) as client,
            pytest.raises(NetlatheError, match="does not accept") as bad,
        ):
            client.job("one")
    assert (none.value.exit_code, bad.value.exit_code) == (1, 1)
    assert "another-token" not in str(bad.value)
    token.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        ServerJobs(url, token)


@pytest.mark.parametrize(
    "url",
    ["localhost:8100", "ftp://x", "http://", "", "http://x:y", "http://x/?a=1", "http://x/#a", "x"],
)
def test_urls_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="expected a URL such as"):
        ServerJobs(url)


def test_passwords_do_not_belong_into_urls() -> None:
    with pytest.raises(UsageError, match="no name or password") as error:
        ServerJobs("http://me:hunter2hunter2@localhost:8100")
    assert "hunter2" not in str(error.value)


def test_an_unencrypted_way_to_another_machine_is_warned_of(
    token: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, warned in (
        ("http://localhost:1", False),
        ("http://127.0.0.1:1/", False),
        ("https://example.org", False),
        ("http://example.org", True),
    ):
        with opened(url, token):
            said = capsys.readouterr().err
        assert ("unencrypted" in said) is warned, url
        assert TOKEN not in said
    with opened("http://example.org"):
        assert capsys.readouterr().err == ""


def test_nobody_there(token: Path) -> None:
    with http_server_port_that_is_free() as port, opened(f"http://localhost:{port}", token) as c:
        with pytest.raises(Unreachable, match=r"does not answer .*netlathe serve --http") as error:
            c.jobs()
        assert error.value.exit_code == 1
        assert TOKEN not in str(error.value)


@contextmanager
def http_server_port_that_is_free() -> Iterator[int]:
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        yield listening.getsockname()[1]  # bound, and nobody listens


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"detail": "why"}', UsageError),
        (404, b'{"detail": "why"}', NotFoundError),
        (404, b'{"detail": "Not Found"}', NetlatheError),  # a route that there is not
        (404, b"<html>", NetlatheError),
        (409, b'{"detail": "why"}', ConflictError),
        (421, b'{"detail": "why"}', NetlatheError),
        (422, b'{"detail": [{"loc": ["body", "id"], "msg": "why"}]}', UsageError),
        (500, b"", NetlatheError),
        (502, b"<html>", Unreachable),
        (503, b'{"detail": "why"}', Unreachable),
        (307, b"", NetlatheError),  # the token goes nowhere else
        (200, b"<html>", NetlatheError),
        (200, b'{"id": 3}', NetlatheError),
    ],
)
def test_each_refusal_is_the_error_that_it_would_be_here(
    status: int, body: bytes, kind: type[NetlatheError]
) -> None:
    with answering(status, body, Location="http://localhost:1/") as url, opened(url) as client:
        with pytest.raises(NetlatheError) as error:
            client.job("one")
        assert type(error.value) is kind
        assert ("why" in str(error.value)) is (b"why" in body)


def test_too_long_answers_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b"x" * 2000) as url, opened(url) as client:
        with pytest.raises(NetlatheError, match="no JobAnswer"):
            client.job("one")
        monkeypatch.setattr(server_jobs, "MOST_BYTES", 1000)
        with pytest.raises(NetlatheError, match="longer than 1000 bytes"):
            client.job("one")


def test_a_server_that_starts_again_is_waited_for(
    folder: JobsFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_ASK_AGAIN_S", 0.05)
    with http_server(folder.database_url, folder, "0", token_file=None) as url:
        port = url.rpartition(":")[2]
    with opened(url) as client:
        back = threading.Timer(0.5, lambda: started.set())
        started = threading.Event()
        back.start()
        tries = 0

        def ask() -> str:
            nonlocal tries
            tries += 1
            if not started.is_set():
                return client.job("one").id  # nobody there
            with http_server(folder.database_url, folder, port, token_file=None):
                return client.job("one").id

        assert client.when_reachable(ask) == "one"
        assert tries > 2
        monkeypatch.setattr(client_module, "PATIENCE_S", 0.2)
        with pytest.raises(Unreachable):
            client.when_reachable(lambda: client.job("one"))
        with pytest.raises(NotFoundError):
            client.when_reachable(lambda: client.job("A"))


def test_an_export_comes_whole(folder: JobsFolder, tmp_path: Path) -> None:
    best = folder.run("one").best
    with (
        http_server(folder.database_url, folder, "0", token_file=None) as url,
        opened(url) as client,
    ):
        with pytest.raises(NotFoundError, match="exported nothing yet"):
            client.export("one", tmp_path / "to")
        assert not (tmp_path / "to").exists()
        best.mkdir(parents=True)
        (best / "architecture.json").write_text("{}")
        (best / "model.onnx").write_bytes(bytes(range(256)) * 1000)
        for _ in range(2):  # an earlier export is replaced
            client.export("one", tmp_path / "to")
    found = {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()}
    assert found == {path.name: path.read_bytes() for path in best.iterdir()}


def archive(*members: tuple[str, bytes], mode: int = stat.S_IFREG | 0o644) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            made.writestr(info, data)
    return content.getvalue()


@pytest.mark.parametrize(
    "name",
    [
        "../x", "one/../x", "one/../../x", "/etc/passwd", "one//x", "one/a/b", "x", "one/", "..",
        "one/.hidden", "one/a\\b", "C:/x", "one/x:y", "One/x", "one/" + "x" * 101, "one/\u0131",
    ],
)  # fmt: skip
def test_members_with_other_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NetlatheError, match="none of its files"):
        unpack_export(archive(("one/architecture.json", b"{}"), (name, b"x")), tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_other_things_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(NetlatheError, match="none of its files"):
        unpack_export(archive(("one/x", b"/etc/passwd"), mode=kind | 0o777), tmp_path / "to")
    assert list(tmp_path.iterdir()) == []


def test_too_many_too_large_twice_and_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "to"
    many = archive(*((f"one/{number}", b"") for number in range(unpacking.MOST_FILES + 1)))
    twice = archive(("one/x", b"1"), ("two/X", b"2"))
    large = archive(("one/x", b"0" * 1000), ("one/y", b"0" * 1000))
    for content, message in (
        (many, "65 files"),
        (archive(), "0 files"),
        (twice, "twice"),
        (b"no archive", "cannot be unpacked"),
        (_corrupted(large), "cannot be unpacked"),
    ):
        with pytest.raises(NetlatheError, match=message):
            unpack_export(content, to)
        assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(unpacking, "MOST_BYTES", 1999)
    with pytest.raises(NetlatheError, match="larger than 1999 bytes"):
        unpack_export(large, to)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(unpacking, "MOST_BYTES", 2000)
    unpack_export(large, to)
    assert sorted(path.name for path in to.iterdir()) == ["x", "y"]


def _corrupted(content: bytes) -> bytes:
    """With another content than its checksum says."""
    data = bytearray(content)
    data[len("PK") + 28 + len("one/x") + 3] ^= 0xFF
    return bytes(data)


def test_something_else_in_the_place_stays(tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "mine").touch()
    with pytest.raises(ValueError, match="something else than an export"):
        unpack_export(archive(("one/x", b"")), tmp_path / "to")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["mine"]
