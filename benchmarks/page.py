"""How long the page takes to its first picture, and what its server holds: a run of a million epochs, a thousand runs,
and a layer of two thousand neurons. In headless Chromium, beside the emulator that answers for AWS.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import problem
from benchmarks.session import Session
from snn.training import History
from snn_cli.datasets import build_faces
from snn_client.runs import runs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State

EPOCHS, RUNS, NEURONS, BEGINNINGS = 1_000_000, 1_000, 2_000, 3
LIMIT_MS = 60_000.0


def page(session: Session) -> dict[str, Any]:
    """Return the seconds from each view's address to its first picture: in a server that has just begun, and later."""
    epochs, count, neurons = (20_000, 50, 50) if session.quick else (EPOCHS, RUNS, NEURONS)
    clients = Clients.from_environment()
    ledger, stack = Ledger(clients.dynamodb, session.plain.table), session.plain
    _million(ledger, epochs)
    _thousand(ledger, count)
    _wide(clients, stack, session.dataset, neurons, "page-wide")
    build_faces(session.folder / "faces.h5")
    _wide(clients, stack, session.folder / "faces.h5", neurons, "page-faces")
    views = {
        f"a run of {epochs:,} epochs": ("#/run/%s/page-million", ".u-wrap canvas"),
        f"{count:,} runs": ("#/runs?stack=%s", "[data-run-row]"),
        f"{neurons:,} neurons, photos of 25×25": ("#/run/%s/page-faces/microscope?epoch=3", ".tile canvas"),
        f"{neurons:,} neurons, photos of 64×64 (197 MB)": ("#/run/%s/page-wide/microscope?epoch=3", ".tile canvas"),
    }
    rows = []
    for name, (address, ready) in views.items():
        first: list[float] = []
        again: list[float] = []
        held: list[dict[str, int]] = []
        for _ in range(1 if session.quick else BEGINNINGS):
            with _Served(stack.stack_name) as served:
                first.append(served.opened(address % stack.stack_name, ready))
                again += [served.opened(address % stack.stack_name, ready) for _ in range(2)]
                held.append(served.memory())
        row = {
            "view": name, "first": statistics.median(first), "again": statistics.median(again), "all": [*first, *again],
            "server_mb": max(one["server"] for one in held), "worker_mb": max(one["worker"] for one in held),
        }  # fmt: skip
        rows.append(row)
        session.say(f"page, {name}: {row['first']:.2f} s, again {row['again']:.2f} s, server {row['server_mb']} MB")
        session.step()
    return {"rows": rows, "slowest": max(row["first"] for row in rows[:3])}


def _million(ledger: Ledger, epochs: int) -> None:
    random, time_ = np.random.default_rng(0), np.arange(1, epochs + 1)
    costs = 0.7 / np.sqrt(time_) * (1 + 0.1 * random.standard_normal(epochs))
    chosen = _parameters(epochs=epochs, validation=0.2)
    done = Run(
        "page-million", State.COMPLETED, chosen, dataset="none", created_at=time.time() - 1e4, started_at=1e9,
        ended_at=1e9 + 5_000, epoch=epochs, cost=float(costs[-1]), features=27, samples=20,
    )  # fmt: skip
    ledger.create(done)
    history = History(costs.tolist(), (costs + 0.1).tolist(), random.random(epochs).tolist())
    for first in range(0, epochs, epochs // 100):  # as a trainer does, a write after the other
        end = first + epochs // 100
        part = History(history.costs[:end], history.validation_costs[:end], history.validation_metrics[:end])
        ledger.put_history("page-million", part, first, usd=end / epochs)


def _thousand(ledger: Ledger, count: int) -> None:
    for number in range(count):
        chosen = _parameters(seed=number, learning_rate=0.1 / (1 + number % 5))
        ended = time.time() - number
        ledger.create(
            Run(
                f"page-{number}", State.COMPLETED, chosen, dataset="none", created_at=ended - 9, started_at=ended - 8,
                ended_at=ended, epoch=30, cost=1 / (1 + number), features=27, samples=20,
            )
        )  # fmt: skip
        ledger.put_history(f"page-{number}", History(np.linspace(1, 0.1, 30).tolist()))


def _wide(clients: Clients, stack: Any, dataset: Path, neurons: int, run_id: str) -> None:
    key = places.input_dataset(run_id, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=dataset.read_bytes())
    runs.launch(clients, stack, run_id, key, _parameters(sizes=(neurons, 1), epochs=3))
    runs.watch(clients, stack, run_id, lambda *_: None)


def _parameters(sizes: tuple[int, ...] = (5, 1), **fields: Any) -> Parameters:
    layers = {f"layer{number}": size for number, size in enumerate(sizes, start=1)}
    functions = dict.fromkeys(layers, "relu") | {f"layer{len(sizes)}": "sigmoid"}
    usual = {"epochs": 30, "layers": len(sizes), "neurons": layers, "activations": functions, "learning_rate": 0.001}
    return Parameters.load({**usual, **fields})


class _Served:
    """`snn look` and a browser that is logged in to it."""

    def __init__(self, stack: str) -> None:
        self._stack = stack

    def __enter__(self) -> _Served:
        sys.path.append(str(problem.ROOT / "tests"))
        from browsers import chromium

        snn = str(Path(sys.executable).with_name("snn"))
        self._process = subprocess.Popen(
            [snn, "look", "--port", "0", "--no-browser", "--stack", self._stack], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        said = iter(self._process.stderr.readline, "")
        address = next(word for line in said for word in line.split() if "token=" in word).rstrip(";")
        self._origin = address.partition("/?")[0]
        self._browser = chromium()
        self._context = self._browser.__enter__().new_context(viewport={"width": 1300, "height": 900})
        self._context.request.get(address)  # for the cookie; another open page would ask the server meanwhile
        return self

    def opened(self, view: str, ready: str) -> float:
        """Return the seconds from a view's address to its first picture."""
        page = self._context.new_page()
        began = time.perf_counter()
        page.goto(f"{self._origin}/{view}")
        page.locator(ready).first.wait_for(timeout=LIMIT_MS)
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        seconds = time.perf_counter() - began
        page.close()
        return seconds

    def memory(self) -> dict[str, int]:
        """Return the MB that the server holds, and its worker."""
        server = self._process.pid
        children = [
            child for tasks in Path(f"/proc/{server}/task").glob("*/children") for child in tasks.read_text().split()
        ]
        return {"server": _resident(server), "worker": max([_resident(int(pid)) for pid in children], default=0)}

    def __exit__(self, *_: object) -> None:
        self._browser.__exit__(None, None, None)
        self._process.terminate()
        self._process.wait(10)


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 // 2**20
