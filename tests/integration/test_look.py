"""The page's server on the emulator: what it says of real runs, beside what the ledger, the files and others say."""

from __future__ import annotations

import base64
import csv
import io
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import httpx
import numpy as np
import oracle
import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from PIL import Image
from small import wait_for_last_word, wait_until
from training import Lesson, saved, table, trained

from snn_client.look.app import make_app
from snn_client.look.stacks import Keys, Stack
from snn_client.look.viewers import Owner
from snn_client.models import versions
from snn_client.models.champion import promote
from snn_client.reports.predicting import predict_images
from snn_client.runs import runs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, Task
from snn_cloud.serve.deployed import FRESH_SECONDS
from snn_data.dataset import Dataset, load_dataset

EPOCHS = 60
ENDLESS = 10_000_000
HOW: dict[str, Any] = {"epochs": EPOCHS, "validation": 0.25, "learning_rate": 0.1, "restore_best_weights": False}
CHOSEN = Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid"), **HOW))
TABLE = Parameters.load(oracle.small_network((6, 3), ("tanh", "softmax"), epochs=12, learning_rate=0.1))


@dataclass
class Someone(Owner):
    """A person with rules of their own, who is logged in unless nobody."""

    name: str = "someone"
    dags: set[str] = field(default_factory=set)
    edits: set[str] = field(default_factory=set)
    sees_models: bool = True

    def sees(self, run: Run) -> bool:
        return run.task.dag_id in self.dags if run.task else self.sees_models

    def changes(self, run: Run) -> bool:
        return run.task is not None and run.task.dag_id in self.edits


@dataclass
class Page:
    """The page: `get` and `post` as the owner, or as somebody else by their name."""

    client: TestClient
    people: dict[str, Owner]
    stack: str

    def ask(self, path: str, who: str = "you", method: str = "GET", **how: Any) -> Any:
        return self.client.request(method, path, headers={"x-who": who}, **how)

    def get(self, path: str, who: str = "you") -> Any:
        answer = self.ask(path, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def run(self, run: Run, path: str = "") -> str:
        return f"/api/runs/{self.stack}/{run.run_id}{path}"


@pytest.fixture(scope="module")
def page(clients: Clients, stack: StackOutputs) -> Iterator[Page]:
    people: dict[str, Owner] = {"you": Owner()}

    def who(request: Request) -> Owner:
        named = request.headers.get("x-who", "")
        if named not in people:
            raise HTTPException(401, "log in first")
        return people[named]

    def keys() -> Keys:
        return Keys("test", "test")

    with TestClient(make_app([Stack(stack.stack_name, clients, keys)], who)) as client:
        yield Page(client, people, stack.stack_name)


@pytest.fixture(scope="module")
def launch(clients: Clients, stack: StackOutputs) -> Callable[..., Run]:
    def launch(name: str, chosen: Parameters, content: bytes, wait: bool = True, **how: Any) -> Run:
        run_id = runs.new_run_id(f"look {name}")
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=content)
        run = runs.launch(clients, stack, run_id, key, chosen, **how)
        return runs.watch(clients, stack, run_id, lambda *_: None, every_seconds=0.1) if wait else run

    return launch


@pytest.fixture(scope="module")
def run(launch: Callable[..., Run], data: bytes) -> Run:
    """A run that is over, of photos."""
    return launch("photos", CHOSEN, data)


def dataset_of(data: bytes) -> Dataset:
    return load_dataset(io.BytesIO(data))


def weights(clients: Clients, stack: StackOutputs, run: Run) -> dict[str, Any]:
    body = clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run.run_id))["Body"].read()
    with h5py.File(io.BytesIO(body)) as h5:
        return {name: h5[name][()] for name in h5}


def png(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def test_the_list_says_what_the_ledger_says(page: Page, run: Run, stack: StackOutputs) -> None:
    listed = page.get(f"/api/runs?stack={page.stack}")
    mine = next(row for row in listed["runs"] if row["run_id"] == run.run_id)
    assert (mine["state"], mine["epoch"], mine["epochs"]) == ("COMPLETED", EPOCHS, EPOCHS)
    assert (mine["cost"], mine["validation_cost"]) == (run.cost, run.validation_cost)
    assert mine["usd"] == pytest.approx(cost_of(run, stack)["usd"])
    assert (listed["older"], listed["unreadable"]) == (0, [])
    assert page.ask("/api/runs?stack=other").status_code == 404
    spark = page.get(f"/api/sparks?stack={page.stack}&run={run.run_id}")[run.run_id]
    assert len(spark["costs"]) == EPOCHS
    assert spark["costs"][-1] == run.cost


def test_a_curve_is_the_ledgers_and_so_are_its_times_and_its_file(
    page: Page, run: Run, clients: Clients, stack: StackOutputs
) -> None:
    ledger = Ledger(clients.dynamodb, stack.table)
    _, rows = ledger.progress(run.run_id)
    live = page.get(page.run(run, "/live"))
    curve = live["curve"]
    assert curve["epochs"] == list(range(1, EPOCHS + 1))
    assert curve["cost"]["mean"] == [row.cost for row in rows]
    assert curve["validation_cost"]["mean"] == [row.validation_cost for row in rows]
    assert curve["validation_metric"]["mean"] == [row.validation_metric for row in rows]
    assert curve["rate"] == [0.1] * EPOCHS
    assert curve["seconds"] == sorted(curve["seconds"])
    assert 0 <= curve["seconds"][0] <= curve["seconds"][-1] <= run.seconds + 1
    assert 0 < curve["usd"][-1] <= live["row"]["usd"]
    assert live["row"]["cost"] == run.cost
    text = page.ask(page.run(run, "/curve.csv")).text
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [int(line["epoch"]) for line in lines] == curve["epochs"]
    assert [float(line["cost"]) for line in lines] == curve["cost"]["mean"]
    best = int(np.argmin(curve["validation_cost"]["mean"]))
    assert live["best_validation"] == curve["validation_cost"]["mean"][best]
    assert page.ask(page.run(run, "/live?axis=sideways")).status_code == 422
    assert page.ask(f"/api/runs/{page.stack}/nobody/live").json()["error"].endswith("has no run 'nobody'")


def test_what_is_said_of_a_run_is_its_bill_its_log_and_its_report(
    page: Page, run: Run, clients: Clients, stack: StackOutputs
) -> None:
    detail = page.get(page.run(run))
    assert Parameters.load(detail["parameters"]) == CHOSEN
    assert detail["bill"] == cost_of(run, stack)
    wait_for_last_word(clients, stack, run.run_id)
    wait_until(lambda: "COMPLETED" in str(page.get(page.run(run, "/log"))["lines"]), "no last word in the log")
    log = page.get(page.run(run, "/log"))
    assert any("epoch 0 of 60" in line["text"] for line in log["lines"])
    last = max(line["at"] for line in log["lines"])
    assert page.get(page.run(run, f"/log?since={last + 60_000}"))["lines"] == []
    assert page.ask(page.run(run, "/report")).status_code == 404
    clients.s3.put_object(Bucket=stack.bucket, Key=places.report_html(run.run_id), Body=b"<p>good</p>")
    report = page.ask(page.run(run, "/report"))
    assert report.text == "<p>good</p>"
    assert report.headers["content-security-policy"].endswith("sandbox")


def test_a_network_is_what_an_independent_training_has(
    page: Page, run: Run, data: bytes, clients: Clients, stack: StackOutputs
) -> None:
    about = page.get(page.run(run, "/microscope"))
    assert (about["last"], about["shape"], about["classes"]) == (EPOCHS, [3, 3, 3], ["no", "yes"])
    assert about["parts"] == {"train": 18, "test": 6, "validation": 6}
    assert [layer["neurons"] for layer in about["layers"]] == [5, 4, 1]
    dataset = dataset_of(data)
    for epoch in (0, 30, 47, EPOCHS):
        lesson = Lesson(CHOSEN.model_copy(update={"epochs": max(1, epoch)}), dataset)
        if epoch:
            for _ in lesson.steps():
                pass
        params = lesson.job.first.network(lesson.training.params)
        X, y = lesson.job.samples.inputs(), lesson.job.samples.y
        seen = page.get(page.run(run, f"/epochs/{epoch}/network"))
        assert seen["recomputed"] == (epoch not in about["kept"])
        activations = oracle_forward(params, X)
        for layer, A in enumerate(activations[:-1]):
            said = seen["layers"][layer]
            assert [one["fires"] for one in said] == (A > 0).sum(axis=1).tolist()
            assert [one["dead"] for one in said] == (~(A > 0).any(axis=1)).tolist()
            np.testing.assert_allclose([one["mean"] for one in said], A.mean(axis=1), atol=1e-12)
            norms = np.linalg.norm(params[f"W{layer + 1}"], axis=1)
            np.testing.assert_allclose([one["norm"] for one in said], norms, rtol=1e-12)
        p = activations[-1][0]
        assert seen["cost"] == pytest.approx(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean(), abs=1e-10)
        assert seen["accuracy"] == pytest.approx(((p > 0.5) == y).mean())
    stored = weights(clients, stack, run)
    assert about["model_epoch"] == EPOCHS
    np.testing.assert_array_equal(params["W1"], stored["W1"])
    assert about["kept"][-1] == EPOCHS
    missing = page.ask(page.run(run, "/epochs/61/network"))
    assert (missing.status_code, missing.json()["error"]) == (
        400, f"run {run.run_id}: there is no epoch 61 (0 to 60)",
    )  # fmt: skip


def oracle_forward(params: Any, X: Any) -> list[Any]:
    """Plain lines: what the layers of CHOSEN give."""
    A = [X]
    for layer in (1, 2, 3):
        Z = params[f"W{layer}"] @ A[-1] + params[f"b{layer}"]
        A.append(np.maximum(Z, 0) if layer < 3 else 1 / (1 + np.exp(-Z)))
    return A[1:]


def test_a_picture_of_weights_has_the_very_numbers(page: Page, run: Run, clients: Clients, stack: StackOutputs) -> None:
    W = weights(clients, stack, run)["W1"]
    neuron = page.get(page.run(run, f"/epochs/{EPOCHS}/layers/1/neurons/3"))
    scale = neuron["scale"]
    assert scale >= np.abs(W).max()
    shown = png(page.ask(page.run(run, f"/epochs/{EPOCHS}/layers/1/weights.png?first=3")).content)
    np.testing.assert_array_equal(shown, np.rint(127.5 + 127.5 * W[3].reshape(3, 3, 3) / scale).astype(np.uint8))
    assert neuron["weights"] == W[3].tolist()
    assert page.get(page.run(run, "/epochs/0/layers/1/neurons/3"))["scale"] == scale, "one scale for all epochs"
    whole = png(page.ask(page.run(run, f"/epochs/{EPOCHS}/layers/1/weights.png?first=0&count=5")).content)
    assert whole.shape == (3, 15, 3)
    np.testing.assert_array_equal(whole[:, 9:12], shown)
    bars = page.get(page.run(run, f"/epochs/{EPOCHS}/layers/2/bars?count=4"))
    assert bars == {"inputs": 1, "rows": weights(clients, stack, run)["W2"].tolist()}
    assert page.ask(page.run(run, f"/epochs/{EPOCHS}/layers/2/weights.png")).status_code == 400
    assert page.ask(page.run(run, f"/epochs/{EPOCHS}/layers/1/neurons/5")).json()["error"].endswith("(0 to 4)")
    learned = page.get(page.run(run, f"/epochs/{EPOCHS}/layers/1/neurons/3"))["learned"]
    first = page.get(page.run(run, "/epochs/0/layers/1/neurons/3"))["weights"]
    np.testing.assert_allclose(learned, W[3] - first, atol=1e-15)


def test_one_neuron_adds_up_and_names_who_excites_it(page: Page, run: Run, data: bytes) -> None:
    seen = page.get(page.run(run, f"/epochs/{EPOCHS}/layers/2/neurons/1?part=test&place=2"))
    formula = seen["formula"]
    assert (formula["part"], formula["place"]) == ("test", 2)
    terms = sum(term["product"] for term in formula["terms"])
    assert formula["z"] == pytest.approx(terms + formula["rest"] + formula["bias"], abs=1e-12)
    assert formula["a"] == pytest.approx(max(0.0, formula["z"]), abs=1e-12)
    way = page.get(page.run(run, f"/epochs/{EPOCHS}/samples/test/2"))
    assert way["layers"][1][1] == pytest.approx(formula["a"], abs=1e-12)
    assert sum(seen["counts"]) == seen["samples"] == 18
    samples = Lesson(CHOSEN, dataset_of(data)).job.samples
    for label, excites in enumerate(seen["excites"]):
        assert {samples.y[place] for place, _ in excites["most"]} <= {label}
        values = [value for _, value in excites["most"]]
        assert values == sorted(values, reverse=True)
    default = page.get(page.run(run, f"/epochs/{EPOCHS}/layers/2/neurons/1"))
    assert default["formula"]["a"] == pytest.approx(default["edges"][-1], abs=1e-12), "that which excites it most"
    assert {link["layer"] for link in seen["below"]} == {1}
    assert [link["layer"] for link in seen["above"]] == [3]


def test_a_ratio_is_that_of_the_next_epoch_and_there_is_none_at_the_end(page: Page, run: Run, data: bytes) -> None:
    lessons = []
    for epochs in (20, 21):
        lesson = Lesson(CHOSEN.model_copy(update={"epochs": epochs}), dataset_of(data))
        for _ in lesson.steps():
            pass
        lessons.append(lesson.job.first.network(lesson.training.params)["W1"])
    ratios = [one["ratio"] for one in page.get(page.run(run, "/epochs/20/network"))["layers"][0]]
    wanted = np.linalg.norm(lessons[1] - lessons[0], axis=1) / np.linalg.norm(lessons[0], axis=1)
    np.testing.assert_allclose(ratios, wanted, rtol=1e-9)
    last = page.get(page.run(run, f"/epochs/{EPOCHS}/network"))["layers"]
    assert {one["ratio"] for layer in last for one in layer} == {None}


def test_what_spoke_for_an_answer_adds_up_to_its_logit(page: Page, run: Run, data: bytes) -> None:
    dataset = dataset_of(data)
    for place in range(6):
        way = page.get(page.run(run, f"/epochs/{EPOCHS}/samples/test/{place}"))
        assert way["logit"] == pytest.approx(way["slope_sum"] + way["rest"], abs=1e-12)
        probability = 1 / (1 + np.exp(-way["logit"]))
        assert way["probabilities"] == pytest.approx([1 - probability, probability], abs=1e-12)
        assert way["predicted"] == int(probability > 0.5)
        assert way["wrong"] == (way["predicted"] != dataset.test.y[place])
        np.testing.assert_array_equal(png(base64.b64decode(way["picture"])), dataset.test.stored[place])
        assert png(base64.b64decode(way["spoke_picture"])).shape == (3, 3, 3)
    shown = png(page.ask(page.run(run, "/samples/test/1.png?size=9")).content)
    np.testing.assert_array_equal(shown[::3, ::3], dataset.test.stored[1])
    assert "train 0 to 17" in page.ask(page.run(run, "/epochs/0/samples/train/18")).json()["error"]


def test_a_photo_gets_the_answer_that_predict_gives_and_what_is_none_gets_a_line(
    page: Page, run: Run, clients: Clients, stack: StackOutputs
) -> None:
    picture = io.BytesIO()
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(picture, "PNG")
    key = f"runs/{run.run_id}/input/images/0000-mine.png"
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=picture.getvalue())
    (said,) = predict_images(clients, stack.bucket, run.run_id, [f"s3://{stack.bucket}/{key}"])
    kind = {"content-type": "application/octet-stream", "x-who": "you"}

    def post(path: str, content: bytes) -> Any:
        return page.client.post(f"{path}?name=mine.png", content=content, headers=kind)

    way = post(page.run(run, f"/epochs/{EPOCHS}/photo"), picture.getvalue()).json()
    assert (way["predicted"], way["class_name"]) == (said["predicted"], said["class_name"])
    assert way["probabilities"][1] == pytest.approx(said["probability"], abs=1e-12)
    bad = post(page.run(run, f"/epochs/{EPOCHS}/photo"), b"not a photo")
    assert bad.status_code == 400
    assert bad.json()["error"].startswith("mine.png: ")
    promote(clients, stack.bucket, run.run_id)
    by_champion = post(f"/api/champion/{page.stack}/photo", picture.getvalue()).json()
    assert by_champion["run_id"] == run.run_id
    assert by_champion["way"]["probabilities"] == way["probabilities"]
    versions.promote(clients, stack, run.run_id)
    time.sleep(FRESH_SECONDS + 0.1)
    answered = page.client.post(f"/api/models/{page.stack}/ask", content=picture.getvalue(), headers=kind).json()
    number = versions.registry_of(clients, stack).held("default", run.run_id)["number"]
    assert answered["model"] == {"name": "default", "version": number, "run_id": run.run_id}
    assert answered["predictions"][0]["probabilities"] == pytest.approx(way["probabilities"], abs=1e-12)
    refused = page.client.post(f"/api/models/{page.stack}/ask", content=b"no photo", headers=kind)
    assert (refused.status_code, refused.json()["error"][:28]) == (400, "the endpoint answered 422: p")
    (model,) = [one for one in page.get(f"/api/models/{page.stack}") if one["model"] == "default"]
    standing = {one["version"]["number"]: one["status"] for one in model["versions"]}
    assert [each for each, status in standing.items() if status == "champion"] == [number]
    reigns = page.get(f"/api/champion/{page.stack}")
    assert reigns[0]["reign"]["run_id"] == run.run_id
    assert reigns[0]["reign"]["until"] is None
    assert reigns[0]["row"]["cost"] == run.cost


def test_a_table_of_three_classes_and_a_number_can_be_looked_at(page: Page, launch: Callable[..., Run]) -> None:
    data = table(classes=3)
    content = saved(data.train.stored, data.train.y, data.test.stored, data.test.y, classes=data.classes)
    run = launch("table", TABLE, content)
    about = page.get(page.run(run, "/microscope"))
    assert about["shape"] == []
    params = trained(TABLE, data).params
    x = data.test.stored[0]
    z = params["W2"] @ np.tanh(params["W1"] @ x[:, None] + params["b1"]) + params["b2"]
    p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
    way = page.get(page.run(run, "/epochs/12/samples/test/0"))
    np.testing.assert_allclose(way["probabilities"], p[:, 0], atol=1e-9)
    assert way["picture"] == ""
    assert page.ask(page.run(run, "/samples/test/0.png")).status_code == 400
    numbers = table(samples=24)
    content = saved(numbers.train.stored, numbers.train.y, numbers.test.stored, numbers.test.y)
    chosen = Parameters.load(oracle.small_network((4, 1), ("relu", "identity"), epochs=8, learning_rate=0.01))
    run = launch("number", chosen, content)
    seen = page.get(page.run(run, "/epochs/8/network"))
    assert (seen["accuracy"], seen["mistakes"]) == (None, [])
    way = page.get(page.run(run, "/epochs/8/samples/test/1"))
    assert way["value"] == pytest.approx(way["logit"])
    assert way["probabilities"] == []


def test_neurons_that_were_invoked_are_told_with_their_logs(
    page: Page, launch: Callable[..., Run], data: bytes
) -> None:
    chosen = Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid"), epochs=3, granularity="neuron"))
    run = launch("neurons", chosen, data)
    seen = page.get(page.run(run, "/epochs/2/invocations"))
    assert seen["recorded"]
    rows = [dict(zip(seen["columns"], row, strict=True)) for row in seen["rows"]]
    assert len(rows) == seen["summary"]["invocations"] == 2 * (3 + 1)
    assert {(row["layer"], row["first"]) for row in rows} == {(1, 0), (1, 1), (1, 2), (2, 0)}
    assert all(0 <= row["sent"] < row["answered"] <= seen["summary"]["seconds"] for row in rows)
    path = [(wave["layer"], wave["direction"]) for wave in seen["path"]]
    assert path == [(1, "forward"), (2, "forward"), (2, "backward"), (1, "backward")]
    lines = page.get(page.run(run, f"/epochs/2/invocations/log?request_id={rows[0]['request_id']}"))["lines"]
    assert any(f"{run.run_id}: layer 1" in line["text"] for line in lines)
    assert page.ask(page.run(run, "/epochs/2/invocations/log?request_id=x")).status_code == 400
    assert not page.get(page.run(run, "/epochs/0/invocations"))["recorded"]


def test_a_run_that_kept_nothing_has_its_model(page: Page, launch: Callable[..., Run], data: bytes) -> None:
    bare = launch("kept nothing", CHOSEN.model_copy(update={"keep_epochs": False}), data)
    about = page.get(page.run(bare, "/microscope"))
    assert (about["kept"], about["last"], about["model_epoch"]) == ([EPOCHS], EPOCHS, EPOCHS)
    seen = page.get(page.run(bare, f"/epochs/{EPOCHS}/layers/1/neurons/2"))
    assert (seen["learned"], seen["learned_scale"]) == ([], 0.0), "nobody knows its first weights"
    refused = page.ask(page.run(bare, f"/epochs/{EPOCHS}/layers/1/learned.png"))
    assert (refused.status_code, "its first weights were not kept" in refused.text) == (400, True)
    other = page.ask(page.run(bare, "/epochs/3/network"))
    assert "epoch 3 was not kept" in other.json()["error"]
    never = launch("never began", CHOSEN.model_copy(update={"epochs": ENDLESS, "max_seconds": 1e-6}), data, wait=False)
    wait_until(lambda: page.get(page.run(never, "/live"))["row"]["state"] == "FAILED", "its budget was not spent")
    live = page.get(page.run(never, "/live"))
    assert "max_seconds" in live["row"]["reason"]


def test_runs_are_compared_with_their_parameters_and_curves(
    page: Page, run: Run, launch: Callable[..., Run], data: bytes, clients: Clients, stack: StackOutputs
) -> None:
    other = launch("other seed", CHOSEN.model_copy(update={"seed": 7, "restore_best_weights": True}), data)
    found = page.get(f"/api/compare?stack={page.stack}&run={run.run_id}&run={other.run_id}")
    assert [one["parameters"]["seed"] for one in found] == [str(CHOSEN.seed), "7"]
    assert [one["curve"]["cost"]["mean"][-1] for one in found] == [run.cost, other.cost]
    assert page.ask(f"/api/compare?stack={page.stack}" + f"&run={run.run_id}" * 21).status_code == 422
    best = page.get(page.run(other, "/microscope"))["model_epoch"]
    assert best == (other.best_epoch or 0) + 1
    seen = page.get(page.run(other, f"/epochs/{best}/layers/1/neurons/0"))
    assert seen["weights"] == weights(clients, stack, other)["W1"][0].tolist(), "the model is that of the best epoch"


def test_only_who_may_see_a_dag_sees_its_runs_and_only_who_may_edit_stops_them(
    page: Page, launch: Callable[..., Run], data: bytes, clients: Clients, stack: StackOutputs
) -> None:
    task = Task("my_dag", "manual__1", "train", 3)
    endless = CHOSEN.model_copy(update={"epochs": ENDLESS})
    mine = launch("of a dag", endless, data, wait=False, task=task)
    assert Ledger(clients.dynamodb, stack.table).get(mine.run_id).task == task
    page.people |= {
        "viewer": Someone(dags={"my_dag"}), "editor": Someone(dags={"my_dag"}, edits={"my_dag"}),
        "stranger": Someone(dags={"other"}), "guest": Someone(sees_models=False),
    }  # fmt: skip
    found = [{"stack": page.stack, "run_id": mine.run_id}]
    sought = "/api/find?dag_id=my_dag&dag_run_id=manual__1&task_id=train&map_index=3"
    wait_until(lambda: page.get(sought, "viewer") == found, "the list of runs is a second old, not more")
    assert page.get("/api/find?dag_id=my_dag&dag_run_id=manual__1&task_id=report", "viewer") == found
    assert page.get("/api/find?dag_id=my_dag&task_id=train&map_index=4", "viewer") == found
    assert page.get("/api/find?dag_id=my_dag", "stranger") == []
    listed = {who: page.get(f"/api/runs?stack={page.stack}", who)["runs"] for who in ("viewer", "stranger", "guest")}
    assert {who: mine.run_id in [row["run_id"] for row in rows] for who, rows in listed.items()} == {
        "viewer": True, "stranger": False, "guest": False,
    }  # fmt: skip
    assert listed["guest"] == []
    assert page.ask(page.run(mine, "/live"), "stranger").status_code == 403
    assert page.ask(page.run(mine, "/live"), "nobody").status_code == 401
    for path in (f"/api/champion/{page.stack}", f"/api/models/{page.stack}"):
        assert page.ask(path, "guest").status_code == 403
    wait_until(lambda: page.get(page.run(mine, "/live"), "viewer")["row"]["epoch"] > 100, "it does not train")
    for what, body in (("stop", {}), ("notes", {"note": "mine"})):
        refused = page.ask(page.run(mine, f"/{what}"), "viewer", "POST", json=body)
        assert (refused.status_code, refused.json()["error"]) == (
            403, "you may look at the runs of DAG my_dag, but not change them",
        )  # fmt: skip
    noted = page.ask(page.run(mine, "/notes"), "editor", "POST", json={"tags": ["a", " a ", "b"], "note": " good "})
    assert (noted.json()["tags"], noted.json()["note"]) == (["a", "b"], "good")
    assert page.get(page.run(mine, "/live"))["row"]["tags"] == ["a", "b"], "while it goes on"
    assert page.ask(page.run(mine, "/notes"), "editor", "POST", json={"note": "x" * 501}).status_code == 400
    assert page.ask(page.run(mine, "/notes"), "editor", "POST", json={"nots": "x"}).status_code == 422
    assert page.ask(page.run(mine, "/stop"), "editor", "POST", json={}).json()["state"] in ("RUNNING", "CANCELLED")
    wait_until(lambda: page.get(page.run(mine, "/live"))["row"]["state"] == "CANCELLED", "it does not stop")
    ended = Ledger(clients.dynamodb, stack.table).get(mine.run_id)
    assert (ended.state, ended.tags, ended.note) == (State.CANCELLED, ("a", "b"), "good")
    wait_for_last_word(clients, stack, mine.run_id)  # its last message shall not come to another test
    assert page.ask(page.run(mine, "/notes"), "editor", "POST", json={"archived": True}).json()["archived"] is True


def test_a_run_that_goes_on_is_looked_at_once_a_second_however_many_look(
    page: Page, launch: Callable[..., Run], data: bytes, clients: Clients, stack: StackOutputs
) -> None:
    mine = launch("watched", CHOSEN.model_copy(update={"epochs": ENDLESS}), data, wait=False)
    wait_until(lambda: page.get(page.run(mine, "/live"))["row"]["epoch"] > 100, "it does not train")
    asked: list[str] = []
    clients.dynamodb.meta.events.register("before-call.dynamodb.GetItem", lambda **_: asked.append("GetItem"))
    with ThreadPoolExecutor(20) as viewers:
        seen = list(viewers.map(lambda _: page.get(page.run(mine, "/live")), range(100)))
    epochs = [one["row"]["epoch"] for one in seen]
    seconds = max(one["at"] for one in seen) - min(one["at"] for one in seen)
    assert len(asked) <= seconds + 2
    assert all(one["curve"]["epochs"][-1] == one["row"]["epoch"] for one in seen)
    later = page.get(page.run(mine, "/live"))
    assert later["row"]["epoch"] >= max(epochs)
    wait_until(lambda: page.get(page.run(mine, "/live"))["epochs_per_second"], "no speed")
    live = page.get(page.run(mine, "/live"))
    assert live["seconds_left"] == pytest.approx((ENDLESS - live["row"]["epoch"]) / live["epochs_per_second"])
    kept = page.get(page.run(mine, "/microscope"))["kept"]
    assert page.get(page.run(mine, f"/epochs/{kept[-1]}/network"))["epoch"] == kept[-1], "while it goes on"
    runs.stop(clients, stack, mine.run_id)
    wait_for_last_word(clients, stack, mine.run_id)


def test_snn_look_serves_who_has_its_address_and_leaves_nothing_behind(stack: StackOutputs, run: Run) -> None:
    command = [
        str(Path(sys.executable).with_name("snn")),
        "look",
        run.run_id,
        "--no-browser",
        "--stack",
        stack.stack_name,
    ]
    served = subprocess.Popen([*command, "--port", "0"], stderr=subprocess.PIPE, text=True)
    assert served.stderr is not None
    try:
        said = iter(served.stderr.readline, "")
        address = next(word for line in said for word in line.split() if "token=" in word).rstrip(";")
        assert address.endswith(f"#/run/{stack.stack_name}/{run.run_id}")
        origin, port = address.partition("/?")[0], address.partition("/?")[0].rpartition(":")[2]
        assert httpx.get(f"{origin}/").status_code == 401
        with httpx.Client(base_url=origin, follow_redirects=True) as owner:
            assert "<title>Neural networks" in owner.get(f"/?{address.partition('?')[2].partition('#')[0]}").text
            assert owner.get("/api/me").json()["stacks"] == [stack.stack_name]
            path = f"/api/runs/{stack.stack_name}/{run.run_id}/epochs/{EPOCHS}/network"
            assert owner.get(path, timeout=60).json()["epoch"] == EPOCHS
            assert owner.get(path, headers={"host": f"evil.example:{port}"}).status_code == 403
        taken = subprocess.run([*command, "--port", port], capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert f"port: {port} cannot be used" in taken.stderr
        children = [
            pid for tasks in Path(f"/proc/{served.pid}/task").glob("*/children") for pid in tasks.read_text().split()
        ]
        assert len(children) == 1, "the worker"
        served.send_signal(signal.SIGINT)
        served.wait(15)
        wait_until(lambda: not Path(f"/proc/{children[0]}").exists(), "the worker is still there")
    finally:
        served.kill()
        served.wait()
    unknown = subprocess.run([command[0], "look", "nobody", *command[3:]], capture_output=True, text=True, check=False)
    assert "has no run 'nobody'" in unknown.stderr
