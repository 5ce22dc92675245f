"""Optuna's dashboard over the copies that searches keep in the results folder: to look at, never to change.

It has no authentication of its own and would rename, annotate and delete. Here it stands behind `Guard`, which lets nothing
but GET and HEAD through; this file lets through only the pages that it knows, and the connection to the database refuses to
write. It runs in a process of its own (`dashboard_process`).

The dashboard's script asks for absolute paths (``/api/studies``, ``/static``, …), so it lives at the top, beside ``/api/v1``.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sqlite3
from contextlib import closing
from pathlib import Path

from fastapi import APIRouter

from service.errors import NetlatheError
from service.http.answers import StudyLink
from service.http.dashboard_process import DashboardFailed, DashboardProcess, ask
from service.http.dashboard_worker import DATABASE, connect
from service.http.guard import App, Message, Receive, Scope, Send
from service.http.jobs import TheJobs
from service.http.sessions import is_dashboard

_log = logging.getLogger(__name__)

STUDY_FILE = "mirror.json"
"""As in `search.mirror_store`, which cannot be imported without torch; a test holds them together."""

_PAGES = re.compile(
    r"/dashboard(/|/studies/\d{1,9}(/[A-Za-z-]+)?|/compare-studies)?"
    r"|/static/bundle\.js"
    r"|/csv/\d{1,9}"
    r"|/artifacts/\d{1,9}(/\d{1,9})?/[0-9a-fA-F-]+"
    r"|/api/meta"
    r"|/api/studies(/\d{1,9}(/param_importances|/plot/[a-z_]+)?)?",
    re.ASCII,
)

_POLICY = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; connect-src 'self'; "
    # its plots use WebGL through a library that evaluates code, and set styles in the document
    "script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data: blob:"
)
HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"cross-origin-resource-policy": b"same-origin",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"private, no-cache",
}
_ARTIFACT_POLICY = b"default-src 'none'; frame-ancestors 'none'; sandbox"

_NO_STUDY = (
    "There is nothing to show yet: no run has written a copy for Optuna's dashboard here.\n"
    "The first search with mirror.enabled (the default) writes one with its first results; then reload this page.\n"
)


class Dashboard:
    """ASGI middleware: answers the dashboard's paths, passes on all others.

    Args:
        app: what answers the others.
        process: the dashboard itself.
    """

    def __init__(self, app: App, *, process: DashboardProcess) -> None:
        self._app = app
        self._process = process

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_dashboard(scope["path"]):
            await self._app(scope, receive, send)
            return
        own = _with_headers(send, scope["path"])
        if not _PAGES.fullmatch(scope["path"]):
            await _say(own, 404, "Optuna's dashboard has no such page.\n")
            return
        try:
            address = await asyncio.to_thread(self._process.address)
        except DashboardFailed as error:
            _log.warning("Optuna's dashboard cannot read %s: %s", DATABASE, error)
            await _say(own, 503, f"Optuna's dashboard cannot read {DATABASE}: {error}\n")
            return
        if address is None:
            await _say(own, 404, _NO_STUDY)
            return
        await _pass_on(address, scope, own)


async def _pass_on(address: Path, scope: Scope, send: Send) -> None:
    begun = False
    query, headers = scope["query_string"], list(scope["headers"])
    try:
        async for part in ask(address, scope["method"], scope["path"], query, headers):
            if isinstance(part, tuple):
                status, answered = part
                begun = True
                start = {"type": "http.response.start", "status": status, "headers": answered}
                await send(start)
            else:
                await send({"type": "http.response.body", "body": part, "more_body": True})
    except DashboardFailed as error:
        _log.warning("Optuna's dashboard failed at %s: %s", scope["path"], error)
        if not begun:
            await _say(send, 503, f"Optuna's dashboard failed: {error}; reload this page.\n")
            return
        raise  # the answer is cut off, and the browser must see that
    await send({"type": "http.response.body", "body": b""})


def study_ids(results: Path) -> dict[str, int]:
    """Ids of the studies in the dashboard, by name of the run directory.

    Raises:
        NetlatheError: the database cannot be read.
    """
    database = results / DATABASE
    if not database.is_file():
        return {}
    try:
        with closing(connect(results)) as connection:
            rows = connection.execute("SELECT study_name, study_id FROM studies").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return {}  # a search has only just made the file
        raise NetlatheError(f"{database}: {error}") from error
    except sqlite3.DatabaseError as error:
        raise NetlatheError(f"{database}: {error}") from error
    ids: dict[str, int] = dict(rows)
    found = {path.parent.name: _study(path) for path in results.glob(f"*/{STUDY_FILE}")}
    return {run: ids[name] for run, name in found.items() if name in ids}


def _study(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["study"])
    except (OSError, ValueError, KeyError, TypeError):
        return None  # deleted meanwhile, or not ours


router = APIRouter(prefix="/api/v1")


@router.get("/studies")
def studies(jobs: TheJobs) -> list[StudyLink]:
    """Runs whose trials Optuna's dashboard shows, and where; those that have written none yet are left out."""
    return [
        StudyLink(run=run, study=study, path=f"/dashboard/studies/{study}")
        for run, study in sorted(study_ids(jobs.folder.results).items())
    ]


def _with_headers(send: Send, path: str) -> Send:
    """Set our headers, and drop what would let other origins read artifacts."""
    ours = dict(HEADERS)
    if path.startswith("/artifacts/"):
        ours[b"content-security-policy"] = _ARTIFACT_POLICY

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [
                (name, value)
                for name, value in message["headers"]
                if name not in ours and name != b"access-control-allow-origin"
            ]
            message = {**message, "headers": [*kept, *ours.items()]}
        await send(message)

    return sent


async def _say(send: Send, status: int, text: str) -> None:
    content = text.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
