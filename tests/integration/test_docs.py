"""What README and docs say of AWS, tried on the emulator: messages, snippets, and the quick start as it is typed."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import oracle
import pytest
import redis
from documentation import ROOT, Fence, fences
from provoked import ON_A_STACK, Stack, as_quoted, quotes, small

from snn_cli.local.emulator import Emulator
from snn_cloud import places, runs
from snn_cloud.cache import Cache
from snn_cloud.clients import Clients
from snn_cloud.stack import StackOutputs
from snn_operators.train import SnnTrainOperator


@pytest.fixture
def on(
    clients: Clients, stack: StackOutputs, emulator: Emulator, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> Stack:
    cache = Cache(redis.Redis(emulator.redis_host, emulator.redis_port))
    return Stack(clients, stack, cache, data, monkeypatch)


@pytest.mark.parametrize("title", ON_A_STACK)
def test_a_message(on: Stack, title: str) -> None:
    outcome = ON_A_STACK[title](on)
    assert re.search(as_quoted(quotes()[title]), outcome), outcome


def snippets() -> list[Fence]:
    return [fence for fence in fences("python") if "with DAG(" not in fence.text]


@pytest.mark.parametrize("fence", snippets(), ids=str)
def test_a_snippet_runs(
    fence: Fence, on: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parameters.json").write_text(small(epochs=4).to_json())
    (tmp_path / "datasets.h5").write_bytes(on.data)
    text = fence.text.replace('"snn")', f'"{on.outputs.stack_name}")')  # the stack of the tests
    assert text != fence.text
    if "results.json" in text:
        epochs = {f"epoch{number}": {"cost": cost} for number, cost in enumerate((0.7012303687667679, 0.5))}
        times = {"Start": "2026-11-22 10:00:00.000001", "End": "2026-11-22 10:00:02.000001"}
        body = json.dumps({"Start": times["Start"], **epochs, "End": times["End"]}).encode()
        on.clients.s3.put_object(Bucket=on.outputs.bucket, Key=places.PROMOTED_RESULTS, Body=body)
    names: dict[str, Any] = {}
    exec(compile(text, str(fence), "exec"), names)
    if "results.json" in text:
        assert capsys.readouterr().out == "2 epochs in 0:00:02: from 0.7012 to 0.5000\n"
    else:
        head = on.clients.s3.head_object(Bucket=on.outputs.bucket, Key="training_input/cats/datasets.h5")
        run_id = runs.run_id_for_upload(on.outputs.bucket, "training_input/cats/datasets.h5", head["VersionId"])
        deadline = 200
        while on.ledger.find(run_id) is None and (deadline := deadline - 1):
            pytest.importorskip("time").sleep(0.1)
        assert runs.watch(on.clients, on.outputs, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60).epoch == 4
