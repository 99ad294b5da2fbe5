"""Large batches: 10,000 photos while workers are killed, functions throttled and the batch stopped; a long table."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest
from numpy.testing import assert_allclose
from odd_photos import encoded
from PIL import Image
from served import KINDS, put_run
from workers import at_work

from snn_client.data.tables import read_rows
from snn_client.models import versions
from snn_client.serving.batch import batch_predict, estimate_batch
from snn_client.serving.batch_contents import Manifest
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_photos.reading import load_image

log = logging.getLogger(__name__)

COUNT, KILLS, KIND = 10_000, 6, KINDS["photos of two classes"]
BAD = {123: b"", 4_567: b"no picture", 9_999: None}  # the last one is cut off


@pytest.fixture(scope="module")
def serving(clients: Clients) -> StackOutputs:
    """A stack with an endpoint and a champion."""
    outputs = deploy_stack(clients, StackOptions.from_environment(stack_name="snn-ten-thousand", with_cache=False))
    put_run(clients, outputs, "champion", KIND.file("champion"))
    versions.promote(clients, outputs, "champion")
    return outputs


class Stopping:
    """Progress that breaks off once so many are answered."""

    def __init__(self, at: int) -> None:
        self._at = at

    def at(self, what: str, done: int, total: int) -> None:
        if what == "answering" and done >= self._at:
            raise KeyboardInterrupt

    def note(self, text: str) -> None:
        """Nobody reads it."""

    warn = note


def test_ten_thousand_photos_are_answered_once_each_whatever_happens(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    random, files = np.random.default_rng(0), dict[str, bytes]()
    for number in range(COUNT):
        content = encoded(Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)), "JPEG")
        cut = BAD.get(number, b"x")
        files[f"{number:05}.jpg"] = content[:300] if cut is None else cut if number in BAD else content
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: clients.s3.put_object(
            Bucket=serving.bucket, Key=f"batch_input/many/{one[0]}", Body=one[1]), files.items()))  # fmt: skip
    source = f"s3://{serving.bucket}/batch_input/many/"
    guess = estimate_batch(clients, serving, source)
    killed, over, refused = list[int](), threading.Event(), list[int]()

    def trouble() -> None:
        """Kill a worker every second, and let only one work at a time now and then."""
        while not over.wait(1.0):
            if len(killed) < KILLS and (pids := at_work(clients, serving.predict_function)):
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            clients.lambda_.put_function_concurrency(
                FunctionName=serving.predict_function, ReservedConcurrentExecutions=1
            )
            over.wait(0.7)
            clients.lambda_.delete_function_concurrency(FunctionName=serving.predict_function)

    def heard(response: Any, **_: Any) -> None:
        refused.extend([1] if response and response[0].status_code == 429 else [])

    clients.lambda_.meta.events.register("needs-retry.lambda.Invoke", heard)
    thread = threading.Thread(target=trouble)
    thread.start()
    began = time.monotonic()
    try:
        for at in (2_000, 6_000):
            with pytest.raises(KeyboardInterrupt):
                batch_predict(clients, serving, source, kind="parquet", progress=Stopping(at))
        done: Manifest = batch_predict(clients, serving, source, kind="parquet")
    finally:
        over.set()
        thread.join()
        clients.lambda_.meta.events.unregister("needs-retry.lambda.Invoke", heard)
    took = time.monotonic() - began
    cost = done["cost"]
    log.info(
        "%s",
        f"{done['answered']:,} answers, {done['bad']} bad, {done['parts']} parts, {took:.0f} s; killed {len(killed)}, "
        f"throttled {len(refused)} times, stopped twice; {cost['invocations']['predict']} invocations, "
        f"{cost['gb_seconds']:.1f} GB-s, {cost['usd']:.6f} USD, estimate {guess['usd']:.6f}",
    )
    assert len(killed) >= 3
    assert refused
    assert (done["inputs"], done["answered"], done["bad"], done["parts"]) == (COUNT, COUNT - 3, 3, 200)
    assert done["computed"] < 200 - 30
    assert 200 < cost["invocations"]["predict"] <= 200 + 3 * len(killed)
    bucket, _, key = done["result"].removeprefix("s3://").partition("/")
    found = pa_parquet.read_table(BytesIO(clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()))
    good = [name for number, name in enumerate(files) if number not in BAD]
    assert found["input"].to_pylist() == good
    model = KIND.model("champion")
    inputs = np.hstack([load_image(BytesIO(files[name]), KIND.shape) for name in good])
    assert_allclose(found["probability"].to_numpy(), model.answers(inputs)[0], rtol=0, atol=1e-12)
    key = done["errors"].removeprefix("s3://").partition("/")[2]
    errors = clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
    assert [json.loads(line)["input"] for line in errors] == [f"{number:05}.jpg" for number in BAD]
    pages = clients.s3.get_paginator("list_object_versions")
    listed = pages.paginate(Bucket=bucket, Prefix=places.batch_parts(done["batch_id"]))
    written = [item["Key"] for page in listed for item in page["Versions"]]
    assert len(set(written)) == 200
    assert len(written) <= 200 + len(killed)  # one that was killed may have stored its answers before


ANSWERING = """
import json, sys
from pathlib import Path
from snn_client.serving.batch import batch_predict
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients

clients = Clients.from_environment()
stack = StackOutputs.load(clients, sys.argv[1])
done = batch_predict(clients, stack, Path(sys.argv[2]), model="rows", version=sys.argv[3], kind="parquet")
(peak,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({**done, "most": int(peak) * 1024}))
"""


def test_a_long_table_is_answered_in_the_memory_of_a_short_one(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    kind, random, took = KINDS["a table of two classes"], np.random.default_rng(0), list[dict[str, Any]]()
    put_run(clients, serving, "of-rows", kind.file("of-rows"))
    versions.register(clients, serving, "of-rows", "rows")
    for rows in (200_000, 600_000):
        path = tmp_path / f"{rows}.csv"
        heights, weights = random.normal(1.7, 0.1, rows), random.normal(70, 12, rows)
        with path.open("w") as file:
            file.write("height,weight,colour,remark\n")
            for place, (height, weight) in enumerate(zip(heights.tolist(), weights.tolist(), strict=True)):
                file.write(f"{height},{weight},{('red', 'blue', '')[place % 3]},{'x' * 1_800}\n")
        began = time.monotonic()
        words = [sys.executable, "-c", ANSWERING, serving.stack_name, str(path), "of-rows"]
        ran = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        took.append(json.loads(ran.stdout.splitlines()[-1]))
        assert (took[-1]["answered"], took[-1]["bad"], took[-1]["parts"]) == (rows, 0, rows // 5_000)
        cost = took[-1]["cost"]
        log.info(
            "%s",
            f"{rows:,} rows, {time.monotonic() - began:.0f} s, {took[-1]['most'] / 1e6:.0f} MB, "
            f"{cost['gb_seconds']:.1f} GB-s, {cost['usd']:.6f} USD, estimate {took[-1]['estimate_usd']:.6f}",
        )
    short, long = took
    assert path.stat().st_size > 1e9  # Arrow reads 32 blocks of 8 MB ahead, of the short one too
    assert long["most"] - short["most"] < 60e6
    result = tmp_path / "result.parquet"
    bucket, _, key = long["result"].removeprefix("s3://").partition("/")
    clients.s3.download_file(bucket, key, str(result))
    found = pa_parquet.read_table(result)
    assert found["input"].to_pylist() == [f"600000.csv#{row}" for row in range(1, 600_001)]
    inputs = list(read_rows(path, kind.columns))
    model = kind.model("of-rows")
    truth = np.concatenate([model.answers(each.T)[0] for each in inputs])
    assert_allclose(found["probability"].to_numpy(), truth, rtol=0, atol=1e-12)
