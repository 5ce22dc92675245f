"""Browsers that may look at Optuna's dashboard.

A browser that follows a link sends no Authorization header. So the page, which has the token, asks for a session and gets
a cookie: a random id, known to this process alone, never the token. It opens the dashboard's paths and nothing else
(`service.http.guard`); what has a token by itself needs no session.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Request, Response

IDLE_S = 1800.0
"""Seconds after which a session ends that nobody used. An open dashboard asks every few seconds."""

MOST = 1000
"""Sessions at once; one more ends the one that was used longest ago."""

PATHS = (
    "/dashboard",
    "/static",
    "/csv",
    "/artifacts",
    "/api/meta",
    "/api/studies",
    "/api/trials",
    "/api/artifacts",
    "/api/llm",
)
"""Where the dashboard lives: its script asks for these and cannot be told to ask below another path."""


def is_dashboard(path: str) -> bool:
    """Whether a request's path is the dashboard's, or would be if it had such a page."""
    return any(path == own or path.startswith(f"{own}/") for own in PATHS)


class Sessions:
    """The sessions of one server, for its event loop alone.

    Attributes:
        cookie: the cookie's name. Browsers tell hosts apart, not ports: another server of this host has another name.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.cookie = f"netlathe-{secrets.token_hex(4)}"
        self._clock = clock
        self._used: dict[bytes, float] = {}  # by the id's digest, the last used last

    def open(self, cookies: bytes) -> str:
        """The session that the Cookie header names where it still lives, else a new one."""
        given = self._given(cookies)
        session = given if self.knows(cookies) else secrets.token_urlsafe(32)
        if len(self._used) >= MOST:
            del self._used[next(iter(self._used))]
        self._used[_digest(session)] = self._clock()
        return session

    def knows(self, cookies: bytes) -> bool:
        """Whether the Cookie header names a session that lives; using it keeps it alive."""
        digest = _digest(self._given(cookies))
        used = self._used.pop(digest, None)
        if used is None or self._clock() - used > IDLE_S:
            return False
        self._used[digest] = self._clock()
        return True

    def close(self, cookies: bytes) -> None:
        """End the session that the Cookie header names."""
        self._used.pop(_digest(self._given(cookies)), None)

    def _given(self, cookies: bytes) -> str:
        pairs = (pair.strip().partition(b"=") for pair in cookies.split(b";"))
        own = self.cookie.encode()
        return next((value.decode("latin-1") for name, _, value in pairs if name == own), "")


def _digest(session: str) -> bytes:
    # looked up by digest: how long that takes says nothing about the ids that there are
    return sha256(session.encode()).digest()


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


TheSessions = Annotated[Sessions, Depends(_sessions)]
router = APIRouter(prefix="/api/v1")


@router.post("/session", status_code=204, response_class=Response)
async def open_session(request: Request, sessions: TheSessions) -> Response:
    """A cookie with which this browser may look at Optuna's dashboard until half an hour after its last request."""
    response = Response(status_code=204)
    response.set_cookie(
        sessions.cookie,
        sessions.open(_cookies(request)),
        secure=_is_https(request),
        httponly=True,
        samesite="strict",
    )
    return response


@router.delete("/session", status_code=204, response_class=Response)
async def close_session(request: Request, sessions: TheSessions) -> Response:
    """End this browser's session."""
    sessions.close(_cookies(request))
    response = Response(status_code=204)
    response.delete_cookie(sessions.cookie, httponly=True, samesite="strict")
    return response


def _cookies(request: Request) -> bytes:
    return request.headers.get("cookie", "").encode("latin-1")


def _is_https(request: Request) -> bool:
    """Also behind a proxy that ends TLS: the browser says where its page came from, and `Guard` has looked at it."""
    origin = urlsplit(request.headers.get("origin", ""))
    return "https" in (origin.scheme, request.url.scheme)
