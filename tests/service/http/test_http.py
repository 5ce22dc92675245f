"""The HTTP interface: every route refuses what it must, and does what the verbs do."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.errors import NetlatheError, NotFoundError, UsageError
from service.http.app import make_app
from service.http.guard import MAX_BODY_BYTES, MAX_DEPTH
from service.http.plain import OPEN_PATHS
from service.http.serving import check_exposure, http_server, parse_address, read_token
from service.jobs.folder import JobsFolder
from service.jobs.states import JobState
from service.jobs.store import JobStore

TOKEN = "correct-horse-battery-staple"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
CONFIG: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[3] / "configs" / "digits-quick.yaml").read_text()
)


@pytest.fixture
def folder(tmp_path: Path) -> JobsFolder:
    return JobsFolder(tmp_path)


@pytest.fixture
def store(folder: JobsFolder) -> Iterator[JobStore]:
    made = JobStore(folder.database_url)
    yield made
    made.close()


@pytest.fixture
def app(store: JobStore, folder: JobsFolder) -> FastAPI:
    return make_app(store, folder, token=TOKEN, hosts={"localhost"})


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost:8100", headers=AUTH)


@pytest.fixture
def stranger(app: FastAPI) -> TestClient:
    return TestClient(app, base_url="http://localhost:8100")


def submitted(client: TestClient, **more: Any) -> Any:
    answer = client.post("/api/v1/jobs", json={"config": CONFIG, "id": "one", **more})
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def routes(app: FastAPI) -> list[tuple[str, str]]:
    paths = app.openapi()["paths"]
    found = [(m.upper(), path) for path, methods in paths.items() for m in methods]
    assert len(found) >= 20
    return found


def test_every_route_and_every_method_wants_the_token(app: FastAPI, stranger: TestClient) -> None:
    """Also those that there are not: nobody learns without a token what there is."""
    paths = {path.replace("{job_id}", "one") for _, path in routes(app)}
    for path in {*paths, "/", "/docs", "/openapi.json", "/api/v1/nothing"} - {*OPEN_PATHS}:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
                answer = stranger.request(method, path, headers=headers)
                assert answer.status_code == 401, (method, path)
    assert stranger.get("/healthz").text == "ok\n"
    assert stranger.get("/readyz").text == "ok\n"


def test_mutations_from_other_pages_are_refused(app: FastAPI, client: TestClient) -> None:
    submitted(client)
    changing = [(m, p) for m, p in routes(app) if m not in ("GET", "HEAD")]
    assert {method for method, _ in changing} == {"POST", "DELETE"}
    for method, path in changing:
        path = path.replace("{job_id}", "one")
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://["},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            assert client.request(method, path, headers=headers).status_code == 403, (method, path)
    assert client.get("/api/v1/jobs/one").json()["state"] == "PENDING"
    own = client.post("/api/v1/jobs/one/pause", headers={"Origin": "http://localhost:8100"})
    assert own.json()["state"] == "PAUSED"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.", "["])
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    for path in ("/healthz", "/api/v1/jobs"):
        assert client.get(path, headers={"Host": host}).status_code == 421


def test_bodies_are_looked_at_before_they_are_parsed(client: TestClient) -> None:
    def post(content: bytes | Iterator[bytes], kind: str = "application/json") -> int:
        headers = {"Content-Type": kind}
        return client.post("/api/v1/jobs", content=content, headers=headers).status_code

    assert post(b"x" * (MAX_BODY_BYTES + 1)) == 413
    assert post(iter([b" " * 100_000] * 4)) == 413  # no length is announced
    assert post(b"[" * (MAX_DEPTH + 1)) == 400
    assert post(b'{"config": {"seed": ' + b"9" * 41 + b"}}") == 400
    assert (
        post(b'{"config": {"name": "' + b"9[" * 60 + b'"}}') == 422
    )  # in a text they are harmless
    assert post(b"{}", "text/plain") == 415
    assert post(b"{}", "application/x-www-form-urlencoded") == 415
    for bad in (b"", b"{", b"[]", b'"x"', b"\xff", b'{"config": 1}', b'{"config": {}, "x": 1}'):
        assert post(bad) in (400, 422), bad
    assert post(b'{"config": {"seed": 1e400}}') == 422
    assert post(b'{"config": {"seed": NaN}}') in (400, 422)


def test_submitting(client: TestClient) -> None:
    body = {"config": CONFIG, "id": "one"}
    first = client.post("/api/v1/jobs", json=body)
    again = client.post("/api/v1/jobs", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    other = client.post("/api/v1/jobs", json={**body, "config": {**CONFIG, "seed": 7}})
    assert other.status_code == 409
    named = client.post("/api/v1/jobs", json={"config": CONFIG})
    assert named.json()["id"] == f"{CONFIG['name']}-s0"


@pytest.mark.parametrize("bad", ["..", "a/b", "A", "", "x" * 64, "%2e%2e%2f", "a\u0000"])
def test_ids_that_are_none(client: TestClient, bad: str) -> None:
    assert client.post("/api/v1/jobs", json={"config": CONFIG, "id": bad}).status_code == 422


@pytest.mark.parametrize("path", ["%2e%2e", "..%2f..%2fetc", "a%00", "A"])
def test_paths_that_are_none(client: TestClient, path: str) -> None:
    for end in ("", "/events", "/logs", "/export", "/trials"):
        assert client.get(f"/api/v1/jobs/{path}{end}").status_code in (404, 422)


def test_a_config_is_checked_and_its_faults_named(client: TestClient) -> None:
    bad = {**CONFIG, "search": {"budgte": 3}}
    answer = client.post("/api/v1/jobs", json={"config": bad})
    assert answer.status_code == 422
    assert "did you mean" in answer.json()["detail"]
    for forbidden in ("runtime_env", "entrypoint"):
        assert (
            client.post("/api/v1/jobs", json={"config": {**CONFIG, forbidden: {}}}).status_code
            == 422
        )


def test_a_run_that_is_no_job_is_not_taken_over(client: TestClient, folder: JobsFolder) -> None:
    folder.run("one").path.mkdir()
    assert client.post("/api/v1/jobs", json={"config": CONFIG, "id": "one"}).status_code == 409


def test_pause_resume_stop_delete(client: TestClient, store: JobStore) -> None:
    submitted(client)
    assert client.delete("/api/v1/jobs/one").status_code == 409
    assert client.post("/api/v1/jobs/one/pause").json()["state"] == "PAUSED"
    assert client.post("/api/v1/jobs/one/resume").json()["state"] == "PENDING"
    assert store.claim("server", 15) is not None
    assert client.post("/api/v1/jobs/one/stop", json={"now": True}).json()["state"] == "CANCELLING"
    assert store.get("one").at_once
    states = [event["state"] for event in client.get("/api/v1/jobs/one/events").json()]
    assert states == ["PENDING", "PAUSED", "PENDING", "STARTING", "CANCELLING"]
    assert len(client.get("/api/v1/jobs/one/events", params={"after": 4}).json()) == 1
    for path in ("", "/pause", "/resume", "/stop"):
        method = "GET" if path == "" else "POST"
        assert client.request(method, f"/api/v1/jobs/two{path}").status_code == 404


@pytest.mark.parametrize(
    "body", [{"add_trials": -1}, {"add_trials": 10**7}, {"add_trials": "x"}, {"more": 1}, [1]]
)
def test_what_cannot_be_added(client: TestClient, store: JobStore, body: Any) -> None:
    submitted(client)
    store.pause("one")
    assert client.post("/api/v1/jobs/one/resume", json=body).status_code == 422
    assert store.get("one").state is JobState.PAUSED
    added = client.post("/api/v1/jobs/one/resume", json={"add_trials": 2}).json()
    assert (added["state"], added["added_trials"]) == ("PENDING", 2)
    again = client.post("/api/v1/jobs/one/resume", json={"add_trials": 2})
    assert again.status_code == 409
    assert store.get("one").added_trials == 2


def test_places_that_are_none(client: TestClient) -> None:
    submitted(client)
    for offset in (-1, "x", 2**60):
        assert client.get("/api/v1/jobs/one/log", params={"offset": offset}).status_code == 422
    for trial in ("x", "%2e%2e", "abc", "0123456789abcdef" * 5, "1%00"):
        assert client.get(f"/api/v1/jobs/one/trials/{trial}").status_code in (404, 422), trial
    for device in ("device.json", "", 3):
        body = {"config": CONFIG, "device_file": device}
        assert client.post("/api/v1/jobs", json=body).status_code == 422
    body = {"config": CONFIG, "device_file": "/nowhere/device.json"}
    assert client.post("/api/v1/jobs", json=body).status_code == 404
    assert client.delete("/api/v1/jobs/one", params={"files": "odd"}).status_code == 422


def test_pages(client: TestClient) -> None:
    for number in range(120):
        submitted(client, id=f"job-{number:03}")
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get("/api/v1/jobs", params={"cursor": cursor} if cursor else {}).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert found == [f"job-{number:03}" for number in range(120)]
    assert client.get("/api/v1/jobs", params={"state": "RUNNING"}).json()["jobs"] == []
    assert client.get("/api/v1/jobs", params={"cursor": "gone"}).status_code == 404
    assert client.get("/api/v1/jobs", params={"state": "odd"}).status_code == 422
    assert 'netlathe_jobs{state="PENDING"} 120' in client.get("/metrics").text


def test_what_a_run_has_left(client: TestClient, folder: JobsFolder) -> None:
    submitted(client)
    for path in ("trials", "export"):
        assert client.get(f"/api/v1/jobs/one/{path}").status_code == 404
    assert client.get("/api/v1/jobs/one/logs").text == ""
    assert client.get("/api/v1/jobs/one/best").json() == []
    run = folder.run("one")
    (run.path / "best").mkdir(parents=True)
    (run.best / "model.py").write_text("x = 1\n")
    (run.best / "secret").symlink_to("/etc/passwd")
    pd.DataFrame({"digest": ["a", "b", "c"], "accuracy": [0.5, None, 0.7]}).to_parquet(
        run.path / "trials.parquet"
    )
    with zipfile.ZipFile(BytesIO(client.get("/api/v1/jobs/one/export").content)) as archive:
        assert archive.namelist() == ["one/model.py"]
    rows = client.get("/api/v1/jobs/one/trials", params={"start": 1, "count": 1}).json()
    assert rows == [{"digest": "b", "accuracy": None}]


def test_points_and_picture(client: TestClient, folder: JobsFolder) -> None:
    submitted(client)
    assert client.get("/api/v1/jobs/one/points").json() == []
    assert client.get("/api/v1/jobs/one/picture").status_code == 404
    run = folder.run("one")
    run.best.mkdir(parents=True)
    (run.best / "architecture.svg").write_text("<svg/>")
    answer = client.get("/api/v1/jobs/one/picture")
    assert (answer.text, answer.headers["content-type"]) == ("<svg/>", "image/svg+xml")


def test_the_page_says_nothing_by_itself_and_loads_nothing_from_elsewhere(
    stranger: TestClient,
) -> None:
    for path in ("/", "/page.js", "/page.css"):
        answer = stranger.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "unsafe" not in answer.headers["content-security-policy"]
        addresses = set(re.findall(r"https?://[^\s\"'`]+", answer.text))
        assert addresses <= {"http://www.w3.org/2000/svg"}
        assert "innerHTML" not in answer.text
        assert stranger.post(path).status_code == 405


def test_a_stream_tells_changes_until_the_job_rests(client: TestClient, store: JobStore) -> None:
    submitted(client)
    seen = []
    with client.stream("GET", "/api/v1/jobs/one/stream") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line[6:])["state"])
                if seen[-1] == "PENDING":
                    store.cancel("one")
    assert seen == ["PENDING", "CANCELLED"]
    assert client.get("/api/v1/jobs/two/stream").status_code == 404


def test_a_store_that_is_away_is_said_to_be(app: FastAPI, client: TestClient) -> None:
    def away(*_: object) -> None:
        raise NetlatheError("the database is away")

    app.state.jobs.store.counts = away
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200


def test_without_a_token_only_this_machine(tmp_path: Path) -> None:
    for host in ("127.0.0.1", "::1", "localhost"):
        check_exposure(host, None)
    for host in ("0.0.0.0", "10.0.0.1", "::", "example.org"):
        with pytest.raises(UsageError, match="other machines can reach that"):
            check_exposure(host, None)
        check_exposure(host, TOKEN)


def test_token_files(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with pytest.raises(NotFoundError):
        read_token(path)
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token(path)
    path.chmod(0o600)
    assert read_token(path) == TOKEN
    path.write_text("short")
    with pytest.raises(UsageError, match="at least 16"):
        read_token(path)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8100", ("127.0.0.1", 8100)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:0", ("::1", 0)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "x", "localhost:", "localhost:70000", "a:b"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        parse_address(text)


def test_over_a_real_socket(folder: JobsFolder) -> None:
    import httpx2

    with http_server(folder.database_url, folder, "0", token_file=None) as url:
        assert httpx2.get(f"{url}/healthz").text == "ok\n"
        body = {"config": CONFIG, "id": "one"}
        assert httpx2.post(f"{url}/api/v1/jobs", json=body).status_code == 201
        port = url.rpartition(":")[2]
        with (
            pytest.raises(NetlatheError, match="--http"),
            http_server(folder.database_url, folder, port, token_file=None),
        ):
            pass
    store = JobStore(folder.database_url)
    assert store.get("one").state is JobState.PENDING
    store.close()
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"{url}/healthz")
