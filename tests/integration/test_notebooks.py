"""The notebooks, executed from top to bottom against the session's stack, and what they compute.

On itsacat's photos when they are there (../shared), otherwise on the faces.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pytest
from nbclient.exceptions import CellExecutionError

from snn.dataset import Dataset, load_dataset
from snn.network import initial_weights
from snn.parameters import Parameters
from snn_cli.datasets import build_faces, sample_images
from snn_cloud import places
from snn_cloud.errors import StackFailed

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "datasets" / "datasets.h5"
sys.path.append(str(ROOT / "notebooks"))  # the notebooks are no part of what is installed

import execute  # noqa: E402
import machine  # noqa: E402

RUN = "notebook-test"
ITSACAT = oracle.small_network((20, 7, 5, 1), ("relu", "relu", "relu", "sigmoid"), epochs=300, learning_rate=0.0075)
PARAMETERS = Parameters.load(ITSACAT)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if SHARED.exists():
        return SHARED
    path = tmp_path_factory.mktemp("faces") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="module")
def data(file: Path) -> Dataset:
    return load_dataset(file)


@pytest.fixture(scope="module")
def report(clients, stack, file, tmp_path_factory) -> dict[str, Any]:
    photos = sample_images(tmp_path_factory.mktemp("photos"))
    return execute.finished_run(clients, stack, RUN, file, PARAMETERS, photos)


@pytest.fixture(scope="module")
def figures(stack, file, report) -> Callable[[str], dict[str, Any]]:
    """What each notebook came to, all of them executed anew, side by side."""
    environment = {"SNN_STACK_NAME": stack.stack_name, "SNN_RUN_ID": RUN, "SNN_DATASET": str(file)}
    with ThreadPoolExecutor(len(execute.NAMES)) as side_by_side:
        books = side_by_side.map(lambda name: execute.execute(name, environment), execute.NAMES)
        found = {name: execute.figures(book) for name, book in zip(execute.NAMES, books)}
    return found.__getitem__


def test_the_analysis_finds_what_the_report_says(figures, report):
    found, test_set = figures("Analysis"), report["test_set"]
    assert found["run_id"] == report["run_id"] == RUN
    assert found["epochs"] == report["training"]["epochs_run"]
    assert found["final_cost"] == report["training"]["final_cost"] < found["first_cost"]
    assert found["confusion_matrix"] == test_set["confusion_matrix"]
    assert found["rates"] == {name: test_set[name] for name in found["rates"]}
    assert len(found["rates"]) == 7
    assert found["mislabelled"] == [wrong["index"] for wrong in test_set["mislabelled"]]
    assert len(found["mislabelled"]) == test_set["confusion_matrix"]["fp"] + test_set["confusion_matrix"]["fn"]
    assert found["new_images"] == pytest.approx([image["probability"] for image in report["new_images"]], abs=1e-12)
    assert len(found["new_images"]) == 5


def test_the_introduction_trains_as_lambda_did(figures, clients, stack, report, data):
    found = figures("Introduction")
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.results(RUN))["Body"].read()
    costs = [value["cost"] for name, value in json.loads(body).items() if name.startswith("epoch")]
    assert Parameters.load(found["parameters"]) == PARAMETERS
    assert len(costs) == 300
    assert found["costs"] == pytest.approx(costs[::50], abs=1e-9)
    assert found["costs_in_span"] == pytest.approx(costs[::50], abs=1e-9)
    assert found["apart"] is True
    assert found["photos"] == [data.train_y.size, data.test_y.size]
    assert found["weights"] == sum(n * (p + 1) for n, p in ((20, data.features), (7, 20), (5, 7), (1, 5)))
    assert found["usd"]["batch"] < found["usd"]["layer"] < found["usd"]["neuron"]


def test_the_codebook_computes_what_the_formulas_say_and_lambda_the_same(figures, data):
    found = figures("Codebook")
    chosen = Parameters.load(oracle.small_network((5, 1), ("relu", "sigmoid"), epochs=200, learning_rate=0.02))
    batch = SimpleNamespace(X=data.train_x, Y=data.train_y)
    Ws, bs, costs = oracle.train_as(chosen, initial_weights(chosen, data.features), [batch])
    assert found["cost"] == pytest.approx(costs[0], abs=1e-12)
    assert found["cost_after_the_step"] == pytest.approx(costs[1], abs=1e-12)
    assert found["costs"] == pytest.approx(costs[::20], abs=1e-9)
    assert found["same_as_the_projects_loop"] is True
    assert found["slopes_checked"] == 36
    assert found["slopes_differ_by"] < 1e-8
    hidden = np.maximum(0, Ws[0] @ data.test_x + bs[0])
    said, truth = (Ws[1] @ hidden + bs[1])[0] > 0, data.test_y[0] > 0
    cells = {"tn": ~said & ~truth, "fp": said & ~truth, "fn": ~said & truth, "tp": said & truth}
    assert found["confusion_matrix"] == {name: int(cell.sum()) for name, cell in cells.items()}

    through = found["through_lambda"]
    assert {name: run["neuron_invocations"] for name, run in through.items()} == {"neuron": 12, "layer": 4, "batch": 0}
    assert [run["cost"] for run in through.values()] == pytest.approx([costs[0]] * 3, abs=1e-12)
    assert all(run["weights_equal"] for run in through.values())


def test_without_a_name_the_run_with_the_newest_report_is_taken(clients, stack, report, monkeypatch):
    aws = SimpleNamespace(clients=clients, outputs=stack, stack=stack.stack_name)
    monkeypatch.delenv("SNN_RUN_ID", raising=False)
    time.sleep(1.1)  # S3 tells times by the second
    for run_id in ("notebook-newest", "notebook-unjudged"):
        clients.s3.put_object(Bucket=stack.bucket, Key=places.params(run_id), Body=b"")
    clients.s3.put_object(Bucket=stack.bucket, Key=places.report_json("notebook-newest"), Body=b"{}")
    clients.s3.put_object(Bucket=stack.bucket, Key=places.input_image("notebook-x", 0, "report.json"), Body=b"{}")
    assert machine.chosen_run(aws) == "notebook-newest"
    monkeypatch.setenv("SNN_RUN_ID", RUN)
    assert machine.chosen_run(aws) == RUN


def test_a_stack_that_is_not_there_is_named(emulator, monkeypatch):
    monkeypatch.setenv("SNN_STACK_NAME", "nobodys")
    with pytest.raises(StackFailed, match="the stack nobodys is not deployed"):
        _ = machine.connect().outputs


def test_a_cell_that_fails_is_told_of(monkeypatch):
    book = execute.read("Introduction")
    book.cells = [cell for cell in book.cells if cell.cell_type == "code"][:1]
    book.cells[0].source = "raise ValueError('a cell of ours')"
    monkeypatch.setattr(execute, "read", lambda name: book)
    with pytest.raises(CellExecutionError, match="a cell of ours"):
        execute.execute("Introduction", {})
