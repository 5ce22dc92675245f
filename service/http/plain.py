"""Routes that are not about one job: health, metrics, and the files of the web page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from typing import Any

from fastapi import APIRouter
from fastapi.responses import PlainTextResponse, Response

from service.http.answers import Problem
from service.http.jobs import TheJobs

PAGE_FOLDER = files("service.http") / "page"
PAGE_FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
OPEN_PATHS = ("/healthz", "/readyz", *PAGE_FILES)
"""They need no token: they say that the server lives, or are the page's own files.

The page holds nothing: what it shows, it asks for with the token that a user gives it."""
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob:; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

PLAIN_TEXT: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
"""Of a route whose answer is text, but whose problems are JSON: a response class would be said of both."""

plain = APIRouter()


@plain.get("/healthz", response_class=PlainTextResponse)
def _healthz() -> str:
    return "ok\n"


_ASKS_THE_STORE: dict[int | str, dict[str, Any]] = {**PLAIN_TEXT, 503: {"model": Problem}}


@plain.get("/readyz", response_class=Response, responses=_ASKS_THE_STORE)
def _readyz(jobs: TheJobs) -> Response:
    jobs.store.counts()
    return PlainTextResponse("ok\n")


@plain.get("/metrics", response_class=Response, responses=_ASKS_THE_STORE)
def _metrics(jobs: TheJobs) -> Response:
    """Prometheus text: jobs by state."""
    lines = ["# HELP netlathe_jobs Jobs by state.", "# TYPE netlathe_jobs gauge"]
    lines += [
        f'netlathe_jobs{{state="{state}"}} {count}' for state, count in jobs.store.counts().items()
    ]
    return PlainTextResponse("\n".join(lines) + "\n")


def _page_file(name: str, kind: str) -> Callable[[], Response]:
    content = (PAGE_FOLDER / name).read_bytes()

    def give() -> Response:
        return Response(content, media_type=kind, headers=PAGE_HEADERS)

    return give


for _path, (_name, _kind) in PAGE_FILES.items():
    plain.add_api_route(_path, _page_file(_name, _kind), methods=["GET"], include_in_schema=False)
