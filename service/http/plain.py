"""Routes that are not about one job: health, metrics, and the files of the web page."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

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

plain = APIRouter()


@plain.get("/healthz", response_class=PlainTextResponse)
def _healthz() -> str:
    return "ok\n"


@plain.get("/readyz", response_class=PlainTextResponse, responses={503: {"model": Problem}})
def _readyz(jobs: TheJobs) -> str:
    jobs.store.counts()
    return "ok\n"


@plain.get("/metrics", response_class=PlainTextResponse)
def _metrics(jobs: TheJobs) -> str:
    """Prometheus text: jobs by state."""
    lines = ["# HELP netlathe_jobs Jobs by state.", "# TYPE netlathe_jobs gauge"]
    lines += [
        f'netlathe_jobs{{state="{state}"}} {count}' for state, count in jobs.store.counts().items()
    ]
    return "\n".join(lines) + "\n"


def _page_file(name: str, kind: str) -> Callable[[], Response]:
    content = (PAGE_FOLDER / name).read_bytes()

    def give() -> Response:
        return Response(content, media_type=kind, headers=PAGE_HEADERS)

    return give


for _path, (_name, _kind) in PAGE_FILES.items():
    plain.add_api_route(_path, _page_file(_name, _kind), methods=["GET"], include_in_schema=False)
