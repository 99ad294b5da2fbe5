"""Routes of the microscope: each asks the worker, and answers what it found."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Response

from snn_client.look.page import Page, Who, answer
from snn_client.look.viewers import Viewer
from snn_client.microscope.scope import Kind, Part

MOST_TILES = 200
Photo = Annotated[bytes, Body(media_type="application/octet-stream")]


def microscope_routes(page: Page) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api/runs/{stack}/{run_id}")

    async def ask(viewer: Viewer, stack: str, run_id: str, what: str, **arguments: Any) -> Any:
        def look() -> Any:
            shown, _ = page.run(stack, run_id, viewer)
            return page.workers.ask(shown.stack, run_id, what, **arguments)

        return await page.slowly(look)

    def picture(found: str) -> Response:
        # What an epoch is does not change, so a browser need not ask twice.
        headers = {"cache-control": "private, max-age=300"}
        return Response(base64.b64decode(found), media_type="image/png", headers=headers)

    @routes.get("/microscope")
    async def about(viewer: Who, stack: str, run_id: str) -> Response:
        return answer(await ask(viewer, stack, run_id, "about"))

    @routes.get("/epochs/{epoch}/network")
    async def network(viewer: Who, stack: str, run_id: str, epoch: int) -> Response:
        return answer(await ask(viewer, stack, run_id, "network", epoch=epoch))

    @routes.get("/epochs/{epoch}/layers/{layer}/{kind}.png")
    async def layer_png(
        viewer: Who, stack: str, run_id: str, epoch: int, layer: int, kind: Kind, first: int = 0,
        count: Annotated[int, Query(ge=1, le=MOST_TILES)] = 1, size: Annotated[int, Query(ge=4, le=1024)] = 1024,
    ) -> Response:  # fmt: skip
        how = {"epoch": epoch, "layer": layer, "first": first, "count": count, "size": size, "kind": kind}
        return picture(await ask(viewer, stack, run_id, "weights", **how))

    @routes.get("/epochs/{epoch}/layers/{layer}/bars")
    async def bars(
        viewer: Who, stack: str, run_id: str, epoch: int, layer: int, first: int = 0,
        count: Annotated[int, Query(ge=1, le=MOST_TILES)] = 1,
    ) -> Response:  # fmt: skip
        return answer(await ask(viewer, stack, run_id, "bars", epoch=epoch, layer=layer, first=first, count=count))

    @routes.get("/epochs/{epoch}/layers/{layer}/neurons/{neuron}")
    async def neuron(
        viewer: Who, stack: str, run_id: str, epoch: int, layer: int, neuron: int, part: Part = "train",
        place: int | None = None,
    ) -> Response:  # fmt: skip
        how: dict[str, Any] = {"epoch": epoch, "layer": layer, "neuron": neuron, "part": part, "place": place}
        return answer(await ask(viewer, stack, run_id, "neuron", **how))

    @routes.get("/epochs/{epoch}/invocations")
    async def invocations(viewer: Who, stack: str, run_id: str, epoch: int) -> Response:
        return answer(await ask(viewer, stack, run_id, "invocations", epoch=epoch))

    @routes.get("/epochs/{epoch}/invocations/log")
    async def invocation_log(
        viewer: Who, stack: str, run_id: str, epoch: int, request_id: Annotated[str, Query(max_length=100)]
    ) -> Response:
        return answer(await ask(viewer, stack, run_id, "invocation_log", epoch=epoch, request_id=request_id))

    @routes.get("/epochs/{epoch}/samples/{part}/{place}")
    async def way(viewer: Who, stack: str, run_id: str, epoch: int, part: Part, place: int) -> Response:
        return answer(await ask(viewer, stack, run_id, "way", epoch=epoch, part=part, place=place))

    @routes.get("/samples/{part}/{place}.png")
    async def sample(
        viewer: Who, stack: str, run_id: str, part: Part, place: int,
        size: Annotated[int, Query(ge=8, le=512)] = 96,
    ) -> Response:  # fmt: skip
        return picture(await ask(viewer, stack, run_id, "picture", part=part, place=place, size=size))

    @routes.post("/epochs/{epoch}/photo")
    async def photo(
        viewer: Who, stack: str, run_id: str, epoch: int, content: Photo,
        name: Annotated[str, Query(max_length=200)] = "the photo",
    ) -> Response:  # fmt: skip
        sent = base64.b64encode(content).decode()
        return answer(await ask(viewer, stack, run_id, "photo", epoch=epoch, content=sent, name=name))

    return routes
