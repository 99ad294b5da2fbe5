"""The page of neural networks in a real Airflow: who may what on every route, and a person who works with it."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import pytest
from browsers import chromium
from page_routes import routes_of
from playwright.sync_api import Browser, FrameLocator, Locator, Page, expect

from snn_client.look.app import make_app
from snn_client.look.viewers import Owner
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import State

SECONDS = 60.0  # of a training that is watched
ROLES = ("admin", "op", "user", "viewer")  # as in conftest
Machine = Training = Any  # of conftest


@pytest.fixture(scope="module")
def people(machine: Machine) -> Iterator[dict[str, httpx.Client]]:
    """A client for each role, logged in by token; and anonymous."""
    airflow = machine.api._airflow
    passwords = json.loads(Path(airflow.password_file).read_text())
    found = {"anonymous": httpx.Client(base_url=airflow.url, timeout=90)}
    for role in ROLES:
        client = httpx.Client(base_url=airflow.url, timeout=90)
        answer = client.post("/auth/token", json={"username": role, "password": passwords[role]})
        assert answer.status_code == 201, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        found[role] = client
    yield found
    for client in found.values():
        client.close()


@pytest.fixture
def going(train: Callable[..., Training]) -> Iterator[Training]:
    """A training of a DAG that has no end, and is watched."""
    training = train("waiting_training")
    training.under_way()
    yield training
    if training.run_id and not training.ledger.get(training.run_id).state.is_terminal:
        training.ledger.request_cancel(training.run_id)


def asked(path: str, run: str) -> str:
    """A route's path, filled in for a run."""
    values = {
        "stack": "snn-train", "run_id": run, "epoch": "1", "layer": "1", "neuron": "0", "part": "test", "place": "0",
        "kind": "weights", "sweep_id": "none", "name": "main.js",
    }  # fmt: skip
    filled = re.sub(r"{(\w+)(?::path)?}", lambda found: values[found[1]], path)
    queries = {"/api/runs": "?stack=snn-train", "/api/find": "?dag_id=waiting_training",
               "/api/sparks": f"?stack=snn-train&run={run}", "/api/compare": f"?stack=snn-train&run={run}",
               "/invocations/log": "?request_id=none"}  # fmt: skip
    return "/snn" + filled + next((query for end, query in queries.items() if filled.endswith(end)), "")


# What is right to answer to who is allowed to ask: there is no such sweep, report or invocation, and no champion.
NOT_THERE = {"/api/sweeps/{stack}/{sweep_id}": 404, "/api/runs/{stack}/{run_id}/report": 404,
             "/api/runs/{stack}/{run_id}/epochs/{epoch}/invocations/log": 400,
             "/api/runs/{stack}/{run_id}/epochs/{epoch}/photo": 400, "/api/champion/{stack}/photo": 400,
             "/api/models/{stack}/ask": 503}  # fmt: skip
CHANGES = ("/stop", "/notes")


def test_every_route_answers_everybody_as_it_is_meant(going: Training, people: dict[str, httpx.Client]) -> None:
    run = str(going.run_id)
    routes = {route.path: route.methods for route in routes_of(make_app([], Owner))}
    assert len(routes) > 20
    table = []
    for path, methods in sorted(routes.items(), key=lambda item: item[0].endswith("/stop")):  # that comes last
        for method in ("GET", "POST"):
            for who, client in people.items():
                body: dict[str, Any] = {"json": {}} if path.endswith(CHANGES) else {
                    "content": b"no photo", "headers": {"content-type": "application/octet-stream"}}  # fmt: skip
                answer = client.request(method, asked(path, run), **(body if method == "POST" else {}))
                if method not in methods:
                    wanted = 405
                elif who == "anonymous":
                    wanted = 401
                elif path.endswith(CHANGES) and who == "viewer":
                    wanted = 403
                else:
                    wanted = NOT_THERE.get(path, 200)
                table.append((path, method, who, answer.status_code, wanted))
    wrong = [row for row in table if row[3] != row[4]]
    assert wrong == []
    assert len(table) == len(routes) * 2 * (1 + len(ROLES))


def test_another_sites_page_changes_nothing_not_even_for_an_admin(
    going: Training, people: dict[str, httpx.Client]
) -> None:
    path = f"/snn/api/runs/snn-train/{going.run_id}/stop"
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        answer = people["admin"].post(path, json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"][:12]) == (403, "this request")
    assert people["admin"].post(path, content="a=b", headers={"content-type": "text/plain"}).status_code == 415
    assert not going.ledger.get(str(going.run_id)).cancel_requested
    own = {"origin": str(people["admin"].base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    assert people["user"].post(path, json={}, headers=own).status_code == 200


def test_a_stack_that_is_not_deployed_is_said_in_one_line(people: dict[str, httpx.Client]) -> None:
    assert people["viewer"].get("/snn/api/me").json()["stacks"] == ["snn-train", "gone"]
    answer = people["viewer"].get("/snn/api/runs?stack=gone")
    assert (answer.status_code, answer.json()) == (503, {"error": "the stack gone is not deployed (missing)"})


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def person(browser: Browser, machine: Machine) -> Iterator[Page]:
    """An admin who has logged in by Airflow's form."""
    airflow = machine.api._airflow
    context = browser.new_context(viewport={"width": 1500, "height": 950}, color_scheme="light")
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.goto(f"{airflow.url}/", wait_until="commit")
    page.locator("input[name=username]").fill("admin")
    page.locator("input[type=password]").fill(airflow.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Dags").first.wait_for()
    yield page
    context.close()


def from_navigation(person: Page) -> None:
    """Follow the entry in Airflow's navigation; before 3.3 it stands in the menu of plugins."""
    entry = person.get_by_role("link", name="Neural networks")
    menu = person.get_by_role("button", name="Plugins")
    entry.or_(menu).first.wait_for()
    if not entry.count():
        menu.click()
        entry = person.get_by_role("menuitem", name="Neural networks")
    entry.first.click()


def framed(page: Page) -> FrameLocator:
    return page.frame_locator("iframe[title='Neural networks']")


def handed_out(person: Page, button: Locator) -> str:
    """Return the file that a button hands out; before Airflow 3.3.2 frames allow none, and there is a text to copy."""
    frame = person.locator("iframe[title='Neural networks']")
    sandbox = frame.get_attribute("sandbox")
    if sandbox is None or "allow-downloads" in sandbox:
        with person.expect_download() as download:
            button.click()
        return Path(download.value.path()).read_text()
    button.click()
    area = framed(person).locator("dialog textarea")
    area.wait_for()
    return area.input_value()


def number(text: str) -> int:
    return int(text.split(" ")[0].replace(",", ""))


def test_a_person_watches_a_training_stops_it_and_looks_into_it(
    person: Page, going: Training, machine: Machine, ledger: Ledger, stack: StackOutputs
) -> None:
    run, url = str(going.run_id), machine.api._airflow.url
    from_navigation(person)
    row = framed(person).locator(f"[data-run-row='{run}']")
    expect(row).to_contain_text("waiting_training · train")
    # From the task's own page.
    person.goto(f"{url}/dags/waiting_training/runs/{going.dag_run}/tasks/train", wait_until="commit")
    person.get_by_role("link", name="Neural networks").last.click()
    page = framed(person)
    epochs = page.locator("dt:text-is('Epochs') + dd")
    expect(epochs).to_contain_text("of 10,000,000")
    began, seen = time.monotonic(), [number(epochs.inner_text())]
    while time.monotonic() - began < SECONDS:
        time.sleep(2.0)
        before = ledger.get(run).epoch
        time.sleep(1.6)  # a look a second, and the way here
        seen.append(number(epochs.inner_text()))
        assert before <= seen[-1] <= ledger.get(run).epoch
        ago = int(re.findall(r"\d+", page.locator("[data-updated]").inner_text())[0])
        assert ago <= 3
    assert seen == sorted(seen)
    assert seen[-1] > seen[0]
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state").first).to_have_text("CANCELLED", timeout=60_000)
    ended = ledger.get(run)
    assert ended.state is State.CANCELLED
    expect(epochs).to_contain_text(f"{ended.epoch:,} of")
    machine.until(lambda: going.task == "failed", 60)

    # Three epochs under the microscope; the last one is the state that was kept as it was stopped.
    page.get_by_role("link", name="Microscope").click()
    expect(page.locator("[data-epoch]")).to_contain_text("kept")
    for epoch in (0, 3, ended.epoch):
        page.get_by_label("Epoch", exact=True).fill(str(epoch))
        page.get_by_label("Epoch", exact=True).press("Enter")
        expect(page.locator("[data-epoch]")).to_contain_text(f"epoch {epoch:,}")
        expect(page.locator("#trouble")).to_be_hidden()
    # Its address opens by itself, outside of Airflow's frame.
    inner = next(frame for frame in person.frames if "/snn/" in frame.url)
    deep = person.context.new_page()
    deep.goto(inner.evaluate("location.href.replace(location.search, '')"), wait_until="commit")
    expect(deep.locator("[data-epoch]")).to_contain_text(f"epoch {ended.epoch:,}")
    deep.close()
    # Airflow's theme is the page's.
    expect(page.locator("html")).to_have_class("light")
    person.evaluate("localStorage.setItem('theme', 'dark')")
    expect(page.locator("html")).to_have_class("dark")
    person.evaluate("localStorage.setItem('theme', 'light')")
    # The table behind the curve, read from the keyboard.
    page.get_by_role("link", name="Live").focus()
    person.keyboard.press("Enter")
    summary = page.get_by_role("region", name="Cost", exact=True).locator("summary")
    summary.focus()
    person.keyboard.press("Enter")
    last = page.get_by_role("region", name="Cost", exact=True).locator("details tbody tr").last
    expect(last).to_contain_text(str(ended.epoch))
    lines = handed_out(person, page.get_by_role("button", name="CSV of Cost")).splitlines()
    first = ledger.progress(run)[1][0]
    assert [float(cell) for cell in lines[1].split(",")[:2]] == [1, first.cost]
    if len(lines) < ended.epoch + 1:  # a text to copy has the first ones only
        expect(page.locator("dialog")).to_contain_text(f"of {ended.epoch + 1} lines")
    else:
        assert float(lines[-1].split(",")[1]) == ended.cost


def test_weights_in_airflow_are_the_files_pixel_for_pixel(
    person: Page, train: Callable[..., Training], machine: Machine, stack: StackOutputs, people: dict[str, httpx.Client]
) -> None:
    training = train("waiting_training", epochs=7)
    run = str(machine.until(lambda: training.run_id, 240))
    machine.until(lambda: training.ledger.get(run).state is State.COMPLETED, 240)
    person.goto(f"{machine.api._airflow.url}/snn/#/run/snn-train/{run}/microscope?epoch=7&layer=1&neuron=999")
    picture = person.locator("img[data-weights]")
    picture.wait_for()
    pixels = picture.evaluate(
        """async (image) => { await image.decode(); const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d"); context.drawImage(image, 0, 0);
        return [...context.getImageData(0, 0, canvas.width, canvas.height).data]; }"""
    )
    body = machine.clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        W = h5["W1"][999].reshape(25, 25, 3)
    path = f"/snn/api/runs/snn-train/{run}/epochs/7/layers/1/neurons/999"
    scale = people["viewer"].get(path).json()["scale"]
    shown = np.array(pixels, np.uint8).reshape(25, 25, 4)[..., :3]
    np.testing.assert_array_equal(shown, np.rint(127.5 + 127.5 * W / scale).astype(np.uint8))
