"""What every request passes before a route sees it, and what every answer carries: headers, origins, sizes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

MOST_BYTES = 20 * 2**20
"""Of what is sent: a photo."""

MOST_JSON = 2**16  # of a note

# Forms of other sites can send none of these without asking first, which nobody here answers.
KINDS = ("application/json", "application/octet-stream", "image/")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'self'; form-action 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Gate:
    """Refuses what another site makes a browser send, and adds the headers that keep a page to itself."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.decode().lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in HEADERS.items() if name not in given),
                ]
            await send(message)

        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] not in ("GET", "HEAD", "OPTIONS") and (refused := refusal(headers)):
            status, problem = refused
            body = json.dumps({"error": problem}).encode()
            kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await with_headers({"type": "http.response.start", "status": status, "headers": kind})
            await send({"type": "http.response.body", "body": body})
            return
        await self._app(scope, receive, with_headers)


def refusal(headers: MutableMapping[str, str]) -> tuple[int, str] | None:
    """Return the status and the reason for which a request that changes something is refused, None for a good one.

    A browser says where a request comes from, by Sec-Fetch-Site or at least by Origin; what is no browser says neither,
    and nobody can make it send somebody else's cookie.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if (site is not None and site != "same-origin") or (site is None and origin and not _is_same(origin, headers)):
        return 403, "this request comes from another site: open the page itself"
    if not headers.get("content-type", "").lower().startswith(KINDS):
        return 415, f"send one of {', '.join(KINDS)}*"
    try:
        length = int(headers["content-length"])
    except (KeyError, ValueError):
        return 411, "send the length of what you send"
    most = MOST_JSON if headers["content-type"].lower().startswith("application/json") else MOST_BYTES
    if length > most:
        return 413, f"{length:,} bytes are too many: at most {most:,}"
    return None


def _is_same(origin: str, headers: MutableMapping[str, str]) -> bool:
    host = headers.get("x-forwarded-host", "").split(",")[0].strip() or headers.get("host", "")
    return urlsplit(origin).netloc == host
