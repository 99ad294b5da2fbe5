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

from snn_cli.datasets import build_faces, sample_images
from snn_cloud.aws import places
from snn_cloud.aws.errors import StackFailed
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset, load_dataset, save_dataset

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


def rounded(value):
    """Figures that two computations come to, with all but the last digits."""
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return round(value, 9) if isinstance(value, float) else value


def check_found(found, report, digits=1e-12):
    """What holds of any network: the notebook finds in the files what the report says."""
    training, test_set = report["training"], report["test_set"]
    assert found["run_id"] == report["run_id"]
    assert found["epochs"] == training["epochs_run"]
    assert found["final_cost"] == training["final_cost"] < found["first_cost"]
    assert found["best_epoch"] == training["best_epoch"]
    assert rounded(found["rates"]) == rounded({name: test_set[name] for name in found["rates"]})
    assert found["mislabelled"] == [wrong["index"] for wrong in test_set["mislabelled"]]
    said = [image.get("probability", image.get("value")) for image in report["new_images"]]
    assert found["new_images"] == pytest.approx(said, abs=digits)


def test_the_analysis_finds_what_the_report_says(figures, report):
    found = figures("Analysis")
    check_found(found, report)
    (tn, fp), (fn, tp) = found["confusion_matrix"]
    assert report["test_set"]["confusion_matrix"] == {"tn": tn, "fp": fp, "fn": fn, "tp": tp}
    assert len(found["rates"]) == 7
    assert len(found["mislabelled"]) == fp + fn
    assert len(found["new_images"]) == 5


def grey_photos(random, samples):
    """Photos of one channel and three classes: which third is brightest, mostly."""
    y = np.arange(samples) % 3
    x = random.integers(0, 200, (samples, 6, 6), dtype=np.uint8)
    for k in range(3):
        x[y == k, 2 * k : 2 * k + 2] += 55
    return x, y


def features(random, samples, classes):
    """Rows of eight numbers, and a number that follows from them, or in which part of its range that is."""
    x = random.standard_normal((samples, 8))
    y = x[:, 0] - 2 * x[:, 1] + 0.1 * x[:, 2] ** 2
    return x, y if not classes else np.digitize(y, [0.0] if classes == 2 else [-1.0, 1.0])


def coloured_photos(random, samples):
    """Photos, and how bright their upper part is."""
    x = random.integers(0, 256, (samples, 5, 5, 3), dtype=np.uint8)
    return x, x[:, :2].mean(axis=(1, 2, 3)) / 25.5


KINDS = {
    "grey-photos-of-three-classes": (
        grey_photos,
        ("top", "middle", "bottom"),
        oracle.small_network(
            (6, 3), ("gelu", "softmax"), epochs=20, learning_rate=0.01, strategy="sgd", batch_size=10,
            optimizer="adam", validation=0.2, dropout=0.1, dtype="float32",
        ),
        2,
    ),
    "features-of-three-classes": (
        lambda random, samples: features(random, samples, 3),
        ("low", "middle", "high"),
        oracle.small_network((6, 5, 3), ("leaky_relu", "elu", "softmax"), epochs=30, validation=0.2, patience=3),
        0,
    ),
    "features-of-two-classes": (
        lambda random, samples: features(random, samples, 2),
        ("no", "yes"),
        oracle.small_network((6, 2), ("sigmoid", "softmax"), epochs=30),
        0,
    ),
    "features-with-numbers": (
        lambda random, samples: features(random, samples, 0),
        (),
        oracle.small_network((6, 1), ("tanh", "identity"), epochs=50, learning_rate=0.02),
        0,
    ),
    "photos-with-numbers": (
        coloured_photos,
        (),
        oracle.small_network((4, 1), ("relu", "identity"), epochs=100, learning_rate=0.005),
        1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def analysed(clients, stack, tmp_path_factory):
    """Of each kind of run what its report says, and the Analysis of it; two at a time."""
    folder = tmp_path_factory.mktemp("kinds")
    photos = sample_images(folder / "photos")

    def analyse(kind):
        make, classes, recipe, handed_in = KINDS[kind]
        random = np.random.default_rng(3)
        save_dataset(folder / f"{kind}.h5", *make(random, 60), *make(random, 24), classes)
        parameters, images = Parameters.load(recipe), photos[:handed_in]
        report = execute.finished_run(clients, stack, kind, folder / f"{kind}.h5", parameters, images)
        book = execute.execute("Analysis", {"SNN_STACK_NAME": stack.stack_name, "SNN_RUN_ID": kind})
        return report, book

    with ThreadPoolExecutor(2) as side_by_side:
        return dict(zip(KINDS, side_by_side.map(analyse, KINDS)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_analysis_works_for_every_kind_of_run(analysed, kind):
    report, book = analysed[kind]
    _, classes, recipe, handed_in = KINDS[kind]
    found = execute.figures(book)
    check_found(found, report, digits=1e-6 if recipe.get("dtype") == "float32" else 1e-12)
    assert len(found["new_images"]) == handed_in
    assert (found["best_epoch"] is None) == ("validation" not in recipe)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert {output.get("name", "stdout") for output in outputs} == {"stdout"}
    if classes:
        assert sum(map(sum, found["confusion_matrix"])) == 24
        assert ("confusion matrix" in said) is False
    else:
        assert set(found["rates"]) == {"mae", "rmse", "r2"}
        assert "has no confusion matrix" in said
    if len(classes) == 3:
        assert found["confusion_matrix"] == report["test_set"]["confusion_matrix"]
        assert [one["class_name"] for one in found["rates"]["per_class"]] == list(classes)
    assert ("their weights make no pictures" in said) is kind.startswith("features")
    assert ("no photos were handed in" in said) is (handed_in == 0)
    drawn = [bool(output.get("data", {}).get("image/png")) for output in outputs]
    assert sum(drawn) >= (3 if classes else 2)


def test_the_introduction_trains_as_lambda_did(figures, clients, stack, report, data):
    found = figures("Introduction")
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.results(RUN))["Body"].read()
    costs = [value["cost"] for name, value in json.loads(body).items() if name.startswith("epoch")]
    assert Parameters.load(found["parameters"]) == PARAMETERS
    assert len(costs) == 300
    assert found["costs"] == pytest.approx(costs[::50], abs=1e-9)
    assert found["costs_in_span"] == pytest.approx(costs[::50], abs=1e-9)
    assert found["apart"] is True
    assert found["photos"] == [len(data.train), len(data.test)]
    assert found["weights"] == sum(n * (p + 1) for n, p in ((20, data.features), (7, 20), (5, 7), (1, 5)))
    assert found["usd"]["batch"] < found["usd"]["layer"] < found["usd"]["neuron"]
    best, last = found["validation_costs"]
    assert found["best_epoch"] < 99
    assert best < last  # the curve turns up, which is what it is there for


def test_the_codebook_computes_what_the_formulas_say_and_lambda_the_same(figures, data):
    found = figures("Codebook")
    chosen = Parameters.load(oracle.small_network((5, 1), ("relu", "sigmoid"), epochs=200, learning_rate=0.02))
    params, costs = oracle.train_on(chosen, data)
    assert found["cost"] == pytest.approx(costs[0], abs=1e-12)
    assert found["cost_after_the_step"] == pytest.approx(costs[1], abs=1e-12)
    assert found["costs"] == pytest.approx(costs[::20], abs=1e-9)
    assert found["project_differs_by"] < 1e-12
    assert found["average_differs_by"] < 1e-12
    assert found["slopes_checked"] == 36
    assert found["slopes_differ_by"] < 1e-8
    X = oracle.as_inputs(data.test.stored, "float64")
    hidden = np.maximum(0, params["W1"] @ X + params["b1"])
    said, truth = (params["W2"] @ hidden + params["b2"])[0] > 0, data.test.y > 0
    cells = {"tn": ~said & ~truth, "fp": said & ~truth, "fn": ~said & truth, "tp": said & truth}
    assert found["confusion_matrix"] == {name: int(cell.sum()) for name, cell in cells.items()}
    plain, momentum, adam = found["by_optimizer"].values()
    assert momentum < plain
    assert adam < plain

    through = found["through_lambda"]
    assert {name: run["neuron_invocations"] for name, run in through.items()} == {"neuron": 12, "layer": 4, "batch": 0}
    assert [run["cost"] for run in through.values()] == pytest.approx([costs[0]] * 3, abs=1e-12)
    assert all(run["weights_differ_by"] < 1e-12 for run in through.values())


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
