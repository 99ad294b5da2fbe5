"""Routes of what came out of runs: sweeps, versions of models, the champion, its endpoint, and photos tried on it."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from functools import partial
from typing import Annotated, TypedDict

from fastapi import APIRouter, Body, HTTPException, Query, Response

from snn.errors import InvalidInput
from snn_client.data.staging import read_source
from snn_client.look.page import Page, Who, answer
from snn_client.look.rows import RunRow, row, rows, sweep_of
from snn_client.look.viewers import Viewer
from snn_client.models.champion import Reign, reigns
from snn_client.models.versions import registry_of, standing
from snn_client.serving.asking import Answer, ask
from snn_cloud.aws import places


class Reigned(TypedDict):
    """A model that was the champion, and its run, if the ledger has it and the person may see it."""

    reign: Reign
    row: RunRow | None


def model_routes(page: Page) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(prefix="/api")

    @routes.get("/sweeps/{stack}/{sweep_id}")
    def sweep(viewer: Who, stack: str, sweep_id: str) -> Response:
        shown = page.shown(stack)
        wanted = places.check_run_id(sweep_id)
        found = [entry for entry in shown.board.runs().runs if sweep_of(entry.run.run_id) == wanted]
        seen = rows(found, viewer)
        if not seen:
            raise HTTPException(404, f"there is no sweep {sweep_id!r} that you may see")
        source = f"s3://{shown.stack.outputs.bucket}/{places.sweep_json(sweep_id)}"
        table = None
        # The table tells of all its runs: it is for who may see them all. Anybody may name a run as a sweep's is named.
        if len(seen) == len(found):
            with suppress(InvalidInput):  # there is none while the sweep goes on
                table = json.loads(read_source(shown.stack.clients.s3, source))
        return answer({"sweep_id": sweep_id, "runs": seen, "table": table})

    @routes.get("/champion/{stack}")
    def champion(viewer: Who, stack: str) -> Response:
        check_sees_models(viewer)
        shown = page.shown(stack)
        listed = {entry.run.run_id: entry for entry in shown.board.runs().runs if viewer.sees(entry.run)}
        found: list[Reigned] = []
        for reign in reigns(shown.stack.clients, shown.stack.outputs.bucket):
            entry = listed.get(reign["run_id"])
            found.append({"reign": reign, "row": row(entry.run, entry.usd, viewer) if entry else None})
        return answer(found)

    @routes.post("/champion/{stack}/photo")
    async def photo(
        viewer: Who, stack: str, content: Annotated[bytes, Body(media_type="application/octet-stream")],
        name: Annotated[str, Query(max_length=200)] = "the photo",
    ) -> Response:  # fmt: skip
        check_sees_models(viewer)
        sent = base64.b64encode(content).decode()
        asked = partial(page.workers.ask, page.shown(stack).stack, "", "champion", content=sent, name=name)
        return answer(await page.slowly(asked))

    @routes.get("/models/{stack}")
    def models(viewer: Who, stack: str) -> Response:
        check_sees_models(viewer)
        reached = page.shown(stack).stack
        names = registry_of(reached.clients, reached.outputs).models()
        return answer([standing(reached.clients, reached.outputs, name) for name in names])

    @routes.post("/models/{stack}/ask")
    async def asked(
        viewer: Who, stack: str, content: Annotated[bytes, Body(media_type="application/octet-stream")],
        target: Annotated[str, Query(max_length=200)] = "",
    ) -> Response:  # fmt: skip
        check_sees_models(viewer)
        reached = page.shown(stack).stack

        def work() -> Answer:
            secrets = reached.reach().keys[:3]
            return ask(reached.clients, reached.outputs, content, secrets=secrets, target=target)

        return answer(await page.slowly(work))

    return routes


def check_sees_models(viewer: Viewer) -> None:
    """Raise 403 unless a person may look at the champion."""
    if not viewer.sees_models:
        raise HTTPException(403, "you may not see plugins, and so not the champion")
