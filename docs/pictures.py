"""Draw the pictures of docs/page.md anew: `make pictures`. Trains on the faces of `snn dataset faces`, on an emulator.

python docs/pictures.py [FOLDER]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Locator, Page

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from browsers import chromium  # noqa: E402

from snn_cli.datasets import build_faces  # noqa: E402
from snn_cli.local import emulator  # noqa: E402
from snn_client.models.champion import promote  # noqa: E402
from snn_client.runs import runs  # noqa: E402
from snn_client.stack.deploy import deploy_stack  # noqa: E402
from snn_client.stack.options import StackOptions  # noqa: E402
from snn_cloud.aws import places  # noqa: E402
from snn_cloud.aws.clients import Clients  # noqa: E402
from snn_cloud.ledger.parameters import Parameters  # noqa: E402

WIDTH = 1240
ITSACAT: dict[str, Any] = {
    "epochs": 2_500, "layers": 4, "learning_rate": 0.0075, "validation": 0.25, "seed": 1,
    "neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1},
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "relu", "layer4": "sigmoid"},
}  # fmt: skip
RUNS: dict[str, dict[str, Any]] = {
    "seed-2": {"seed": 2, "epochs": 800}, "seed-3": {"seed": 3, "epochs": 800}, "seed-4": {"seed": 4, "epochs": 800},
    "adam": {"optimizer": "adam", "learning_rate": 0.0005, "epochs": 800},
    "memorises": {"optimizer": "adam", "learning_rate": 0.002, "epochs": 600, "validation": 0.5, "l2": 0.0},
    "neurons": {"granularity": "neuron", "epochs": 12}, "faces": {},
}  # fmt: skip


def train(home: Path, clients: Clients) -> None:
    """Deploy a stack, and train what the pictures show."""
    stack = deploy_stack(clients, StackOptions.from_environment(stack_name="snn", with_cache=True))
    build_faces(home / "faces.h5")
    for run_id, fields in RUNS.items():
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=(home / "faces.h5").read_bytes())
        runs.launch(clients, stack, run_id, key, Parameters.load({**ITSACAT, **fields}))
        runs.watch(clients, stack, run_id, lambda *_: None)
    promote(clients, stack.bucket, "faces")


def draw(page: Page, origin: str, folder: Path) -> None:
    """Look at every view, and keep what is seen."""

    def keep(name: str, what: Page | Locator) -> None:
        path = folder / f"{name}.png"
        what.screenshot(path=path)
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)

    def go(view: str, ready: str) -> None:
        page.goto(f"{origin}/{view}")
        page.locator(ready).first.wait_for()
        page.wait_for_timeout(1_500)

    def panel(name: str) -> Locator:
        return page.get_by_role("region", name=name, exact=True)

    go("#/runs", "[data-run-row='faces'] .spark path")
    page.set_viewport_size({"width": WIDTH, "height": 460})
    keep("runs", page)
    page.set_viewport_size({"width": WIDTH, "height": 860})
    go("#/run/snn/memorises?ylog=1", ".u-wrap")
    keep("live", page)
    go("#/compare/snn?runs=seed-2,seed-3,seed-4,adam&seeds=1", ".u-wrap")
    keep("compare", page)
    go("#/run/snn/faces/microscope?epoch=2500&layer=1&neuron=13", "img[data-weights]")
    page.wait_for_timeout(2_500)
    keep("network", panel("The network"))
    keep("layer", panel("A layer's neurons"))
    keep("neuron", panel("One neuron"))
    page.locator("[data-mistakes] summary").click()
    page.locator("[data-mistakes] button").first.click()
    page.locator("[data-answer]").wait_for()
    page.wait_for_timeout(1_500)
    keep("sample", panel("A sample's way"))
    go("#/run/snn/neurons/invocations?epoch=11", "canvas.timeline")
    page.get_by_role("button", name="Log").nth(2).click()
    page.wait_for_timeout(1_500)
    page.evaluate("scrollTo(0, 0)")
    keep("invocations", page)


def main(folder: Path) -> None:
    """Train, serve, draw; leave no server behind."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(temporary)
        served: subprocess.Popen[str] | None = None
        try:
            running = emulator.up(home, venv=ROOT / ".local" / "emulator-venv", port=0, redis_port=0)
            os.environ |= running.environment()
            train(home, Clients.from_environment())
            command = [str(Path(sys.executable).with_name("snn")), "look", "--port", "0", "--no-browser"]
            served = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=home)
            said: Callable[[], str] = served.stderr.readline  # type: ignore[union-attr]
            address = next(word for line in iter(said, "") for word in line.split() if "token=" in word).rstrip(";")
            with chromium() as browser:
                page = browser.new_page(viewport={"width": WIDTH, "height": 860})
                page.goto(address)
                draw(page, address.partition("/?")[0], folder)
        finally:
            if served is not None:
                served.terminate()
                served.wait(10)
            emulator.down(home)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("pictures"))
