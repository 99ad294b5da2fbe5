"""`snn train`, `status`, `logs`, `evaluate`, `predict`, `report`, `cancel`, `resume`: the program itself, on a stack.

What is about pipes, terminals and signals runs the installed program; the rest calls the same entry point in here, as
every start of a Python program with all that it imports takes a second or more.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="snn-airflow-")  # Airflow makes one as soon as it is imported

import h5py
import numpy as np
import oracle
import pexpect
import pytest
from small import first_checkpoint
from typer.testing import CliRunner

from snn_cli import datasets, train
from snn_cli.main import app
from snn_cli.train import DEFAULT_PARAMETERS
from snn_client.runs import listing, runs
from snn_client.runs.listing import newest_runs
from snn_client.runs.progress import summary
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_operators.results import SnnEvaluateOperator, SnnPredictOperator, SnnReportOperator
from snn_operators.sensor import SnnRunSensor

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
SNN = str(Path(sys.executable).with_name("snn"))
AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
LIMIT = 120
# itsacat's own file.
ITSACAT = (
    '{"epochs": 3000, "layers": 4, "activations": {"layer1": "relu", "layer2": "relu", "layer3": "relu", '
    '"layer4": "sigmoid"}, "neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1}, "learning_rate": 0.0075}'
)
ENDLESS = ["--epochs", "10000000", "--learning-rate", "1e-9"]


class Done(NamedTuple):
    """What a command left: its output, and how it ended."""

    stdout: str
    stderr: str
    code: int


class Snn:
    """The command `snn` as a person runs it, in a folder of its own."""

    def __init__(self, folder: Path, stack: StackOutputs) -> None:
        self.folder = folder
        self._environment = {**os.environ, "SNN_STACK_NAME": stack.stack_name, "COLUMNS": "100"}

    def __call__(self, *arguments: str | Path, code: int = 0) -> Done:
        """Run a command in this process."""
        with contextlib.chdir(self.folder):
            ended = CliRunner().invoke(app, [*map(str, arguments)], env=self._environment)
        return self._checked(Done(ended.stdout, ended.stderr, ended.exit_code), arguments, code)

    def json(self, *arguments: str | Path) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def refused(self, *arguments: str | Path) -> str:
        """Return the one line that an error is, without its heading; the line before says where it was."""
        done = self(*arguments, code=1)
        assert done.stdout == ""
        lines = done.stderr.splitlines()
        assert lines[0].startswith("stack ")
        assert lines[-1].startswith("error: "), done.stderr
        return lines[-1].removeprefix("error: ")

    def program(self, *arguments: str | Path, code: int = 0) -> Done:
        """Run the installed program, its output in pipes."""
        return self.ended(self.started(*arguments), code)

    def started(self, *arguments: str | Path) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [SNN, *map(str, arguments)], cwd=self.folder, env=self._environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ended(self, program: subprocess.Popen[str], code: int = 0) -> Done:
        out, err = program.communicate(timeout=LIMIT)
        return self._checked(Done(out, err, program.returncode), program.args, code)

    def terminal(self, *arguments: str) -> pexpect.spawn[str]:
        """Start the installed program in a terminal."""
        environment: Any = {**self._environment, "TERM": "xterm-256color"}
        del environment["COLUMNS"]
        return pexpect.spawn(
            SNN, list(arguments), cwd=str(self.folder), env=environment, dimensions=(40, 110), timeout=LIMIT,
            encoding="utf-8", codec_errors="replace",  # a terminal's ^C may cut a character in two
        )  # fmt: skip

    def _checked(self, done: Done, arguments: Any, code: int) -> Done:
        assert done.code == code, f"{arguments}: {done.code}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def snn(stack: StackOutputs, tmp_path_factory: pytest.TempPathFactory) -> Snn:
    return Snn(tmp_path_factory.mktemp("cli"), stack)


@pytest.fixture(scope="module")
def ledger(clients: Clients, stack: StackOutputs) -> Ledger:
    return Ledger(clients.dynamodb, stack.table)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set to train on: itsacat's cats if they are here, else the faces."""
    cats = SHARED / "datasets" / "datasets.h5"
    if cats.exists():
        return cats
    faces = tmp_path_factory.mktemp("data") / "faces.h5"
    datasets.build_faces(faces)
    return faces


@pytest.fixture(scope="module")
def trained(snn: Snn, photos: Path) -> Done:
    """A run trained by the program in a pipe, with itsacat's file of parameters."""
    (snn.folder / "parameters.json").write_text(ITSACAT)
    given = ["--dataset", photos, "--parameters", "parameters.json", "--epochs", "60", "--name", "cli-trained"]
    return snn.program("train", *given, "--promote", "--json")


def stop(clients: Clients, stack: StackOutputs, ledger: Ledger, prefix: str) -> None:
    """Stop what a test left going."""
    for number in (1, 2, 3):
        run = ledger.find(places.run_of_try(prefix, number))
        if run and not run.state.is_terminal:
            runs.stop(clients, stack, run.run_id)


@pytest.fixture
def name(request: pytest.FixtureRequest, clients: Clients, stack: StackOutputs, ledger: Ledger) -> Iterator[str]:
    """A name for a run; whatever goes on under it when the test ends is stopped."""
    run_id = "cli-" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:8]
    yield run_id
    stop(clients, stack, ledger, run_id)


def until_epoch(ledger: Ledger, run_id: str, epoch: int = 1) -> Run:
    limit = time.monotonic() + LIMIT
    while (run := ledger.find(run_id)) is None or run.epoch < epoch:
        assert time.monotonic() < limit, run
        time.sleep(0.1)
    return run


def in_bucket(clients: Clients, stack: StackOutputs) -> set[tuple[str, str]]:
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=stack.bucket)
    return {(item["Key"], item["VersionId"]) for page in pages for item in page.get("Versions", [])}


def test_a_training_in_a_pipe_is_plain_lines_and_its_json_is_what_the_sensor_returns(
    trained: Done, stack: StackOutputs, ledger: Ledger
) -> None:
    told, run = json.loads(trained.stdout), ledger.get("cli-trained")
    sensed = SnnRunSensor(
        task_id="sense", stack=stack.to_dict(), run_id="cli-trained", uploaded_after=None, **AWS
    ).execute({})
    assert {name: told[name] for name in sensed} == sensed
    assert (told["state"], told["epochs_run"], told["final_cost"]) == ("COMPLETED", 60, run.cost)
    assert told["usd"] == cost_of(run, stack)["usd"] > 0
    assert told["artifacts"]["params"] == f"s3://{stack.bucket}/runs/cli-trained/params.h5"
    lines = trained.stderr.splitlines()
    assert "\x1b" not in trained.stdout + trained.stderr
    assert re.fullmatch(r"stack snn-test at http://127\.0\.0\.1:\d+", lines[0])
    # What is found in the data comes first: itsacat's have one photo in both parts.
    told_of = [line for line in lines[1:] if line.startswith("warning: ")]
    assert lines[1 : 1 + len(told_of)] == told_of
    estimate, first = lines[1 + len(told_of) :][:2]
    assert re.match(r"estimate: ≤ 0\.0\d+ USD for 60 epochs, batch granularity: 1 TrainerLambda", estimate)
    assert first.startswith("epoch 1 of 60, cost 0.")
    assert lines[-1].startswith(f"epoch 60 of 60, cost {run.cost:.6f}, ")


def test_itsacats_own_way_of_reading_results_works(
    trained: Done,
    snn: Snn,
    photos: Path,
    clients: Clients,
    stack: StackOutputs,
    ledger: Ledger,
) -> None:
    """As its notebook Analysis does: costs in order, a forward pass with NumPy, accuracy and confusion matrix."""

    def read(key: str) -> bytes:
        return clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()

    results = json.loads(read("training_results/results.json"))
    assert list(results) == ["Start", *(f"epoch{i}" for i in range(60)), "End"]
    began, ended = (datetime.strptime(results[name], "%Y-%m-%d %H:%M:%S.%f") for name in ("Start", "End"))
    assert 0 < (ended - began).total_seconds() < LIMIT
    costs = [results[f"epoch{i}"]["cost"] for i in range(60)]
    assert list(enumerate(costs)) == [row[:2] for row in ledger.progress("cli-trained")[1]]
    with h5py.File(photos) as data, h5py.File(io.BytesIO(read("predict_input/params.h5"))) as params:
        X, Y = (np.array(data[f"train_set_{name}"]) for name in "xy")
        A, labels = (np.array(data[f"test_set_{name}"]) for name in "xy")
        layers = [(np.array(params[f"W{i}"]), np.array(params[f"b{i}"])) for i in (1, 2, 3, 4)]
        assert set(params) == {f"{kind}{i}" for kind in "Wb" for i in (1, 2, 3, 4)}
    chosen = Parameters.load(ITSACAT, epochs=60)
    wanted, expected = oracle.train(chosen, X, Y.ravel())
    assert costs == pytest.approx(expected, abs=1e-9)
    for number, (W, b) in enumerate(layers, start=1):
        assert np.abs(W - wanted[f"W{number}"]).max() < 1e-9
        assert np.abs(b - wanted[f"b{number}"]).max() < 1e-9
    A = A.reshape(len(A), -1).T / 255
    for number, (W, b) in enumerate(layers, start=1):
        Z = W @ A + b
        A = 1 / (1 + np.exp(-Z)) if number == 4 else np.maximum(0, Z)
    predicted = (A > 0.5).astype(int).ravel()
    judged = snn.json("evaluate", "cli-trained")
    assert judged["accuracy"] == np.mean(predicted == labels)
    pairs = list(zip(labels.tolist(), predicted.tolist()))
    counted = {"tn": (0, 0), "fp": (0, 1), "fn": (1, 0), "tp": (1, 1)}
    assert judged["confusion_matrix"] == {count: pairs.count(pair) for count, pair in counted.items()}
    assert [one["index"] for one in judged["mislabelled"]] == np.flatnonzero(predicted != labels).tolist()


def test_judging_agrees_with_the_operators(
    trained: Done, snn: Snn, stack: StackOutputs, clients: Clients, tmp_path: Path
) -> None:
    pictures = snn.folder / "pictures"
    files = [str(path) for path in datasets.sample_images(pictures)]
    given: Any = {"stack": stack.to_dict(), "run_id": "cli-trained", **AWS}
    test_set = SnnEvaluateOperator(task_id="evaluate", **given).execute({})
    assert snn.json("evaluate", "--promoted") == {"run_id": "cli-trained", **test_set}
    table = snn("evaluate", "cli-trained").stdout
    interval = "{low:.4f} to {high:.4f}".format(**test_set["intervals"]["accuracy"])
    assert re.search(rf"^accuracy +{test_set['accuracy']:.4f} +{interval} *$", table, re.M)
    tn, fp, fn, tp = (test_set["confusion_matrix"][count] for count in ("tn", "fp", "fn", "tp"))
    assert re.search(rf"^is 0 +{tn} +{fp} *\nis 1 +{fn} +{tp} *$", table, re.M)
    assert len(re.findall(r"^\d+ +[01] +[01] +0\.\d{4} *$", table, re.M)) == len(test_set["mislabelled"])

    clients.s3.upload_file(files[2], stack.bucket, "cli/cat.png")
    address = f"s3://{stack.bucket}/cli/cat.png"
    wanted = SnnPredictOperator(task_id="predict", images=[*sorted(files), address], **given).execute({})
    predicted = snn.json("predict", pictures, address, "--run", "cli-trained")
    assert predicted == wanted
    assert predicted[-1]["probability"] == predicted[sorted(files).index(files[2])]["probability"]
    shown = snn.program("predict", files[0], "--run", "cli-trained").stdout.splitlines()
    one = next(each for each in wanted if each["uri"] == files[0])
    assert shown[1].split() == [files[0], one["class_name"], f"{one['probability']:.4f}"]

    made = snn.json("report", "cli-trained", files[0], "--out", tmp_path / "reports")
    operator = SnnReportOperator(task_id="report", test_set=test_set, new_images=[one], images=files[:1], **given)
    assert made == operator.execute({})
    assert made == json.loads((tmp_path / "reports" / "report.json").read_text())
    key = places.report_html("cli-trained")
    page = clients.s3.get_object(Bucket=stack.bucket, Key=key)["Body"].read()
    assert (tmp_path / "reports" / "report.html").read_bytes() == page
    assert b"cli-trained" in page


def test_status_is_what_the_ledger_says_newest_first(
    trained: Done, snn: Snn, stack: StackOutputs, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (4, 2, 5, 1, 3):
        ledger.create(Run(f"cli-day-{day}", State.FAILED, created_at=1.6e9 + day * 86_400, reason="long ago"))
    monkeypatch.setattr(listing, "PAGE", 2)
    listed = snn.json("status", "--last", "1000")
    times = [run["launched"] for run in listed if run["launched"] > "2020"]  # other tests have times of their own
    assert times == sorted(times, reverse=True)
    assert [(run["run_id"], run["launched"]) for run in listed if run["run_id"].startswith("cli-day-")] == [
        (f"cli-day-{day}", f"2020-09-{13 + day} 12:26:40") for day in (5, 4, 3, 2, 1)
    ]
    everything = ledger._dynamodb.get_paginator("scan").paginate(
        TableName=stack.table, FilterExpression="attribute_exists(created_at)", ProjectionExpression="run_id"
    )
    assert {run["run_id"] for run in listed} == {item["run_id"]["S"] for page in everything for item in page["Items"]}
    ours = next(run for run in listed if run["run_id"] == "cli-trained")
    run = ledger.get("cli-trained")
    assert ours == snn.json("status", "cli-trained")
    assert {name: ours[name] for name in summary(run)} == summary(run)
    assert ours["usd"] == cost_of(run, stack)["usd"]
    table = snn("status", "--last", "1000").stdout
    line = next(line for line in table.splitlines() if line.split()[0] == "cli-trained")
    assert line.split()[1:6] == ["COMPLETED", "60", "of", "60", f"{run.cost:.6f}"]
    assert len(snn("status", "--last", "1").stdout.splitlines()) == 2


def test_a_terminal_shows_a_bar_and_the_curve_and_then_what_came_of_it(snn: Snn, ledger: Ledger, name: str) -> None:
    # The default data and network, and enough epochs to be looked at.
    person = snn.terminal("train", "--epochs", "20000", "--name", name, "--learning-rate", "0.0005")
    person.expect("estimate: ≤ ")
    person.expect("━")
    person.expect(r"epoch [\d,]+ of 20,000")
    person.expect(r"epochs/s, about .* left, 0\.0\d+ USD so far")
    person.expect(r"│[\u2800-\u28ff]*[\u2801-\u28ff]")  # the curve, and the epochs below it
    person.expect(r"epoch 1 +[\d,]+")
    person.expect("epoch 20,000 of 20,000")
    person.expect("COMPLETED")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 0
    run = ledger.get(name)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", person.before)
    assert f"{run.cost:.6f}" in shown
    assert f"runs/{name}/params.h5" in shown


def test_ctrl_c_leaves_the_run_going_and_says_how_to_go_on_with_it(
    snn: Snn, clients: Clients, stack: StackOutputs, ledger: Ledger, name: str
) -> None:
    person = snn.terminal("train", *ENDLESS, "--name", name)
    person.expect(r"epoch [1-9][\d,]* of 10,000,000")
    person.sendintr()
    person.expect("interrupted.")
    person.expect(f"Run {name} continues in Lambda.")
    for command in (f"status {name} --follow", f"cancel {name}", f"resume {name}"):
        person.expect(f"snn {command} --stack {stack.stack_name}")
    person.expect(pexpect.EOF)
    person.close()
    assert person.exitstatus == 130
    seen = ledger.get(name)
    assert seen.state is State.RUNNING
    until_epoch(ledger, name, seen.epoch + 1)
    assert f"run {name} is RUNNING: restarting its trainer" in snn("resume", name, "--detach").stderr
    assert (ledger.get(name).fence, ledger.find(f"{name}-t2")) == (1, None)

    looking_on, reading = snn.started("status", name, "-f"), snn.started("logs", name, "-f", "--json")
    assert looking_on.stderr
    assert looking_on.stderr.readline().startswith("stack snn-test ")
    assert looking_on.stderr.readline().startswith("epoch 1 of 10000000, cost ")
    assert reading.stdout
    assert json.loads(reading.stdout.readline())["text"] == "PENDING"
    cancelled = snn.json("cancel", name)
    stopped = ledger.get(name)
    assert cancelled["state"] == stopped.state == "CANCELLED"
    assert 0 < cancelled["seconds_to_cancel"] < 30
    last = snn.ended(looking_on, code=4).stderr.splitlines()[-1]
    assert last == f"error: run {name} was cancelled after {stopped.epoch} epochs"
    last = snn.ended(reading).stdout.splitlines()[-1]
    assert json.loads(last)["text"] == f"CANCELLED after {stopped.epoch} epochs"
    again = snn("cancel", name).stdout
    assert again.startswith(f"run {name} was already CANCELLED")

    epochs = stopped.epoch + 500
    resumed = snn.json("resume", name, "--epochs", str(epochs))
    assert (resumed["run_id"], resumed["resumed_from"], resumed["epochs_run"]) == (f"{name}-t2", name, epochs)
    before, after = ({row.epoch: row.cost for row in ledger.progress(run_id)[1]} for run_id in (name, f"{name}-t2"))
    assert before.items() <= after.items()
    assert snn.refused("cancel", f"{name}-t2") == f"run {name}-t2 is COMPLETED: there is nothing to cancel"
    assert "is COMPLETED (resume a FAILED, CANCELLED or paused run)" in snn.refused("resume", f"{name}-t2")
    snn("resume", name, "--detach", "--epochs", str(epochs))
    assert ledger.get(f"{name}-t3").resumed_from == name


def test_ctrl_c_in_a_pipe_too(snn: Snn, ledger: Ledger, name: str) -> None:
    training = snn.started("train", *ENDLESS, "--name", name)
    assert training.stderr
    while not (line := training.stderr.readline()).startswith("epoch "):  # which it tells once it follows
        assert line
    training.send_signal(signal.SIGINT)
    done = snn.ended(training, code=130)
    assert done.stdout == ""
    assert f"Run {name} continues in Lambda." in done.stderr
    reading = snn.started("logs", name, "--follow")
    assert reading.stdout
    assert reading.stdout.readline().endswith("[LaunchLambda] PENDING\n")
    reading.send_signal(signal.SIGINT)
    assert f"Continue with: snn logs {name} --follow" in snn.ended(reading, code=130).stderr
    assert ledger.get(name).state is State.RUNNING


@pytest.mark.parametrize(
    ("step", "left"),
    [
        ("stage", "Nothing was started. Features of photos that were computed are kept."),
        ("launch", "may have started; check with: "),
    ],
)
def test_ctrl_c_before_there_is_a_run_says_what_is_left(
    snn: Snn, ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch, step: str, left: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train if step == "stage" else runs, step, interrupted)
    assert left in snn("train", "--name", name, "--epochs", "1", code=130).stderr
    assert ledger.find(name) is None


def test_a_run_that_does_not_stop_is_told_of(
    snn: Snn, ledger: Ledger, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As it stands when its trainer was killed in this moment.
    ledger.create(Run(name, State.RUNNING, owner="somebody", created_at=time.time(), started_at=time.time()))
    monkeypatch.setattr(runs, "STOP_SECONDS", 0.0)
    assert snn.refused("cancel", name) == f"run {name} was asked to stop but did not within 0 s"
    assert ledger.abandon(name, "", patience=0.1).state is State.CANCELLED


def test_without_a_name_one_is_made_and_the_newest_run_is_followed(snn: Snn, ledger: Ledger) -> None:
    started = snn.json("train", "--epochs", "3", "--seed", "7", "--detach")
    assert re.fullmatch(r"faces-\d{4}-\d{6}-[0-9a-f]{4}", started["run_id"])
    assert started["epochs_configured"] == 3
    followed = snn("status", "--follow", "--json")
    assert f"run {started['run_id']}, the newest" in followed.stderr
    assert json.loads(followed.stdout)["state"] == "COMPLETED"
    run = ledger.get(started["run_id"])
    assert run.parameters == Parameters.load(DEFAULT_PARAMETERS, epochs=3, seed=7)
    assert (run.features, run.samples) == (25 * 25 * 3, 160)
    assert f"run {run.run_id}, the newest completed run" in snn("evaluate").stderr


def test_a_table_without_the_index_asks_for_a_deployment(clients: Clients, emulator: Any) -> None:
    clients.dynamodb.create_table(
        TableName="cli-old",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in ("run_id", "item")],
        KeySchema=[{"AttributeName": "run_id", "KeyType": "HASH"}, {"AttributeName": "item", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        with pytest.raises(CloudError, match="the ledger cli-old cannot list its runs yet: deploy the stack again"):
            next(newest_runs(clients.dynamodb, "cli-old"), None)
    finally:
        clients.dynamodb.delete_table(TableName="cli-old")


def test_a_failed_run_is_its_reason_the_last_lines_of_its_functions_and_exit_code_3(
    snn: Snn, clients: Clients, stack: StackOutputs, ledger: Ledger, data: bytes, name: str
) -> None:
    # Recorded past all validation: its first layer reads one pixel more than photos have.
    chosen = Parameters.load(oracle.small_network((5, 4, 1), ("relu", "relu", "sigmoid")))
    key = places.input_dataset(name, "0" * 64)
    clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=data)
    broken = first_checkpoint(chosen, 28)
    put = clients.s3.put_object(Bucket=stack.bucket, Key=places.checkpoint(name), Body=broken)
    version = put["VersionId"]
    ledger.create(Run(name, parameters=chosen, dataset=key, checkpoint_version=version, created_at=time.time()))
    runs.launch(clients, stack, name, key, chosen)
    told = snn.program("status", name, "--follow", code=3).stderr
    run = ledger.get(name)
    reason = f"run {name} failed after 0 epochs: {run.reason}"
    lines = told.splitlines()
    heading = lines.index(f"error: {reason}")
    assert lines[heading + 1] == "The last lines of its Lambda functions:"
    assert "  [TrainerLambda] Traceback (most recent call last):" in lines
    assert lines[-1].startswith("  [TrainerLambda] REPORT RequestId: ")
    assert snn.json("status", name)["reason"] == run.reason
    said = snn("logs", name).stdout
    assert said.count("Traceback (most recent call last):") == 1
    assert "REPORT RequestId: " in said
    assert snn.refused("evaluate", name) == f"run {name} is FAILED: only a completed run has a model"


def test_a_run_that_reaches_its_budget_is_warned_of_and_goes_on_with_a_larger_one(
    snn: Snn, ledger: Ledger, name: str
) -> None:
    ended = snn("train", *ENDLESS, "--max-usd", "1000", "--max-seconds", "1.5", "--name", name, code=3).stderr
    run = ledger.get(name)
    assert run.parameters is not None
    assert (run.parameters.max_usd, run.parameters.max_seconds, run.stopped_by) == (1000, 1.5, "budget")
    lines = ended.splitlines()
    (at,) = [number for number, line in enumerate(lines) if line.startswith("estimate: ")]
    assert (
        lines[at + 1] == "warning: the estimate is above max_seconds, 1.5 s: the run may stop there, and can be resumed"
    )
    assert f"error: run {name} failed after {run.epoch} epochs: {run.reason}" in lines
    assert "Traceback" not in ended
    shown = snn.json("status", name)
    assert (shown["state"], shown["stopped_by"], shown["reason"]) == ("FAILED", "budget", run.reason)
    more = ["--epochs", f"{run.epoch + 5}", "--max-usd", "0.5", "--max-seconds", "60"]
    resumed = json.loads(snn("resume", name, *more, "--json").stdout)
    assert (resumed["state"], resumed["epochs_run"], resumed["resumed_from"]) == ("COMPLETED", run.epoch + 5, name)
    chosen = ledger.get(f"{name}-t2").parameters
    assert chosen is not None
    assert (chosen.max_usd, chosen.max_seconds) == (0.5, 60)


def test_a_mistake_is_one_line_and_leaves_nothing(
    snn: Snn, trained: Done, clients: Clients, stack: StackOutputs, ledger: Ledger
) -> None:
    before = in_bucket(clients, stack)
    (snn.folder / "bad.json").write_text(ITSACAT.replace("0.0075", "-1"))
    (snn.folder / "notes.txt").write_text("no photo")
    wide = json.loads(ITSACAT)
    wide["neurons"]["layer1"] = 1_000_000
    (snn.folder / "wide.json").write_text(json.dumps(wide))
    refused = {
        ("train", "--parameters", "bad.json"): "bad.json: learning_rate: Input should be greater than 0",
        ("train", "--parameters", "nowhere.json"): "nowhere.json: no such file or directory",
        ("train", "--dataset", "bad.json"): "bad.json: ",
        ("train", "--dataset", "nowhere.h5"): "nowhere.h5: no such file or directory",
        ("train", "--batch-size", "0"): "parameters: batch_size: ",
        ("train", "--workers", "2"): "parameters: workers: share mini-batches",
        ("train", "--max-usd", "0"): "parameters: max_usd: Input should be greater than 0",
        ("train", "--max-seconds", "nan"): "parameters: max_seconds: ",
        ("train", "--name", "No Name"): "run_id: 'No Name' is not a run id",
        ("train", "--name", "cli-trained"): "name: there is already a run cli-trained (choose another, or follow it: ",
        ("train", "--parameters", "wide.json", "--name", "cli-wide"): "",  # LaunchLambda's own refusal
        ("train", "--resume", "nobody"): f"the ledger {stack.table} has no run 'nobody'",
        ("status", "nobody"): f"the ledger {stack.table} has no run 'nobody'",
        ("predict", "notes.txt", "--run", "cli-trained"): "notes.txt: not a picture",
        ("predict", "nowhere.png", "--run", "cli-trained"): "nowhere.png: no such file or directory",
    }
    for arguments, line in refused.items():
        assert snn.refused(*arguments).startswith(line), arguments
    assert in_bucket(clients, stack) == before
    assert ledger.find("cli-wide") is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict"],
        ["train", "--granularity", "atom"],
        ["cancel"],
        ["trains"],
        ["evaluate", "cli-trained", "--promoted"],
    ],
)
def test_what_is_no_command_ends_with_2(snn: Snn, arguments: list[str]) -> None:
    snn(*arguments, code=2)


def test_the_program_itself_says_no_in_one_line(snn: Snn) -> None:
    assert snn.program("status", "--stack", "nobody", code=1).stderr.splitlines()[1:] == [
        "error: the stack nobody is not deployed (missing)"
    ]
    assert "No such option" in snn.program("status", "--no-such", code=2).stderr


def test_every_command_has_help_with_an_example(snn: Snn) -> None:
    for command in ("train", "status", "logs", "evaluate", "predict", "report", "export", "cancel", "resume"):
        told = snn(command, "--help").stdout
        assert re.search(rf"^\W*snn {command}\b", told, re.M), told
        assert "--json" in told


def test_the_examples_of_the_page_work_as_they_stand(
    snn: Snn, clients: Clients, stack: StackOutputs, ledger: Ledger
) -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", page, re.S) for line in block.splitlines()]
    try:
        for line in lines:
            command, *arguments = shlex.split(line)
            assert command == "snn"
            done = snn(*arguments)
            if "--json" in arguments:
                json.loads(done.stdout)
    finally:
        for run_id in ("faces-1", "faces-2", "long"):
            stop(clients, stack, ledger, run_id)
    assert ledger.get("faces-1").epoch == 200
    assert {path.name for path in (snn.folder / "reports").iterdir()} == {
        "report.json",
        "report.html",
        "model_card.md",
    }
    elsewhere = {"deploy", "cleanup", "local", "backbone", "look", "mlflow", "batch"}
    shown = {command for command, *_ in (line.split()[1:] for line in lines)} | elsewhere
    named = set(re.findall(r"`snn (\w+)`", page.split("## Where")[0]))
    assert named == shown
