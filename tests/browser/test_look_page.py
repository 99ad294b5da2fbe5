"""The page that shows runs, in headless Chromium, as `snn look` serves it: real runs on an emulator of its own.

It stands in a tab by itself, and in a frame with the sandbox of Airflow 3.3.1, which forbids downloads.
"""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import oracle
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, ConsoleMessage, Frame, Page, expect
from small import photos as small_photos

from snn_cli.datasets import build_faces
from snn_cli.local import emulator as local_emulator
from snn_client.models.versions import promote
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import State

ROOT = Path(__file__).parents[2]
ENDLESS = 10_000_000
OF_AIRFLOWS_SANDBOX = "can escape its sandboxing"
SANDBOX_331 = "allow-scripts allow-same-origin allow-forms"
FACES: dict[str, Any] = {
    "epochs": 120, "layers": 3, "neurons": {"layer1": 12, "layer2": 5, "layer3": 1}, "learning_rate": 0.02,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "sigmoid"}, "validation": 0.2, "seed": 3,
    "restore_best_weights": False,
}  # fmt: skip
SECONDS = 15_000.0  # of patience for one thing to be seen, in milliseconds


@dataclass(frozen=True)
class Site:
    """A page that is served, with the runs `faces`, `faces-2`, `neurons` and `sweep-1-f1`, `sweep-2-f1`."""

    address: str
    clients: Clients
    stack: StackOutputs

    @property
    def origin(self) -> str:
        return self.address.partition("/?")[0]

    def launch(self, run_id: str, chosen: dict[str, Any], content: bytes, wait: bool = True) -> None:
        key = places.input_dataset(run_id, "0" * 64)
        self.clients.s3.put_object(Bucket=self.stack.bucket, Key=key, Body=content)
        runs.launch(self.clients, self.stack, run_id, key, Parameters.load(chosen))
        if wait:
            runs.watch(self.clients, self.stack, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("look")
    served: subprocess.Popen[str] | None = None
    with pytest.MonkeyPatch.context() as patch:
        try:
            aws = local_emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in aws.environment().items():
                patch.setenv(name, value)
            clients = Clients.from_environment()
            stack = deploy_stack(clients, StackOptions.from_environment(stack_name="snn", with_cache=True))
            faces = home / "faces.h5"
            build_faces(faces)
            site = Site("", clients, stack)
            for run_id, seed in (("faces", 3), ("faces-2", 4)):
                site.launch(run_id, {**FACES, "seed": seed}, faces.read_bytes())
            neurons = oracle.small_network((3, 1), ("relu", "sigmoid"), epochs=4, granularity="neuron")
            site.launch("neurons", neurons, small_photos())
            for number, rate in ((1, 0.05), (2, 0.1)):
                site.launch(f"sweep-{number}-f1", oracle.small_network(epochs=20, learning_rate=rate), small_photos())
            promote(clients, stack, "faces")
            report = b"<!doctype html><html lang=en><title>Report</title><h1>Report of faces</h1></html>"
            clients.s3.put_object(Bucket=stack.bucket, Key=places.report_html("faces"), Body=report)
            served = subprocess.Popen(
                [Path(sys.executable).with_name("snn"), "look", "--port", "0", "--no-browser", "--home", str(home)],
                stderr=subprocess.PIPE, text=True, cwd=home,
            )  # fmt: skip
            said = ""
            assert served.stderr is not None
            while "token=" not in said:
                line = served.stderr.readline()
                assert line, said
                said += line
            yield Site(re.findall(r"http://127\.0\.0\.1:\d+/\?token=[\w-]+", said)[0], clients, stack)
        finally:
            if served is not None:
                served.terminate()
                served.wait(10)
            local_emulator.down(home)


@dataclass
class Seen:
    """A tab, what it printed, and where to look for the page in it: itself, or a frame."""

    page: Page
    frame: Page | Frame
    said: list[str]
    origin: str

    def go(self, view: str) -> None:
        if self.frame is self.page:
            self.page.goto(f"{self.origin}/{view}")
        else:
            self.frame.evaluate(f"location.hash = {json.dumps(view.removeprefix('#'))}")

    @property
    def hash(self) -> str:
        found: str = self.frame.evaluate("location.hash")
        return found


@pytest.fixture
def tab(browser: Browser, site: Site) -> Iterator[Callable[..., Seen]]:
    """Open the page, by itself or in a frame with a sandbox; whatever it prints to the console is a failure."""
    opened: list[tuple[Any, Seen]] = []

    def open_tab(sandbox: str = "", dark: bool = False, **how: Any) -> Seen:
        context = browser.new_context(
            viewport={"width": 1300, "height": 900}, color_scheme="dark" if dark else "light", **how
        )
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        said: list[str] = []

        def heard(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning") and OF_AIRFLOWS_SANDBOX not in message.text:
                said.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(site.address)
        frame: Page | Frame = page
        if sandbox:
            html = f"""<!doctype html><title>Airflow</title>
                <iframe sandbox="{sandbox}" src="/" style="width:100%;height:850px" title="Neural networks"></iframe>"""
            page.route("**/airflow-like", lambda route: route.fulfill(body=html, content_type="text/html"))
            page.goto(f"{site.origin}/airflow-like")
            inner = page.query_selector("iframe")
            assert inner is not None
            content = inner.content_frame()
            assert content is not None
            frame = content
        seen = Seen(page, frame, said, site.origin)
        opened.append((context, seen))
        return seen

    yield open_tab
    for context, seen in opened:
        context.close()
        assert seen.said == []


def ledger(site: Site) -> Ledger:
    return Ledger(site.clients.dynamodb, site.stack.table)


VIEWS = {
    "runs": ("#/runs", "[data-run-row='faces'] .spark path"),
    "live": ("#/run/snn/faces", ".u-wrap"),
    "microscope": ("#/run/snn/faces/microscope?epoch=77&layer=1&neuron=2&part=test&place=3", "[data-answer]"),
    "invocations": ("#/run/snn/neurons/invocations?epoch=3", "canvas.timeline"),
    "log": ("#/run/snn/faces/log", ".log"),
    "report": ("#/run/snn/faces/report", "iframe.report"),
    "parameters": ("#/run/snn/faces/parameters", "pre"),
    "compare": ("#/compare/snn?runs=faces,faces-2&seeds=1&ylog=1", ".u-wrap"),
    "sweep": ("#/sweep/snn/sweep", "td"),
    "champion": ("#/champion/snn", "td"),
}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_accessible(tab: Callable[..., Seen], view: str, dark: bool) -> None:
    seen = tab(dark=dark)
    address, landmark = VIEWS[view]
    seen.go(address)
    seen.page.locator(landmark).first.wait_for(state="attached")
    seen.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert seen.page.locator("html").get_attribute("class") == ("dark" if dark else "light")
    found = Axe().run(seen.page).response["violations"]
    bad = [
        (one["id"], [node["html"][:120] for node in one["nodes"]][:3])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
    assert bad == []


@pytest.mark.parametrize("sandbox", ["", SANDBOX_331], ids=["tab", "frame"])
def test_a_run_is_watched_live_and_stopped(tab: Callable[..., Seen], site: Site, sandbox: str) -> None:
    run_id = f"endless-{'frame' if sandbox else 'tab'}"
    site.launch(
        run_id,
        {**oracle.small_network(epochs=ENDLESS, learning_rate=1e-4), "validation": 0.25},
        small_photos(),
        wait=False,
    )
    seen = tab(sandbox)
    seen.go(f"#/run/snn/{run_id}")
    epochs = seen.frame.locator("dt:text-is('Epochs') + dd")
    expect(epochs).to_contain_text("of 10,000,000")
    first = number(epochs.inner_text())
    expect(seen.frame.locator("[data-updated]")).to_have_text(re.compile(r"updated [0-3] s ago"))
    expect(seen.frame.locator("dt:text-is('Time left') + dd")).to_contain_text("about")
    deadline = time.monotonic() + 20
    while number(epochs.inner_text()) <= first:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    seen.frame.get_by_role("button", name="Stop").click()
    expect(seen.frame.locator(".state").first).to_have_text("CANCELLED")
    ended = ledger(site).get(run_id)
    assert ended.state is State.CANCELLED
    assert number(epochs.inner_text()) == ended.epoch
    cost = float(seen.frame.locator("dt:text-is('Cost') + dd").inner_text())
    assert cost == pytest.approx(ended.cost, rel=1e-5)
    expect(seen.frame.get_by_role("button", name="Stop")).to_be_hidden()


def number(text: str) -> int:
    return int(text.split(" ")[0].replace(",", ""))


def test_the_table_behind_a_chart_has_the_ledgers_numbers_and_the_file_all_of_them(
    tab: Callable[..., Seen], site: Site
) -> None:
    _, rows = ledger(site).progress("faces")
    seen = tab()
    seen.go("#/run/snn/faces?smooth=0.9")
    panel = seen.page.get_by_role("region", name="Cost", exact=True)
    panel.locator("summary").click()
    lines = [cells.split("\t") for cells in panel.locator("tbody tr").all_inner_texts() if "\t" in cells]
    lines = [[cell.strip() for cell in line] for line in lines if len(line) == 3]
    assert len(lines) == len(rows)
    for line, row in zip(lines, rows, strict=True):
        assert int(line[0]) == row.epoch + 1
        assert float(line[1]) == pytest.approx(row.cost, rel=1e-5)
        assert float(line[2]) == pytest.approx(row.validation_cost, rel=1e-5)
    with seen.page.expect_download() as download:
        panel.get_by_role("button", name="CSV of Cost").click()
    text = Path(download.value.path()).read_text()
    assert [float(line["cost"]) for line in csv.DictReader(io.StringIO(text))] == [row.cost for row in rows]
    with seen.page.expect_download() as picture:
        panel.get_by_role("button", name="PNG of Cost").click()
    assert Image.open(picture.value.path()).size[0] > 300


def test_in_a_frame_without_downloads_files_are_texts_to_copy(tab: Callable[..., Seen], site: Site) -> None:
    seen = tab(SANDBOX_331)
    seen.go("#/run/snn/faces")
    seen.frame.get_by_role("button", name="CSV of Cost").click()
    area = seen.frame.locator("dialog textarea")
    expect(area).to_have_value(re.compile(r"^epoch,cost,validation_cost,validation_metric,seconds,usd\n1,"))
    assert area.input_value().count("\n") == 121
    seen.frame.get_by_role("button", name="Close").click()
    expect(seen.frame.locator("dialog")).to_have_count(0)
    seen.frame.get_by_role("button", name="PNG of Learning rate").click()
    assert seen.frame.locator("dialog img").get_attribute("src", timeout=5_000).startswith("data:image/png;base64,")  # type: ignore[union-attr]


def test_axes_and_smoothing_are_in_the_address_and_outlive_a_reload(tab: Callable[..., Seen]) -> None:
    seen = tab()
    seen.go("#/run/snn/faces")
    seen.page.locator(".u-wrap").first.wait_for()
    seen.page.get_by_label("logarithmic x").check()
    seen.page.get_by_label("logarithmic y").check()
    seen.page.get_by_label("X axis").select_option("usd")
    seen.page.get_by_label("Smoothing").fill("0.6")
    assert seen.hash == "#/run/snn/faces?xlog=1&ylog=1&x=usd&smooth=0.6"
    seen.page.reload()
    expect(seen.page.get_by_label("logarithmic x")).to_be_checked()
    expect(seen.page.get_by_label("X axis")).to_have_value("usd")
    panel = seen.page.get_by_role("region", name="Cost", exact=True)
    panel.locator("summary").click()
    expect(panel.locator("thead th").first).to_have_text("USD")
    drawn = seen.page.evaluate("document.querySelectorAll('.u-axis').length")
    assert drawn >= 2


def test_a_run_is_found_filtered_sorted_noted_on_and_put_away(tab: Callable[..., Seen], site: Site) -> None:
    seen = tab()
    page = seen.page
    seen.go("#/runs")
    page.locator("[data-run-row='faces']").wait_for()
    page.get_by_label("Filter the runs").fill("completed sweep-2")
    expect(page.locator("[data-run-row]")).to_have_count(1)
    assert page.locator("[data-run-row]").get_attribute("data-run-row") == "sweep-2-f1"
    page.get_by_label("Filter the runs").fill("")
    page.get_by_role("button", name="Last cost").click()
    expect(page.locator("th[aria-sort='descending']")).to_contain_text("Last cost")
    costs = [
        ledger(site).get(str(row.get_attribute("data-run-row"))).cost or 0
        for row in page.locator("[data-run-row]").all()
    ]
    assert costs == sorted(costs, reverse=True)
    seen.go("#/run/snn/neurons")
    page.get_by_role("button", name="Notes").click()
    page.get_by_label("Tags").fill("old, slow")
    page.get_by_label("Note", exact=True).fill("only to look at")
    page.get_by_label("archived").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".chip", has_text="slow")).to_be_visible()
    assert ledger(site).get("neurons").notes == (("old", "slow"), "only to look at", True)
    seen.go("#/runs")
    page.locator("[data-run-row='faces']").wait_for()
    expect(page.locator("[data-run-row='neurons']")).to_have_count(0)
    page.get_by_label("archived ones too").check()
    expect(page.locator("[data-run-row='neurons']")).to_contain_text("only to look at")
    for run_id in ("faces", "faces-2"):
        page.get_by_label(f"Compare {run_id}", exact=True).check()
    page.get_by_role("button", name="Compare 2 runs").click()
    expect(page.locator("table", has_text="seed").locator("tr", has_text="seed").last).to_contain_text("4")


@pytest.mark.parametrize("sandbox", ["", SANDBOX_331], ids=["tab", "frame"])
def test_the_microscope_shows_three_epochs_by_keyboard_alone(
    tab: Callable[..., Seen], site: Site, sandbox: str
) -> None:
    seen = tab(sandbox)
    page, frame = seen.page, seen.frame
    seen.go("#/run/snn/faces/microscope?epoch=0")
    expect(frame.locator("[data-epoch]")).to_contain_text("epoch 0kept")
    if sandbox:  # Airflow's own keys come first; Tab leads into the frame
        frame.locator("main").focus()
    page.keyboard.press("]")
    expect(frame.locator("[data-epoch]")).to_contain_text("epoch 1kept")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(frame.get_by_role("heading", name="Neuron 2 of layer 1")).to_be_visible()
    page.keyboard.press("ArrowDown")
    expect(frame.get_by_role("heading", name="Neuron 0 of layer 2")).to_be_visible()
    page.keyboard.press("ArrowUp")
    expect(frame.get_by_role("heading", name="Neuron 0 of layer 1")).to_be_visible()
    for epoch, said in ((119, "epoch 119recomputed"), (120, "the run's model")):
        field = frame.get_by_label("Epoch", exact=True)
        field.focus()
        page.keyboard.press("Control+a")
        page.keyboard.type(str(epoch))
        page.keyboard.press("Enter")
        expect(frame.locator("[data-epoch]")).to_contain_text(said)
        assert f"epoch={epoch}" in seen.hash
    # Keys are the picture's and the tiles': what else has the focus keeps its own.
    page.keyboard.press("ArrowRight")
    expect(frame.get_by_role("heading", name="Neuron 0 of layer 1")).to_be_visible()
    frame.locator(".tile").nth(3).focus()
    page.keyboard.press("Enter")
    expect(frame.get_by_role("heading", name="Neuron 3 of layer 1")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(frame.get_by_role("heading", name="Neuron 2 of layer 1")).to_be_visible()
    frame.get_by_label("keys", exact=True).uncheck()
    frame.locator(".tile").nth(3).focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(300)
    expect(frame.get_by_role("heading", name="Neuron 2 of layer 1")).to_be_visible()


def test_the_focus_outlives_the_lists_next_look_and_the_skip_link_stays_here(
    tab: Callable[..., Seen], site: Site
) -> None:
    seen = tab()
    page = seen.page
    seen.go("#/runs")
    link = page.get_by_role("link", name="sweep-1-f1", exact=True)
    link.focus()
    chosen = oracle.small_network(epochs=3, seed=77)
    site.launch("comes-later", chosen, small_photos())
    page.locator("[data-run-row='comes-later']").wait_for()
    assert page.evaluate("document.activeElement.textContent") == "sweep-1-f1"
    page.locator(".skip").focus()
    page.keyboard.press("Enter")
    assert seen.hash == "#/runs"
    assert page.evaluate("document.activeElement.id") == "main"


def test_a_curve_that_was_looked_at_closely_comes_back_whole(tab: Callable[..., Seen]) -> None:
    seen = tab()
    page = seen.page
    seen.go("#/run/snn/faces")
    over = page.get_by_role("region", name="Cost", exact=True).locator(".u-over")
    over.wait_for()
    box = over.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50, steps=5)
    page.mouse.up()
    whole = page.get_by_role("region", name="Cost", exact=True).get_by_role("button", name="Whole curve")
    expect(whole).to_be_visible()
    panel = page.get_by_role("region", name="Cost", exact=True)
    panel.locator("summary").click()
    assert int(panel.locator("details tbody tr").first.locator("td").first.inner_text()) > 20
    assert 20 < panel.locator("details tbody tr").count() < 50
    page.get_by_label("X axis").select_option("seconds")
    expect(panel.locator("details tbody tr")).to_have_count(120)
    expect(whole).to_be_hidden()


def weights(site: Site) -> Any:
    body = site.clients.s3.get_object(Bucket=site.stack.bucket, Key=places.params("faces"))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        return h5["W1"][()]


@pytest.mark.parametrize("sandbox", ["", SANDBOX_331], ids=["tab", "frame"])
def test_a_picture_of_weights_is_the_files_pixel_for_pixel(tab: Callable[..., Seen], site: Site, sandbox: str) -> None:
    seen = tab(sandbox)
    seen.go("#/run/snn/faces/microscope?epoch=120&layer=1&neuron=5")
    picture = seen.frame.locator("img[data-weights]")
    picture.wait_for()
    # As the browser has decoded it.
    pixels = picture.evaluate(
        """async (image) => { await image.decode(); const canvas = document.createElement("canvas");
        canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
        const context = canvas.getContext("2d"); context.drawImage(image, 0, 0);
        return [canvas.width, canvas.height, ...context.getImageData(0, 0, canvas.width, canvas.height).data]; }"""
    )
    width, height = pixels[:2]
    shown = np.array(pixels[2:], np.uint8).reshape(height, width, 4)[..., :3]
    W = weights(site)[5].reshape(25, 25, 3)
    said = seen.frame.locator("figcaption").first.inner_text()
    scale = json.loads(seen.page.request.get(f"{site.origin}/api/runs/snn/faces/epochs/120/layers/1/neurons/5").text())[
        "scale"
    ]
    assert f"{scale:.3g}" in said
    np.testing.assert_array_equal(shown, np.rint(127.5 + 127.5 * W / scale).astype(np.uint8))


def test_a_samples_way_is_shown_and_so_is_that_of_ones_own_photo(
    tab: Callable[..., Seen], site: Site, tmp_path: Path
) -> None:
    seen = tab()
    page = seen.page
    seen.go("#/run/snn/faces/microscope?epoch=120")
    page.get_by_label("Part of the data set").select_option("test")
    page.get_by_label("Number of the sample").fill("7")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("[data-answer]")).to_contain_text("labelled")
    expect(page.get_by_alt_text("what spoke for the answer")).to_be_visible()
    assert "part=test&place=7" in seen.hash
    photo = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (60, 50, 3), np.uint8)).save(photo)
    page.get_by_label("or a photo of yours").set_input_files(photo)
    expect(page.locator("text=mine.png, epoch 120")).to_be_visible()
    expect(page.locator("[data-answer]")).to_contain_text("It says")
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing")
    page.get_by_label("or a photo of yours").set_input_files(broken)
    expect(page.locator("[role=alert]", has_text="broken.png: ")).to_be_visible()
    seen.said[:] = [line for line in seen.said if "400" not in line]  # the browser tells of the answer's status
    seen.go("#/champion/snn")
    page.get_by_label("A photo for the champion").set_input_files(photo)
    expect(page.locator("[data-answer]")).to_contain_text("It says")
    page.get_by_label("A photo for the endpoint").set_input_files(photo)
    expect(page.locator("[data-endpoint]")).to_contain_text("default, version 1", timeout=20_000)
    table = page.get_by_role("table", name="Versions of default")
    expect(table.get_by_role("row", name=re.compile("1 champion"))).to_be_visible()


def test_every_panel_hands_out_its_numbers_and_its_picture(tab: Callable[..., Seen], site: Site) -> None:
    panels = {
        "#/run/snn/faces/microscope?epoch=120&layer=2&neuron=1&part=test&place=3": [
            "neurons",
            "layer",
            "neuron",
            "sample",
        ],
        "#/run/snn/neurons/invocations?epoch=2": ["invocations"],
        "#/compare/snn?runs=faces,faces-2": ["Runs compared"],
    }
    pictures = {"neurons": "network", "invocations": "timeline"}
    for view, names in panels.items():
        seen = tab()  # Chromium asks before a tab's eleventh download within some seconds
        page = seen.page
        seen.go(view)
        page.locator(".u-wrap, [data-answer], canvas.timeline").first.wait_for()
        for status in page.locator(".bar [role=status]").all():
            expect(status).to_have_text("")  # all is drawn: a button that is drawn anew hears no click
        for name in names:
            with page.expect_download() as download:
                page.get_by_role("button", name=re.compile(f"CSV of (the )?{name}$")).click()
            lines = list(csv.reader(Path(download.value.path()).read_text().splitlines()))
            assert len(lines) > 1, name
            assert {len(line) for line in lines} == {len(lines[0])}, name
            with page.expect_download() as download:
                page.get_by_role("button", name=re.compile(f"PNG of (the )?{pictures.get(name, name)}$")).click()
            with Image.open(download.value.path()) as picture:
                assert picture.size[0] > 60, name
                assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 2, f"{name} is blank"
    neuron = json.loads(page.request.get(f"{site.origin}/api/runs/snn/faces/epochs/120/layers/2/neurons/1").text())
    assert len(neuron["weights"]) == 12


def test_invocations_are_drawn_and_their_logs_read(tab: Callable[..., Seen]) -> None:
    seen = tab()
    page = seen.page
    seen.go("#/run/snn/neurons/invocations?epoch=2")
    expect(page.locator("dt:text-is('Invocations') + dd")).to_have_text("8")
    page.get_by_role("button", name="Log").nth(0).click()
    expect(page.get_by_role("log")).to_contain_text("neurons: layer 1")
    seen.go("#/run/snn/faces/invocations")
    expect(page.locator("text=there are no neurons that could wait")).to_be_visible()


def test_the_theme_follows_airflows(tab: Callable[..., Seen], site: Site) -> None:
    seen = tab(SANDBOX_331)
    seen.go("#/run/snn/faces")
    html = seen.frame.locator("html")
    expect(html).to_have_class("light")
    for theme, wanted in (("dark", "dark"), ("light", "light"), ("system", "light")):
        seen.page.evaluate(f"localStorage.setItem('theme', '{theme}')")  # as Airflow does, outside of the frame
        expect(html).to_have_class(wanted)
    by_itself = tab()
    by_itself.go("#/runs")
    by_itself.page.get_by_role("button", name="Theme").click()
    expect(by_itself.page.locator("html")).to_have_class("dark")


def test_tabs_of_airflow_lead_to_the_run_or_say_that_there_is_none(tab: Callable[..., Seen], site: Site) -> None:
    seen = tab()
    seen.page.goto(f"{site.origin}/?dag_id=other_dag&dag_run_id=%7BRUN_ID%7D")
    expect(seen.page.locator("text=This DAG has trained no neural network")).to_be_visible()
    seen.page.get_by_role("link", name="All runs").click()
    seen.page.locator("[data-run-row='faces']").wait_for()


def test_what_is_not_there_is_said_in_one_line(tab: Callable[..., Seen]) -> None:
    seen = tab()
    seen.go("#/run/snn/nobody")
    expect(seen.page.get_by_role("alert").first).to_contain_text("has no run 'nobody'")
    seen.go("#/run/snn/faces/microscope?epoch=4711")
    expect(seen.page.locator("#trouble")).to_contain_text("there is no epoch 4711 (0 to 120)")
    assert all("Failed to load resource" in line for line in seen.said)
    seen.said.clear()
