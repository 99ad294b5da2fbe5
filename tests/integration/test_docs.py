"""What README and docs say of AWS, tried on the emulator: messages, snippets, and the quick start as it is typed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import oracle
import pytest
import redis
from documentation import ROOT, Fence, fences
from provoked import ON_A_STACK, Stack, as_quoted, quotes, small

from snn_cli.local.emulator import Emulator
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.neurons.cache import Cache
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
    """All but those of endpoint.md and portable.md: test_endpoint_callers.py and tests/unit/portable/test_docs.py."""
    elsewhere = ("endpoint.md", "portable.md")
    return [each for each in fences("python") if "with DAG(" not in each.text and each.page.name not in elsewhere]


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
        deadline = time.monotonic() + 30
        while on.ledger.find(run_id) is None:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        run = runs.watch(on.clients, on.outputs, run_id, lambda *_: None, every_seconds=0.1, limit_seconds=60)
        assert run.epoch == 4


def test_the_lines_of_a_task_s_log(on: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    (quoted,) = [fence.text for fence in fences("text") if fence.page == ROOT / "docs" / "operators.md"]
    # Slow enough to be looked at several times, or no speed could be told.
    run_id = "lines-of-a-task"
    chosen = Parameters.load(
        oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=60, granularity="layer")
    )
    training = SnnTrainOperator(
        task_id="train", stack=on.outputs.to_dict(), run_id=run_id, dataset_key=on.put(run_id),
        parameters=chosen.to_json(), deferrable=False, poll_interval=0.2, aws_conn_id=None,
    )  # fmt: skip
    task: Any = SimpleNamespace(try_number=1, max_tries=0, xcom_push=lambda key, value: None)
    training.execute({"ti": task})
    printed = numbered(capsys.readouterr().out)
    for line in quoted.splitlines():
        assert numbered(line) in printed, line


def numbered(text: str) -> str:
    """Return text with "#" for every number."""
    return re.sub(r"\d(?:[\d.,]|e[+-])*", "#", text)


# What is typed one after the other; the other headings want photos of the reader's own, Airflow or AWS.
TYPED = ("On this machine", "A Lambda invocation for every neuron", "When you are done")


def test_the_quick_start_as_it_is_typed(emulator_venv: Path, emulator: Emulator, tmp_path: Path) -> None:
    """In a folder of its own, with an emulator of its own; `make` is left out, as what it installs is there."""
    page = [fence for fence in fences("sh") if fence.page.name == "quickstart.md" and fence.heading in TYPED]
    lines = [line for fence in page for line in fence.text.splitlines() if not line.startswith("make ")]
    assert (lines[0], lines[-1]) == (".venv/bin/snn local up", ".venv/bin/snn local down")
    (tmp_path / ".local").mkdir()
    (tmp_path / ".local" / "emulator-venv").symlink_to(emulator_venv)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNN_", "REDIS"))}

    def bash(script: str) -> subprocess.CompletedProcess[str]:
        run: Any = {"cwd": tmp_path, "env": clean, "capture_output": True, "text": True, "timeout": 600}
        return subprocess.run(["bash", "-euc", script], **run, check=False)

    try:
        typed = bash("\n".join(lines))
    finally:
        stopped = bash(".venv/bin/snn local down")
    assert (typed.returncode, stopped.returncode) == (0, 0), typed.stdout + typed.stderr
    report = json.loads(next((tmp_path / "reports").rglob("report.json")).read_text())
    assert (report["training"]["epochs_run"], report["training"]["granularity"]) == (500, "batch")
    assert report["test_set"]["accuracy"] > 0.9
    assert re.search(r"\b198\b.*NeuronLambda|NeuronLambda.*\b198\b|198 neuron", typed.stdout + typed.stderr)


def test_the_readme_types_nothing_else() -> None:
    typed = {fence.page.name: fence.text.splitlines() for fence in fences("sh") if "snn deploy" in fence.text}
    quick = [line for fence in fences("sh") if fence.heading in TYPED for line in fence.text.splitlines()]
    assert set(typed["README.md"]) <= set(quick)
