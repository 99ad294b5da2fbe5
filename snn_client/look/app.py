"""The app: who may ask what, and which answers there are. The plugin serves it in Airflow, `snn look` without."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.middleware.gzip import GZipMiddleware

from snn.errors import InvalidInput, SnnError
from snn_client.look.gate import Gate
from snn_client.look.microscope_routes import microscope_routes
from snn_client.look.model_routes import model_routes
from snn_client.look.page import Page, nobody
from snn_client.look.run_routes import run_routes
from snn_client.look.stacks import Stack
from snn_client.serving.asking import NotAnswered
from snn_cloud.aws.errors import RunNotFound
from snn_cloud.aws.passing import AWS_ERRORS, reason

VERSION = version("serverless-neural-network-airflow")
STATIC = Path(__file__).with_name("static")
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml",
}


def make_app(stacks: Sequence[Stack], viewer: Callable[..., Any], *, title: str = "Neural networks") -> FastAPI:
    """Return the app for some stacks.

    :param viewer: a dependency of FastAPI's that returns the `Viewer` who asks, or raises HTTPException, 401 for
        nobody; every route depends on it
    """
    page = Page(stacks)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        yield
        page.workers.close()

    app = FastAPI(
        title=title, docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan, dependencies=[Depends(nobody)]
    )
    app.dependency_overrides[nobody] = viewer
    app.state.page = page
    for routes in (static_routes(page.workers.warm), run_routes(page), microscope_routes(page), model_routes(page)):
        app.include_router(routes)
    _answer_errors(app)
    app.add_middleware(GZipMiddleware, minimum_size=2_000, compresslevel=5)
    app.add_middleware(Gate)
    return app


def static_routes(opened: Callable[[], None] = lambda: None) -> APIRouter:
    """Return the routes of the page's own files: those in `static/`, and no others.

    `opened` is called when somebody opens the page, and does not take long.
    """
    files = {str(path.relative_to(STATIC)): path for path in STATIC.rglob("*") if path.suffix in KINDS}
    routes = APIRouter()

    @routes.get("/")
    def index(request: Request) -> Response:
        # Relative addresses lead somewhere else without it.
        if not request.url.path.endswith("/"):
            whole = str(request.url.replace(path=f"{request.url.path}/"))
            return Response(status_code=307, headers={"location": whole})
        opened()
        return _file(request, files["index.html"])

    @routes.get("/static/{name:path}")
    def static(request: Request, name: str) -> Response:
        if name not in files:
            raise HTTPException(404, f"there is no file {name!r}")
        return _file(request, files[name])

    return routes


def _file(request: Request, path: Path) -> Response:
    stat = path.stat()
    etag = f'"{VERSION}-{stat.st_mtime_ns:x}-{stat.st_size:x}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(path.read_bytes(), media_type=KINDS[path.suffix], headers=headers)


def _answer_errors(app: FastAPI) -> None:
    """Have every failure answered by one line."""

    def said(status: int, problem: str) -> Response:
        return Response(json.dumps({"error": problem}), status_code=status, media_type="application/json")

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if 300 <= error.status_code < 400:
            return Response(status_code=error.status_code, headers=error.headers)
        if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
            return Response(LOGIN, status_code=401, media_type="text/html")
        return said(error.status_code, str(error.detail))

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return said(422, f"{'.'.join(str(part) for part in first['loc'][1:])}: {first['msg']}")

    @app.exception_handler(SnnError)
    def failed(request: Request, error: SnnError) -> Response:
        wrong = isinstance(error, InvalidInput) or (isinstance(error, NotAnswered) and 400 <= error.status < 500)
        status = 404 if isinstance(error, RunNotFound) else 400 if wrong else 503
        return said(status, str(error))

    for kind in AWS_ERRORS:
        app.exception_handler(kind)(lambda request, error: said(502, f"AWS: {reason(error)}"))


LOGIN = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Log in first</title>"
    "<h1>Log in first</h1><p>This page shows its runs to people who are logged in to Airflow. "
    "Log in there, then open this address again.</p></html>"
)
