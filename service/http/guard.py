"""What a request must fulfil before anything looks at it: default-deny, for every path and method alike.

| check | answer |
|---|---|
| the Host header is one that this server goes by (DNS rebinding) | 421 |
| a token, where the server has one, as ``Authorization: Bearer …``; compared in constant time | 401 |
| a mutation that a browser sends comes from this server's own origin (cross-site requests) | 403 |
| Optuna's dashboard: token or session, only GET and HEAD, and these too only from this server's own origin | 401, 403 |
| a body of at most `MAX_BODY_BYTES`, in JSON | 413, 415 |
| JSON no deeper than `MAX_DEPTH`, numbers of at most `MAX_DIGITS` digits: checked before it is parsed | 400 |

Only the open paths need no token: whether the server lives, and the web page, which has nothing of its own to show.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from service.http.sessions import Sessions, is_dashboard

MAX_BODY_BYTES = 262_144
MAX_DEPTH = 32
MAX_DIGITS = 40
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """ASGI middleware; see the file's head.

    Args:
        app: what is guarded.
        token: that requests must carry; None for none (on loopback only, see `service.http.serving`).
        hosts: names and addresses that this server goes by, without port.
        open_paths: those that need no token.
        sessions: browsers that may look at Optuna's dashboard.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        hosts: Collection[str],
        open_paths: Collection[str],
        sessions: Sessions,
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._token = None if token is None else token.encode()
        self._open_paths = frozenset(open_paths)
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # no websockets here
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _answer(send, *refusal)
            return
        if scope["method"] in _SAFE:
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        problem = _problem(body)
        if problem is not None:
            await _answer(send, *problem)
            return
        await self._app(scope, _replay(body or b"", receive), send)

    def _refusal(self, scope: Scope, headers: dict[str, bytes]) -> tuple[int, str] | None:
        if _host(headers.get("host", b"")) not in self._hosts:
            return 421, "this server does not go by that name; see --allow-host"
        if is_dashboard(scope["path"]):
            return self._dashboard_refusal(scope["method"], headers)
        if scope["path"] not in self._open_paths and not self._may(
            headers.get("authorization", b"")
        ):
            return 401, "expected the header Authorization: Bearer TOKEN"
        if scope["method"] in _SAFE:
            return None
        if self._is_foreign(headers):
            return 403, "a page of another origin may not change anything here"
        length = headers.get("content-length", b"0")
        if length.isdigit() and int(length) > MAX_BODY_BYTES:
            return 413, f"expected a body of at most {MAX_BODY_BYTES} bytes"
        kind = headers.get("content-type", b"application/json").split(b";")[0].strip().lower()
        if kind != b"application/json":
            return 415, "expected the content type application/json"
        return None

    def _dashboard_refusal(self, method: str, headers: dict[str, bytes]) -> tuple[int, str] | None:
        allowed = self._may(headers.get("authorization", b""))
        if not allowed and not self._sessions.knows(headers.get("cookie", b"")):
            return (
                401,
                "open Optuna's dashboard from this server's page (/), which asks for the token",
            )
        if self._is_foreign(headers):
            return 403, "a page of another origin may not use Optuna's dashboard"
        if method not in ("GET", "HEAD"):
            return 403, "Optuna's dashboard is only to look at here: it shows a copy"
        return None

    def _is_foreign(self, headers: dict[str, bytes]) -> bool:
        """Whether a browser says that a page of another origin sends this."""
        origin = headers.get("origin")
        site = headers.get("sec-fetch-site", b"same-origin")
        return (origin is not None and not self._own(origin)) or site not in (
            b"same-origin",
            b"none",
        )

    def _may(self, authorization: bytes) -> bool:
        if self._token is None:
            return True
        kind, _, given = authorization.partition(b" ")
        return kind.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._token)

    def _own(self, origin: bytes) -> bool:
        try:
            parts = urlsplit(origin.decode("latin-1"))
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and (parts.hostname or "") in self._hosts


def _host(header: bytes) -> str:
    try:
        return (urlsplit(f"//{header.decode('latin-1')}").hostname or "").lower()
    except ValueError:
        return ""


async def _body(receive: Receive) -> bytes | None:
    """All of it; None where it is too long."""
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(parts)
        length += len(message.get("body", b""))
        if length > MAX_BODY_BYTES:
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _problem(body: bytes | None) -> tuple[int, str] | None:
    if body is None:
        return 413, f"expected a body of at most {MAX_BODY_BYTES} bytes"
    depth = digits = 0
    in_text = escaped = False
    for byte in body:
        if in_text:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_text = False
            continue
        digits = digits + 1 if 0x30 <= byte <= 0x39 else 0
        if byte == 0x22:
            in_text = True
        elif byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
        if depth > MAX_DEPTH or digits > MAX_DIGITS:
            return (
                400,
                f"expected JSON no deeper than {MAX_DEPTH}, numbers of at most {MAX_DIGITS} digits",
            )
    return None


def _replay(body: bytes, receive: Receive) -> Receive:
    """`body`, then whatever comes."""
    given = False

    async def replayed() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


async def _answer(send: Send, status: int, detail: str) -> None:
    content = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
