"""Who looks at the page, and what they may see and do. Airflow's rules are the plugin's; here are those without it."""

from __future__ import annotations

import hmac
import secrets
from typing import Protocol

from fastapi import HTTPException, Request

from snn_cloud.ledger.record import Run


class Viewer(Protocol):
    """A person who is known, for one request."""

    @property
    def name(self) -> str:
        """What they are called."""

    def sees(self, run: Run) -> bool:
        """Return whether they may look at a run."""

    def changes(self, run: Run) -> bool:
        """Return whether they may stop a run and write notes on it."""

    @property
    def sees_models(self) -> bool:
        """Return whether they may look at the champion and try photos on it."""


class Owner:
    """Whoever started the page on their own machine: they have the credentials, and may do all."""

    name = "you"
    sees_models = True

    def sees(self, run: Run) -> bool:
        """Return True."""
        return True

    def changes(self, run: Run) -> bool:
        """Return True."""
        return True


class OwnerBySecret:
    """A dependency that knows the owner by a cookie, which the page gets with the secret in its address.

    So nobody else who works on the machine can open the page; and no other site, by a name that leads here.
    """

    def __init__(self, secret: str, port: int) -> None:
        self._secret, self._cookie = secret.encode(), f"snn-look-{port}"
        self._held = secrets.token_urlsafe(24)  # by the cookie, which other servers of this machine get to see, too
        self._hosts = f"127.0.0.1:{port}", f"localhost:{port}"

    def __call__(self, request: Request) -> Owner:
        """Return the owner. Raises HTTPException: 303 to whoever brings the secret, 401 or 403 to others."""
        if request.headers.get("host", "") not in self._hosts:
            raise HTTPException(403, f"open this page as http://{self._hosts[0]}")
        given = request.query_params.get("token", "")
        if given and request.url.path == "/" and hmac.compare_digest(given.encode(), self._secret):
            cookie = f"{self._cookie}={self._held}; HttpOnly; SameSite=Strict; Path=/"
            raise HTTPException(303, "", headers={"location": "./", "set-cookie": cookie})
        if not hmac.compare_digest(request.cookies.get(self._cookie, "").encode(), self._held.encode()):
            raise HTTPException(401, "open the page by the whole address that snn look has printed")
        return Owner()
