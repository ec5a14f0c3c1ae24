"""What stands before every request: host, origin, token, size; and the headers after it."""

from __future__ import annotations

import hmac
import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from picojoule.server.limits import ServerLimits

COOKIE = "picojoule_token"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
UPLOADS = "/api/networks"
PLAIN_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>picojoule</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"></head>
<body><main><h1>Not here</h1><p>{message}</p></main></body></html>
"""
HEADERS = {
    # Scripts and styles only from files of the package; nothing from elsewhere; no frames.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in.

    Args:
        hosts: names in the Host header that are ours.
        addresses: numeric addresses are ours too: a page elsewhere cannot make a browser send
            them for a name of its own (DNS rebinding).
        token: what a client must show; None on loopback.
    """

    hosts: frozenset[str]
    addresses: bool = False
    token: str | None = None


def is_page(path: str) -> bool:
    """Whether people open what is at *path*, and not a script or a program."""
    return not path.startswith(("/api/", "/static/"))


class _TooLargeError(Exception):
    """The body is longer than allowed."""


class Guard:
    """ASGI middleware; refuses what the door, or a limit, forbids."""

    def __init__(self, app: Any, door: Door, limits: ServerLimits) -> None:
        self.app, self.door, self.limits = app, door, limits

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = over = False

        async def send_guarded(message: Any) -> None:
            nonlocal started
            if over and not started:
                return  # the framework's own words for a body that could not be read
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *_extra(message["headers"])]
            await send(message)

        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _respond(send_guarded, *refusal, page=is_page(scope["path"]))
            return
        most = self.limits.upload if scope["path"] == UPLOADS else self.limits.body
        received = 0

        async def receive_bounded() -> Any:
            nonlocal received, over
            message = await receive()
            received += len(message.get("body", b""))
            if received > most:
                over = True
                raise _TooLargeError
            return message

        try:
            if int(headers.get("content-length", "0") or "0") > most:
                raise _TooLargeError
            await self.app(scope, receive_bounded, send_guarded)
            if over:
                raise _TooLargeError
        except ValueError:
            if started:
                raise
            await _respond(send_guarded, 400, "the length of the request is no number")
        except _TooLargeError:
            if started:
                raise
            over = False
            await _respond(send_guarded, 413, f"more than {most // 1024} KiB")

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[Any, ...] | None:
        host = headers.get("host", "")
        if not self._ours(host):
            return 421, f"the host {host[:80]!r} is not this server"
        if scope["method"] not in SAFE_METHODS:
            origin = headers.get("origin")
            if origin is not None and urlsplit(origin).netloc != host:
                return 403, "a page of another site may not change anything here"
            if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                return 403, "a page of another site may not change anything here"
        if self.door.token is None:
            return None
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if token and hmac.compare_digest(token.encode(), self.door.token.encode()):
            cookie = f"{COOKIE}={self.door.token}; Path=/; HttpOnly; SameSite=Strict"
            if scope["method"] in SAFE_METHODS:
                # Out of the address line, so that a shared link does not carry it.
                clean = (scope["path"].encode("ascii", "ignore").decode()) or "/"
                return 303, "", {"location": "/" + clean.lstrip("/"), "set-cookie": cookie}
            return None
        if hmac.compare_digest(_shown(headers).encode(), self.door.token.encode()):
            return None
        problem = "this server wants its token: open the address it printed when it started"
        return 401, problem, {"www-authenticate": "Bearer"}

    def _ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.door.hosts:
            return True
        if not self.door.addresses:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _shown(headers: dict[str, str]) -> str:
    """The token a client shows, in a header or a cookie."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    try:
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return ""
    return cookie.value if cookie else ""


def _extra(present: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    names = {name.lower() for name, _ in present}
    return [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in names]


async def _respond(
    send: Any,
    status: int,
    message: str,
    more: dict[str, str] | None = None,
    *,
    page: bool = False,
) -> None:
    """Answer without the application, whose styles a stranger may not have either."""
    kind = "text/html; charset=utf-8" if page else "application/json"
    text = json.dumps({"error": {"message": message, "mistakes": []}})
    if page:
        text = PLAIN_PAGE.format(message=escape(message))
    body = text.encode() if message else b""
    headers = {"content-type": kind, "content-length": str(len(body)), **(more or {})}
    pairs = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
