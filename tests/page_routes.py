"""All routes of the page's app."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI


def routes_of(app: FastAPI) -> list[Any]:
    """All routes, also where Starlette keeps included ones in a tree."""
    found: list[Any] = []

    def walk(routes: Any) -> None:
        for route in routes:
            if getattr(route, "methods", None):
                found.append(route)
            for name in ("routes", "original_router"):
                inner = getattr(route, name, None)
                if inner is not None:
                    walk(getattr(inner, "routes", inner))

    walk(app.routes)
    return found
