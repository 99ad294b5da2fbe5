"""10,000 requests from eight clients while versions are promoted and taken back; and what an answer costs."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
import time
from collections import Counter
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import numpy as np
import pytest
from faults.cloud import Cloud
from load.tally import ENDPOINT, keep
from PIL import Image
from served import KINDS, TABLE, Kind, endpoint_here, event_of, put_run

from snn_client.backbones.features import features_by
from snn_client.data.options import Options
from snn_client.data.staging import stage
from snn_client.models import versions
from snn_client.runs import runs
from snn_client.runs.recipe import parameters_for
from snn_client.serving.asking import JSON_TYPE, callable_url, signed
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_cloud.cost import prices
from snn_cloud.serve.deployed import FRESH_SECONDS
from snn_cloud.serve.meter import OVERHEAD_NANO_USD

ROOT = Path(__file__).parents[2]
REQUESTS, CLIENTS, PROMOTIONS = 10_000, 8, 10
MEMORY_MB = 1_769
KIND = KINDS["a table of two classes"]
ROWS = 500


def rows() -> list[list[Any]]:
    random = np.random.default_rng(0)
    return [[random.normal(1.7, 0.3), random.normal(70, 30), "red"] for _ in range(ROWS)]


class Reigns:
    """Which version was the champion from when to when, as whoever promoted it knows."""

    def __init__(self) -> None:
        self._begun = list[tuple[float, float, int]]()  # may have begun; has begun; number

    def change(self, number: int, change: Any) -> None:
        before = time.monotonic()
        change()
        self._begun.append((before, time.monotonic(), number))

    def possible(self, asked: float, answered: float) -> set[int]:
        """Return the versions that may answer a request: an environment may take its last look for what is."""
        found = set[int]()
        ends = [has for _, has, _ in self._begun[1:]] + [float("inf")]
        for (may, _, number), end in zip(self._begun, ends, strict=True):
            if may <= answered and end + FRESH_SECONDS >= asked:
                found.add(number)
        return found


def quantile(taken: list[float], part: float) -> float:
    return float(np.quantile(taken, part))


def test_ten_thousand_requests_while_versions_change(cloud: Cloud) -> None:
    clients, stack, asked, reigns = cloud.clients, cloud.stack, rows(), Reigns()
    right = dict[int, Any]()
    for number in range(1, PROMOTIONS + 2):
        put_run(clients, stack, f"load-{number}", KIND.file(f"load-{number}", number))
        assert versions.register(clients, stack, f"load-{number}")["number"] == number
        right[number] = KIND.model("here", number).answers(TABLE.encode_rows(asked, "here").T)[0]
    reigns.change(1, lambda: versions.promote(clients, stack, 1))
    url, done, lock = f"{callable_url(clients, stack)}/invocations", list[tuple[Any, ...]](), threading.Lock()
    over = threading.Event()

    def ask(number: int) -> None:
        with httpx.Client(timeout=60) as http:
            for place in range(number, REQUESTS, CLIENTS):
                body = json.dumps({"instances": [asked[place % ROWS]]}).encode()
                headers = signed("POST", url, {"Content-Type": JSON_TYPE}, body, ("test", "test", None), stack.region)
                began = time.monotonic()
                answered = http.post(url, content=body, headers=headers)
                ended = time.monotonic()
                with lock:
                    done.append((place, began, ended, answered.status_code, answered.text))

    def change() -> None:
        for step in range(2, PROMOTIONS + 3):
            while len(done) < REQUESTS * (step - 1) // (PROMOTIONS + 2) and not over.wait(0.02):
                pass
            if step == PROMOTIONS + 2:
                reigns.change(PROMOTIONS, lambda: versions.roll_back(clients, stack))
            else:
                reigns.change(step, lambda number=step: versions.promote(clients, stack, number))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(CLIENTS)]
    changing, began = threading.Thread(target=change), time.monotonic()
    for thread in (*threads, changing):
        thread.start()
    for thread in threads:
        thread.join(900)
    over.set()
    changing.join(60)
    seconds = time.monotonic() - began
    assert len(done) == REQUESTS
    assert Counter(status for *_, status, _ in done) == {200: REQUESTS}
    by, late = Counter[int](), list[Any]()
    for place, asked_at, answered_at, _, text in done:
        said = json.loads(text)
        number = said["model"]["version"]
        assert said["model"]["run_id"] == f"load-{number}"
        assert said["predictions"][0]["probability"] == pytest.approx(right[number][place % ROWS], abs=1e-9)
        by[number] += 1
        if number not in reigns.possible(asked_at, answered_at):
            late.append((number, asked_at, answered_at))
    assert late == []
    assert set(by) == set(range(1, PROMOTIONS + 2))
    taken = [(ended - began) * 1000 for _, began, ended, *_ in done]
    bare, endpoint = list[float](), endpoint_here(clients, stack, daily_usd=1.0)
    for row in asked * 4:
        event, started = event_of(json.dumps({"instances": [row]}), JSON_TYPE), time.perf_counter()
        assert endpoint.answer(event)["statusCode"] == 200
        bare.append((time.perf_counter() - started) * 1000)
    figures = {
        "requests": REQUESTS, "clients": CLIENTS, "failed": 0, "of no version": len(late), "versions": len(by),
        "seconds": seconds, "p50": quantile(taken, 0.5), "p99": quantile(taken, 0.99),
        "bare p50": quantile(bare, 0.5), "bare p99": quantile(bare, 0.99),
    }  # fmt: skip
    print(figures)
    keep(ENDPOINT, **{"while versions change": figures})


PHOTOS = Kind("sigmoid", (64, 64, 3), ("non-cat", "cat"))


def photo() -> bytes:
    """The JPEG file of a photo of a third of a megapixel."""
    out = BytesIO()
    small = Image.fromarray(np.random.default_rng(1).integers(0, 256, (48, 64, 3), np.uint8))
    small.resize((640, 480), Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def learned_by_a_backbone(cloud: Cloud, stack: Any, folder: Path) -> None:
    """A run on the features of the built-in backbone, promoted."""
    random = np.random.default_rng(2)
    for name, channel in (("blue", 2), ("red", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 60, (64, 64, 3), np.uint8)
            pixels[..., channel] += np.uint8(150)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    options, by = Options(backbone="efficientnet-lite0"), features_by(cloud.clients, stack)
    staged = stage(cloud.clients, stack.bucket, "load-eyes", folder, parameters_for, (), options, features_by=by)
    runs.launch(cloud.clients, stack, staged.run_id, staged.dataset_key, staged.parameters)
    runs.watch(cloud.clients, stack, staged.run_id, lambda *_: None, every_seconds=0.2, limit_seconds=300)
    versions.promote(cloud.clients, stack, "load-eyes", "eyes")


def test_what_a_start_and_an_answer_take(cloud: Cloud, tmp_path: Path) -> None:
    """In processes of their own, each with a photo of 640 x 480 or a row."""
    wanted = StackOptions.from_environment(stack_name="snn-load-eyes", with_cache=False, with_features=True)
    stack = deploy_stack(cloud.clients, wanted)
    for name, kind in (("table", KIND), ("pixels", PHOTOS)):
        put_run(cloud.clients, stack, f"cold-{name}", kind.file(f"cold-{name}"))
        versions.promote(cloud.clients, stack, f"cold-{name}", name)
    learned_by_a_backbone(cloud, stack, tmp_path / "colours")
    events = {
        "a row of a table": event_of(json.dumps({"instances": [rows()[0]]}), JSON_TYPE, **target("table")),
        "a photo, a network of its pixels": event_of(photo(), "image/jpeg", **target("pixels")),
        "a photo, EfficientNet-Lite0": event_of(photo(), "image/jpeg", **target("eyes")),
    }
    architecture = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
    environment = {
        **os.environ, "BUCKET": stack.bucket, "TABLE": stack.table, "STACK": stack.stack_name, "DAILY_USD": "1",
        "ARCHITECTURE": architecture, "KEY_SHA256": "", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "PYTHONPATH": str(ROOT / "lambda_functions"), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    figures = dict[str, Any]()
    for name, event in events.items():
        (tmp_path / "event.json").write_text(json.dumps(event))
        command = [sys.executable, str(ROOT / "tests" / "load" / "cold.py"), str(tmp_path / "event.json")]
        found = list[Any]()
        for _ in range(3):
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, done.stderr
            found.append(json.loads(done.stdout))
        assert [one["status"] for one in found] == [200] * 3
        warm = [taken for one in found for taken in one["warm"]]
        nano_a_ms = prices.LAMBDA_GB_SECOND["arm64"].usd * MEMORY_MB / 1024 / 1000 * 1e9
        mean = sum(warm) / len(warm)
        figures[name] = {
            "import": median(one["import"] for one in found), "cold": median(one["cold"] for one in found),
            "MB": median(one["MB"] for one in found), "p50": quantile(warm, 0.5), "p99": quantile(warm, 0.99),
            "USD a thousand": (mean * nano_a_ms + OVERHEAD_NANO_USD) * 1e-6,
            "USD a start": median(one["cold"] for one in found) * 1000 * nano_a_ms * 1e-9,
        }  # fmt: skip
        assert figures[name]["cold"] < 30
        assert figures[name]["MB"] < MEMORY_MB / 2
    print(figures)
    keep(ENDPOINT, kinds=figures)


def target(model: str) -> dict[str, str]:
    return {"x_amzn_sagemaker_target_model": model}
