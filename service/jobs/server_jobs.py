"""Jobs of a server, over HTTP: the same answers and the same errors as those of a folder here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from pydantic import TypeAdapter, ValidationError

from service.deployment import is_loopback
from service.errors import ConflictError, NetlatheError, NotFoundError, UsageError
from service.http.answers import JobPage
from service.http.serving import read_token
from service.jobs.answers import Event, JobAnswer, JobPlan, LogPart
from service.jobs.client import JobsClient, Unreachable
from service.jobs.progress import SessionProgress
from service.jobs.states import JobState
from service.jobs.trial_answer import TRIAL, TrialAnswer
from service.jobs.unpacking import unpack_export
from service.output import talk
from service.run_folder import NAME

MOST_BYTES = 64 * 1024 * 1024
MOST_EXPORT_BYTES = 256 * 1024 * 1024
_TIMEOUT = httpx2.Timeout(60.0, connect=10.0)
_MEANINGS = {
    400: UsageError,
    404: NotFoundError,
    409: ConflictError,
    413: UsageError,
    415: UsageError,
    422: UsageError,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
}
_NO_ROUTE = "Not Found"

Answer = TypeVar("Answer")


class ServerJobs(JobsClient):
    """See the file's head. Redirects are not followed: the token is for this server alone.

    Args:
        url: ``http://HOST:PORT`` or ``https://…``, as `netlathe serve --http` says it.
        token_file: what the server was given with ``--token-file``.

    Raises:
        UsageError: not such a URL, or a token file that others may read.
        NotFoundError: no such token file.
    """

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        self.place, loopback, plain = _checked(url)
        token = read_token(token_file)
        self._has_token = token is not None
        if token is not None and plain and not loopback:
            talk.print(
                f"[yellow]warning[/]: the token goes to {self.place} unencrypted; put a reverse proxy with TLS before it"
            )
        self._client = httpx2.Client(
            headers={} if token is None else {"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT,
            trust_env=not loopback,  # this machine is not asked by way of a proxy
        )

    def submit(
        self, config: dict[str, Any], *, source: str, job_id: str | None, device_file: Path | None
    ) -> tuple[JobAnswer, bool]:
        body: dict[str, Any] = {"config": config}
        if job_id is not None:
            body["id"] = job_id
        if device_file is not None:
            body["device_file"] = str(device_file.absolute())
        try:
            json.dumps(body, allow_nan=False)
        except (ValueError, TypeError) as error:
            raise UsageError(f"{source}: {error}") from error
        status, content = self._fetch("POST", "/jobs", body=body)
        return self._read(JobAnswer, content), status == 201

    def jobs(self, state: JobState | None = None) -> list[JobAnswer]:
        query: dict[str, str] = {} if state is None else {"state": state.value}
        found: list[JobAnswer] = []
        while True:
            page = self._get(JobPage, "/jobs", query)
            found += page.jobs
            if page.cursor is None:
                return found
            query["cursor"] = page.cursor

    def job(self, job_id: str) -> JobAnswer:
        return self._get(JobAnswer, _path(job_id))

    def plan(self, job_id: str) -> JobPlan:
        return self._get(JobPlan, _path(job_id, "plan"))

    def events(self, job_id: str) -> list[Event]:
        return self._get(list[Event], _path(job_id, "events"))

    def pause(self, job_id: str) -> JobAnswer:
        return self._post(_path(job_id, "pause"), {})

    def cancel(self, job_id: str, *, now: bool) -> JobAnswer:
        return self._post(_path(job_id, "stop"), {"now": now})

    def resume(self, job_id: str, add_trials: int = 0) -> JobAnswer:
        return self._post(_path(job_id, "resume"), {"add_trials": add_trials})

    def delete(self, job_id: str, *, files: bool) -> None:
        self._fetch("DELETE", _path(job_id), query={"files": str(files).lower()})

    def best(self, job_id: str) -> list[SessionProgress]:
        return self._get(list[SessionProgress], _path(job_id, "best"))

    def log_end(self, job_id: str) -> str:
        return self._fetch("GET", _path(job_id, "logs"))[1].decode("utf-8", errors="replace")

    def log_part(self, job_id: str, offset: int) -> LogPart:
        return self._get(LogPart, _path(job_id, "log"), {"offset": str(offset)})

    def trial(self, job_id: str, trial: str) -> TrialAnswer:
        if not TRIAL.fullmatch(trial):
            raise UsageError(
                f"trial {trial!r}: expected a number, or a digest of 4 or more hex digits"
            )
        return self._get(TrialAnswer, _path(job_id, f"trials/{trial}"))

    def export(self, job_id: str, to: Path) -> None:
        """Fetch the exported network into the folder `to`, whole or not at all. Raises NotFoundError before there is one."""
        unpack_export(self._fetch("GET", _path(job_id, "export"), most=MOST_EXPORT_BYTES)[1], to)

    def close(self) -> None:
        self._client.close()

    def _get(self, kind: type[Answer], path: str, query: dict[str, str] | None = None) -> Answer:
        return self._read(kind, self._fetch("GET", path, query=query)[1])

    def _post(self, path: str, body: dict[str, Any]) -> JobAnswer:
        return self._read(JobAnswer, self._fetch("POST", path, body=body)[1])

    def _read(self, kind: type[Answer], content: bytes) -> Answer:
        try:
            return TypeAdapter(kind).validate_json(content)
        except ValidationError as error:
            raise NetlatheError(
                f"{self.place} gave no {kind.__name__}: is it a Netlathe of this version?"
            ) from error

    def _fetch(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, str] | None = None,
        body: dict[str, Any] | None = None,
        most: int | None = None,
    ) -> tuple[int, bytes]:
        """(status, content) of a success; each refusal is the error that it would be here."""
        url, content = f"{self.place}/api/v1{path}", bytearray()
        most = MOST_BYTES if most is None else most
        try:
            with self._client.stream(method, url, params=query, json=body) as response:
                for part in response.iter_bytes():
                    content += part
                    if len(content) > most:
                        raise NetlatheError(f"{url}: the answer is longer than {most} bytes")
        except httpx2.TransportError as error:
            # the text of other kinds may show what was sent
            known = isinstance(error, httpx2.ConnectError)
            raise Unreachable(
                f"{self.place} does not answer ({error if known else type(error).__name__}); expected "
                "`netlathe serve --http` there"
            ) from error
        except httpx2.DecodingError as error:
            raise NetlatheError(f"{url}: the answer cannot be decoded") from error
        if not response.is_success:
            raise self._refusal(response.status_code, bytes(content))
        return response.status_code, bytes(content)

    def _refusal(self, status: int, content: bytes) -> NetlatheError:
        detail = _detail(content)
        if status == 401:
            return NetlatheError(
                f"{self.place} does not accept the token in that file"
                if self._has_token
                else f"{self.place} wants a token: --token-file FILE, or NETLATHE_TOKEN_FILE"
            )
        if status in _MEANINGS and detail and detail != _NO_ROUTE:
            return _MEANINGS[status](detail)
        if status in (502, 503, 504):
            return Unreachable(f"{self.place} cannot answer now ({status})")
        return NetlatheError(
            f"{self.place} answered {status}{': ' + detail if detail else ''}; is it a Netlathe of this version?"
        )


def _checked(url: str) -> tuple[str, bool, bool]:
    """(the URL without what follows its path, whether it is this machine, whether it is unencrypted)."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError("--server: expected a URL such as http://localhost:8100")
    if parts.username is not None or parts.password is not None:
        raise UsageError("--server: no name or password in the URL; a token goes into --token-file")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    address = host if port is None else f"{host}:{port}"
    place = f"{parts.scheme}://{address}{parts.path.rstrip('/')}"
    return place, is_loopback(parts.hostname), parts.scheme == "http"


def _path(job_id: str, rest: str = "") -> str:
    """Of a job; an id that is none is not sent."""
    if not NAME.fullmatch(job_id):
        raise NotFoundError(f"no job {job_id!r}; `netlathe list` shows those that there are")
    return f"/jobs/{job_id}/{rest}".rstrip("/")


def _detail(content: bytes) -> str:
    """Why the server refused; "" where it does not say."""
    try:
        detail = json.loads(content)["detail"]
        if isinstance(detail, str):
            return detail
        return "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in detail)
    except (ValueError, KeyError, TypeError):
        return ""
