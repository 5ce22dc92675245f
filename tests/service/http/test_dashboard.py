"""Optuna's dashboard: behind our authentication, to look at and not to change."""

from __future__ import annotations

import http.client
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from optuna_dashboard import wsgi

from archspace import Decision
from search import mirror_store
from search.mirror_trials import MirrorTrial, Values
from service.http import dashboard
from service.http.app import make_app
from service.http.dashboard import study_ids
from service.http.dashboard_worker import ARTIFACTS, make_dashboard
from service.http.serving import http_server
from service.http.sessions import IDLE_S, MOST, Sessions
from service.jobs.folder import JobsFolder
from service.jobs.store import JobStore

TOKEN = "correct-horse-battery-staple"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
DECISIONS = [Decision("op", ("conv", "skip"))]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
READS = (
    "/dashboard", "/dashboard/", "/dashboard/studies/1", "/dashboard/studies/1/trialTable", "/dashboard/compare-studies?ids=1",
    "/static/bundle.js", "/csv/1", "/api/meta", "/api/studies", "/api/studies/1?after=0",
)  # fmt: skip


def mirror(results: Path, run: str, trials: int = 5) -> None:
    """A run's copy, as its search writes it."""
    (results / run).mkdir(parents=True, exist_ok=True)
    store = mirror_store.MirrorStore.open(results, results / run, DECISIONS)
    for number in range(trials):
        store.add(
            MirrorTrial(
                key=f"{run}/{number}",
                state="complete",
                params={"op": ("conv", "skip")[number % 2]},
                values=Values(0.5 + number / 100, 1.0 + number, 2.0),
                attributes={"digest": f"{number:016x}"},
                document=lambda: "{}",
            )
        )
    store.close()


def dump(results: Path) -> list[str]:
    with closing(sqlite3.connect(results / dashboard.DATABASE)) as connection:
        return list(connection.iterdump())


@pytest.fixture
def folder(tmp_path: Path) -> JobsFolder:
    results = tmp_path / "results é #1"  # what must be quoted in an address
    results.mkdir()
    return JobsFolder(results)


@pytest.fixture
def app(folder: JobsFolder) -> Iterator[FastAPI]:
    store = JobStore(folder.database_url)
    made = make_app(store, folder, token=TOKEN, hosts={"localhost"})
    yield made
    made.state.dashboard.close()
    store.close()


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost:8100", headers=AUTH)


@pytest.fixture
def browser(app: FastAPI) -> TestClient:
    """Has a session, and no token."""
    made = TestClient(app, base_url="http://localhost:8100")
    assert made.post("/api/v1/session", headers=AUTH).status_code == 204
    return made


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost:8100")


@pytest.fixture
def upstream(folder: JobsFolder) -> list[tuple[str, str]]:
    """Every route that the dashboard itself has, with numbers and ids filled in."""
    mirror(folder.results, "one")
    routes = wsgi(mirror_store.database_url(folder.results)).routes
    found = [
        (route.method, re.sub(r"<[^>]*artifact_id[^>]*>", "ab-01", route.rule))
        for route in routes
        if route.rule not in ("/", "/favicon.ico", "/incompatible-rdb-schema")
    ]
    found = [(method, rule.replace("<:re:(/.*)?>", "/x")) for method, rule in found]
    found = [(method, rule.replace("<plot_type>", "contour")) for method, rule in found]
    found = [(method, rule.replace("<filename:path>", "bundle.js")) for method, rule in found]
    found = [(method, re.sub(r"<[^>]*>", "1", rule)) for method, rule in found]
    assert len(found) >= 25
    assert {"GET", "POST", "PUT", "DELETE"} == {method for method, _ in found}
    return found


def test_nothing_of_it_is_seen_without_token_or_session(
    stranger: TestClient, upstream: list[tuple[str, str]]
) -> None:
    paths = {path for _, path in upstream} | {*READS, "/dashboard/nothing", "/api/studies/x"}
    for path in paths:
        for method in METHODS:
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Cookie": "netlathe=x; a=b; ;=;"},
            ):
                answer = stranger.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path)


def test_token_and_session_open_it(client: TestClient, browser: TestClient) -> None:
    results = client.app.state.jobs.folder.results  # type: ignore[attr-defined]
    mirror(results, "one")
    for each in (client, browser):
        for path in READS:
            assert each.get(path).status_code == 200, path
            assert each.head(path).status_code == 200, path
        (study,) = each.get("/api/studies").json()["study_summaries"]
        assert study["study_name"] == "one"
        assert len(each.get("/api/studies/1").json()["trials"]) == 5


def test_what_a_simple_client_asks(client: TestClient, folder: JobsFolder) -> None:
    mirror(folder.results, "one")
    del client.headers["accept-encoding"]
    for path in READS:
        assert client.get(path).status_code == 200, path
    for path in ("/api/studies/7", "/csv/7", "/artifacts/1/7/ab", f"/csv/{10**20}"):
        assert client.get(path).status_code in (404, 500), path


def test_it_is_only_looked_at(
    client: TestClient, browser: TestClient, folder: JobsFolder, upstream: list[tuple[str, str]]
) -> None:
    before = dump(folder.results)
    changing = {path for method, path in upstream if method != "GET"}
    for each in (client, browser):
        for path in {*changing, *READS}:
            for method in set(METHODS) - {"GET", "HEAD"}:
                answer = each.request(method, path, headers={"Origin": "http://localhost:8100"})
                assert answer.status_code == 403, (method, path)
    assert dump(folder.results) == before
    assert len(list((folder.results / ARTIFACTS).iterdir())) == 5


def test_the_database_refuses_even_what_the_guard_would_let_through(folder: JobsFolder) -> None:
    mirror(folder.results, "one")
    before = dump(folder.results)
    unguarded = TestClient(make_dashboard(folder.results))
    assert unguarded.get("/api/studies").status_code == 200
    assert unguarded.post("/api/studies/1/rename", json={"study_name": "x"}).status_code == 500
    study = {"study_name": "new", "directions": ["minimize"]}
    assert unguarded.post("/api/studies", json=study).status_code == 500
    assert dump(folder.results) == before


def test_other_names_and_other_pages_are_refused(
    client: TestClient, browser: TestClient, folder: JobsFolder
) -> None:
    mirror(folder.results, "one")
    for each in (client, browser):
        for path in READS:
            assert each.get(path, headers={"Host": "evil.example"}).status_code == 421
            for method in METHODS:
                for headers in (
                    {"Origin": "https://evil.example"},
                    {"Origin": "null"},
                    {"Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "same-site"},
                ):
                    assert each.request(method, path, headers=headers).status_code == 403


def test_a_session_opens_nothing_else(browser: TestClient) -> None:
    for path in (
        "/api/v1/jobs",
        "/api/v1/studies",
        "/openapi.json",
        "/metrics",
        "/api/v1",
        "/docs",
    ):
        assert browser.get(path).status_code == 401
    for method, path in (("POST", "/api/v1/jobs"), ("POST", "/api/v1/session"), ("DELETE", "/api/v1/session")):  # fmt: skip
        assert browser.request(method, path).status_code == 401


def test_the_cookie(client: TestClient, stranger: TestClient) -> None:
    set_cookie = client.post("/api/v1/session").headers["set-cookie"]
    name, _, value = set_cookie.partition(";")[0].partition("=")
    assert TOKEN not in set_cookie
    assert len(value) >= 43  # 256 bits
    assert "HttpOnly" in set_cookie
    assert "SameSite=strict" in set_cookie
    assert "Secure" not in set_cookie
    again = client.post("/api/v1/session", headers={"Origin": "https://localhost"})
    assert f"{name}={value};" in again.headers["set-cookie"]  # the same session lives on
    assert "Secure" in again.headers["set-cookie"]
    cookie = {"Cookie": f"other=1; {name}={value}"}
    assert stranger.get("/dashboard", headers=cookie).status_code == 404  # no mirror yet
    assert client.delete("/api/v1/session", headers=cookie).status_code == 204
    assert stranger.get("/dashboard", headers=cookie).status_code == 401


def test_sessions_end_when_nobody_uses_them() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])

    def header(session: str) -> bytes:
        return f"{sessions.cookie}={session}".encode()

    first = header(sessions.open(b""))
    assert sessions.knows(first)
    now[0] += IDLE_S
    assert sessions.knows(first)
    now[0] += IDLE_S + 1
    assert not sessions.knows(first)
    assert header(sessions.open(first)) != first  # an old id is never taken up again
    kept = header(sessions.open(b""))
    for number in range(MOST):
        assert sessions.knows(kept), number
        sessions.open(b"")
    for bad in (b"", b"=", b";;", f"{sessions.cookie}=".encode(), b"\xff=\xff", header("x" * 43)):
        assert not sessions.knows(bad)


def test_without_a_token_it_needs_no_session(folder: JobsFolder) -> None:
    mirror(folder.results, "one")
    store = JobStore(folder.database_url)
    app = make_app(store, folder, token=None, hosts={"localhost"})
    anyone = TestClient(app, base_url="http://localhost")
    assert anyone.get("/api/studies").status_code == 200
    assert anyone.get("/api/studies", headers={"Host": "evil.example"}).status_code == 421
    assert anyone.get("/api/studies", headers={"Origin": "http://evil.example"}).status_code == 403
    assert anyone.delete("/api/studies/1").status_code == 403
    app.state.dashboard.close()
    store.close()


ELSEWHERE = (
    "/dashboard/../api/v1/jobs",
    "/dashboard/..%2fapi/v1/jobs",
    "/dashboard/%2e%2e/api/v1/jobs",
    "/dashboard//api/v1/jobs",
    "//dashboard",
    "/dashboard/%00",
    "/dashboard%2f..%2f..%2fetc%2fpasswd",
    "/static/../index.html",
    "/static/..%2f..%2f..%2f..%2fetc/passwd",
    "/static//etc/passwd",
    "/static/%2fetc/passwd",
    "/static/bundle.js/../../_app.py",
    "/artifacts/1/1/..%2f..%2fjobs.db",
    "/artifacts/1/../../jobs.db",
    "/api/studies/../v1/jobs",
    "/api/studies/%2e%2e/v1/jobs",
    "/api/studies/1%0a",
    "/csv/%D9%A1",
    "/DASHBOARD",
    "/dashboardx",
)


def test_paths_that_lead_elsewhere(tmp_path: Path) -> None:
    """Over a socket, since clients put such paths right before they send them."""
    folder = JobsFolder(tmp_path / "results")
    mirror(folder.results, "one", trials=1)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    with http_server(folder.database_url, folder, "0", token_file=token) as url:
        port = int(url.rpartition(":")[2])

        def ask(method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                answer.read()
            return answer.status, answer.headers["set-cookie"] or ""

        _, opened = ask("POST", "/api/v1/session", AUTH)
        cookie = {"Cookie": opened.partition(";")[0]}
        assert ask("GET", "/dashboard", cookie)[0] == 200
        for path in ELSEWHERE:
            assert ask("GET", path, cookie)[0] in (400, 401, 404), path
            assert ask("GET", path, AUTH)[0] in (400, 404), path


def test_before_there_is_a_copy_and_when_it_is_another(
    client: TestClient, folder: JobsFolder
) -> None:
    for path in READS:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"][:10]) == (404, "text/plain")
        assert "no run has written" in answer.text
    assert client.get("/api/v1/studies").json() == []
    mirror(folder.results, "one")
    assert client.get("/dashboard").status_code == 200
    for path in folder.results.glob("optuna.db*"):
        path.unlink()
    (folder.results / "one" / "mirror.json").unlink()
    assert client.get("/dashboard").status_code == 404
    mirror(folder.results, "two")
    names = [s["study_name"] for s in client.get("/api/studies").json()["study_summaries"]]
    assert names == ["two"]


def test_a_search_at_work_is_followed(client: TestClient, folder: JobsFolder) -> None:
    mirror(folder.results, "one", trials=3)
    assert len(client.get("/api/studies/1").json()["trials"]) == 3
    mirror(folder.results, "one", trials=6)
    mirror(folder.results, "two", trials=1)
    assert len(client.get("/api/studies").json()["study_summaries"]) == 2
    end = time.monotonic() + 10  # the dashboard itself reads a small study every two seconds
    while len(client.get("/api/studies/1").json()["trials"]) < 6:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.parametrize("content", [b"", b"not a database, but long enough to look like one" * 9])
def test_a_copy_that_cannot_be_read(client: TestClient, folder: JobsFolder, content: bytes) -> None:
    (folder.results / dashboard.DATABASE).write_bytes(content)
    answer = client.get("/dashboard")
    assert answer.status_code == 503
    assert "cannot read optuna.db" in answer.text
    assert client.get("/api/v1/studies").status_code == (503 if content else 200)
    assert client.get("/api/v1/jobs").status_code == 200
    assert (folder.results / dashboard.DATABASE).read_bytes() == content


def test_studies_of_runs(client: TestClient, folder: JobsFolder) -> None:
    assert (dashboard.DATABASE, ARTIFACTS, dashboard.STUDY_FILE) == (
        mirror_store.DATABASE,
        mirror_store.ARTIFACTS,
        mirror_store.STUDY_FILE,
    )
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for run in ("one", "two"):
        mirror(folder.results, run, trials=1)
    (folder.results / "one").rename(folder.results / "kept")
    mirror(folder.results, "one", trials=1)  # another run of that name
    for run, content in (("odd", "{"), ("list", "[]"), ("gone", '{"study": "nobody"}')):
        (folder.results / run).mkdir()
        (folder.results / run / "mirror.json").write_text(content)
    assert study_ids(folder.results) == {"kept": 1, "two": 2, "one": 3}
    assert client.get("/api/v1/studies").json()[1] == {
        "run": "one",
        "study": 3,
        "path": "/dashboard/studies/3",
    }


def test_what_it_may_load_and_who_may_read_it(client: TestClient, folder: JobsFolder) -> None:
    mirror(folder.results, "one")
    trial = client.get("/api/studies/1").json()["trials"][0]
    artifact = f"/artifacts/1/{trial['trial_id']}/{trial['artifacts'][0]['artifact_id']}"
    assert client.get(artifact).text == "{}"
    for path in (*READS, artifact, "/dashboard/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'"), path
        assert "http" not in policy
        assert "*" not in policy
        assert "access-control-allow-origin" not in headers, path
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert client.get(artifact).headers["content-security-policy"].endswith("sandbox")


def test_the_server_starts_without_optuna() -> None:
    code = "import sys, service.http.app; print('optuna' in sys.modules, 'a2wsgi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
