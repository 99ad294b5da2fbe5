"""Batches on the emulator: what is answered, once each, whatever is killed, throttled, stopped or bad meanwhile."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.exceptions import AirflowException
from backbones import PREPROCESSING, tiny
from numpy.testing import assert_allclose
from odd_photos import encoded
from PIL import Image
from served import KINDS, Kind, picture_of, put_run
from typer.testing import CliRunner
from workers import at_work

from snn.errors import InvalidInput, InvalidModel, InvalidParameters
from snn_cli.main import app
from snn_client.backbones import catalogue
from snn_client.models import versions
from snn_client.reports.predicting import predict_rows
from snn_client.runs.lists import LIMIT, size
from snn_client.serving import batch as batch_module
from snn_client.serving import batch_photos, batch_rows
from snn_client.serving.batch import batch_predict, estimate_batch
from snn_client.serving.batch_contents import Manifest
from snn_client.serving.batch_inputs import SourceChanged
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, Stopped
from snn_data.model import Model
from snn_operators.batch import SnnBatchPredictOperator
from snn_operators.compat import AirflowFailException
from snn_photos.backbone import Backbone
from snn_photos.pictures import open_picture
from snn_photos.reading import load_image

PHOTOS = KINDS["photos of two classes"]
GIVE = "(give a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file)"
BAD = {
    "b/cut.png": "the picture is cut off or damaged (copy the file again)",
    "b/empty.png": f"the file is empty {GIVE}",
    "b/text.png": f"not a picture {GIVE}",
}


@pytest.fixture(scope="module")
def serving(clients: Clients) -> StackOutputs:
    """A stack with an endpoint, and the champion of the default model."""
    wanted = StackOptions.from_environment(stack_name="snn-batch", with_cache=False, with_features=True)
    outputs = deploy_stack(clients, wanted)
    put_run(clients, outputs, "first", PHOTOS.file("first"))
    versions.promote(clients, outputs, "first")
    return outputs


class Told:
    """Progress: what was said, and something to do when so many are done."""

    def __init__(self, at: int = 0, do: Any = None) -> None:
        self.notes, self.counts, self._at, self._do = list[str](), list[tuple[str, int, int]](), at, do

    def at(self, what: str, done: int, total: int) -> None:
        self.counts.append((what, done, total))
        if self._do and what == "answering" and done >= self._at:
            do, self._do = self._do, None
            do()

    def note(self, text: str) -> None:
        self.notes.append(text)

    warn = note


def stop() -> None:
    raise KeyboardInterrupt


@contextmanager
def invocations(clients: Clients) -> Iterator[list[dict[str, Any]]]:
    """The events that functions are invoked with meanwhile; again if botocore sends one again."""
    seen = list[dict[str, Any]]()

    def hear(params: dict[str, Any], **_: Any) -> None:
        seen.append(json.loads(params["Payload"]))

    clients.lambda_.meta.events.register("provide-client-params.lambda.Invoke", hear)
    try:
        yield seen
    finally:
        clients.lambda_.meta.events.unregister("provide-client-params.lambda.Invoke", hear)


def photos(folder: Path, count: int, seed: int = 0, bad: bool = False) -> dict[str, bytes]:
    """A folder of photos of noise, two folders deep; by name, in the order in which they are answered."""
    random = np.random.default_rng(seed)
    found = {f"{'ab'[number % 2]}/{number:05}.png": picture_of(random, (9, 11)) for number in range(count)}
    if bad:
        found |= {"b/cut.png": picture_of(random, (90, 90))[:-400], "b/empty.png": b"", "b/text.png": b"no picture"}
    for name, content in found.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return dict(sorted(found.items()))


def expected(model: Model, content: bytes) -> float:
    return float(model.answers(load_image(BytesIO(content), model.shape))[0, 0])


def read(clients: Clients, address: str) -> bytes:
    bucket, _, key = address.removeprefix("s3://").partition("/")
    content: bytes = clients.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return content


def lines(clients: Clients, address: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read(clients, address).splitlines()]


def parts_of(clients: Clients, stack: StackOutputs, batch_id: str) -> dict[str, str]:
    """The parts that are stored, each with the version of its object."""
    pages = clients.s3.get_paginator("list_object_versions")
    found: dict[str, str] = {}
    for page in pages.paginate(Bucket=stack.bucket, Prefix=places.batch_parts(batch_id)):
        for item in page.get("Versions", []):
            assert item["Key"] not in found, f"{item['Key']} was written twice"
            found[item["Key"]] = item["VersionId"]
    return found


def compare(said: list[dict[str, Any]], files: dict[str, bytes], model: Model) -> None:
    """Each photo once, in order, answered as the model answers it here."""
    assert [one["input"] for one in said] == list(files)
    found = [one["prediction"]["probability"] for one in said]
    assert_allclose(found, [expected(model, content) for content in files.values()], rtol=0, atol=1e-12)


def test_a_folder_of_photos_is_answered_once_each_and_the_batch_is_done_then(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    files = photos(tmp_path / "new", 120)
    told, out = Told(), tmp_path / "answers.jsonl"
    guess = estimate_batch(clients, serving, tmp_path / "new")
    assert (guess["kind"], guess["inputs"], guess["parts"]) == ("photos", 120, 3)
    with invocations(clients) as asked:
        done = batch_predict(clients, serving, tmp_path / "new", out=out, progress=told)
    assert len(asked) == 3
    assert all(set(event) == {"batch"} for event in asked)
    assert sorted(len(event["batch"]["names"]) for event in asked) == [20, 50, 50]
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))
    assert out.read_bytes() == read(clients, done["result"])
    assert done["model"] == {"name": "default", "version": 1, "run_id": "first"}
    assert (done["inputs"], done["answered"], done["bad"], done["parts"], done["computed"]) == (120, 120, 0, 3, 3)
    assert (done["errors"], done["kind"], done["format"]) == ("", "photos", "jsonl")
    assert done["batch_id"].startswith("new-")
    assert done["result"] == f"s3://{serving.bucket}/predictions/{done['batch_id']}/result.jsonl"
    assert told.counts[-1] == ("writing", 120, 120)
    assert max(count for what, count, _ in told.counts if what == "answering") == 120
    assert done["started"] < done["ended"]
    cost = done["cost"]
    assert cost["invocations"]["predict"] == 3
    assert cost["requests"]["s3_puts"] == 3
    assert done["estimate_usd"] == guess["usd"]
    assert guess["usd"] / 20 < cost["usd"] < guess["usd"] * 3
    with invocations(clients) as asked:
        again = batch_predict(clients, serving, tmp_path / "new")
    assert asked == []
    assert again == done
    manifest = read(clients, f"s3://{serving.bucket}/{places.batch_manifest(done['batch_id'])}")
    assert json.loads(manifest) == done


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_photos_in_the_stacks_bucket_travel_by_key_and_bad_ones_are_named(
    clients: Clients, serving: StackOutputs, tmp_path: Path, kind: Any
) -> None:
    files = photos(tmp_path, 60, 1, bad=True)
    prefix = f"batch_input/{kind}/"
    for name, content in files.items():
        clients.s3.put_object(Bucket=serving.bucket, Key=prefix + name, Body=content)
    clients.s3.put_object(Bucket=serving.bucket, Key=f"{prefix}b/", Body=b"")  # stands for a folder
    with invocations(clients) as asked:
        done = batch_predict(clients, serving, f"s3://{serving.bucket}/{prefix}", kind=kind)
    assert len(asked) == 2
    assert {name for event in asked for photo in event["batch"]["photos"] for name in photo} == {"key", "etag"}
    assert (done["inputs"], done["answered"], done["bad"]) == (63, 60, 3)
    good = {name: content for name, content in files.items() if name not in BAD}
    model, content = PHOTOS.model("first"), read(clients, done["result"])
    truth = [expected(model, one) for one in good.values()]
    if kind == "jsonl":
        compare(lines(clients, done["result"]), good, model)
    elif kind == "csv":
        table = pa_csv.read_csv(BytesIO(content))
        assert table.column_names == ["input", "predicted", "class_name", "probability", "probabilities"]
        assert table["input"].to_pylist() == list(good)
        assert_allclose(table["probability"].to_numpy(), truth, rtol=0, atol=1e-12)
        both = np.array([json.loads(text) for text in table["probabilities"].to_pylist()])
        assert_allclose(both[:, 1], truth, rtol=0, atol=1e-12)
    else:
        table = pa_parquet.read_table(BytesIO(content))
        assert table["input"].to_pylist() == list(good)
        assert table.schema.field("probabilities").type == pa.list_(pa.float64())
        assert_allclose(table["probability"].to_numpy(), truth, rtol=0, atol=1e-12)
        assert table["predicted"].to_pylist() == [int(probability > 0.4) for probability in truth]
    errors = read(clients, done["errors"]).decode()
    if kind == "csv":
        assert done["errors"].endswith("/bad.csv")
        wrong = {row["input"]: row["error"] for row in csv.DictReader(errors.splitlines())}
    else:
        wrong = {row["input"]: row["error"] for row in map(json.loads, errors.splitlines())}
    assert wrong == BAD


def test_photos_elsewhere_and_large_ones_are_sent_from_here(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    clients.s3.create_bucket(Bucket="somebody-elses")
    large = encoded(Image.fromarray(np.random.default_rng(3).integers(0, 256, (1100, 1100, 3), np.uint8)), "PNG")
    assert len(large) > batch_photos.MAX_INLINE
    files = {**photos(tmp_path, 6, 2), "large.png": large}
    for name, content in files.items():
        clients.s3.put_object(Bucket="somebody-elses", Key=f"in/{name}", Body=content)
    with invocations(clients) as asked:
        done = batch_predict(clients, serving, "s3://somebody-elses/in/")
    (event,) = asked
    assert [set(photo) for photo in event["batch"]["photos"]] == [{"content"}] * 6 + [{"key"}]
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))


def table_of(count: int, bad: tuple[int, ...] = ()) -> pa.Table:
    """A table that the models of tables read, with values that are missing and columns that they do not read."""
    random = np.random.default_rng(4)
    weight = [None if row % 7 == 0 else str(round(float(random.normal(70, 12)), 3)) for row in range(count)]
    for row in bad:
        weight[row] = "heavy"
    colours = [str(random.choice(["red", "blue", "green"])) if row % 5 else None for row in range(count)]
    return pa.table({
        "colour": colours, "name": [f"Zoë, {row}" for row in range(count)],
        "height": random.normal(1.7, 0.1, count), "weight": weight,
    })  # fmt: skip


@pytest.mark.parametrize("kind", ["a table of two classes", "a table with numbers"])
@pytest.mark.parametrize("form", ["csv", "parquet", "tsv.gz"])
def test_tables_are_answered_as_snn_predict_answers_them(
    clients: Clients, serving: StackOutputs, tmp_path: Path, kind: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_rows, "ROWS_AT_ONCE", 700)
    name, run_id = f"table-{'yes' if 'classes' in kind else 'number'}", f"run-{kind.replace(' ', '-')}-{form[:3]}"
    put_run(clients, serving, run_id, KINDS[kind].file(run_id))
    versions.register(clients, serving, run_id, name)
    table, path = table_of(2000), tmp_path / f"rows.{form}"
    if form == "parquet":
        table = table.set_column(3, "weight", pa.array([x and float(x) for x in table["weight"].to_pylist()]))
        pa_parquet.write_table(table, path)
    else:
        with pa.output_stream(path, compression="gzip" if "gz" in form else None) as stream:
            pa_csv.write_csv(table, stream, pa_csv.WriteOptions(delimiter="\t" if "tsv" in form else ","))
    done = batch_predict(clients, serving, path, model=name, version=run_id, kind="parquet")
    found = pa_parquet.read_table(BytesIO(read(clients, done["result"])))
    model = KINDS[kind].model(run_id)
    by_predict = predict_rows(model, path.read_bytes(), path.name)
    assert (done["parts"], done["bad"], found.num_rows) == (3, 0, 2000)
    assert found["input"].to_pylist() == [one["uri"] for one in by_predict]
    answer = "probability" if model.of_classes else "value"
    assert_allclose(found[answer].to_numpy(), [one[answer] for one in by_predict], rtol=1e-6, atol=1e-12)  # type: ignore[literal-required]
    if model.of_classes:
        assert found["class_name"].to_pylist() == [one["class_name"] for one in by_predict]  # type: ignore[typeddict-item]


def test_rows_that_cannot_be_read_are_named_and_the_others_answered(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    kind = KINDS["a table of two classes"]
    put_run(clients, serving, "some-rows", kind.file("some-rows"))
    path, good = tmp_path / "rows.csv", tmp_path / "good.csv"
    table = table_of(300, bad=(4, 250))
    pa_csv.write_csv(table, path)
    pa_csv.write_csv(table.filter(pa.array([row not in (4, 250) for row in range(300)])), good)
    key = f"s3://{serving.bucket}/tables/rows.csv"
    clients.s3.upload_file(str(path), serving.bucket, "tables/rows.csv")
    versions.register(clients, serving, "some-rows", "rows")
    done = batch_predict(clients, serving, key, model="rows", version=1)
    said = lines(clients, done["result"])
    assert (len(said), done["bad"]) == (298, 2)
    by_predict = predict_rows(kind.model("some-rows"), good.read_bytes(), "good.csv")
    found = [one["prediction"]["probability"] for one in said]
    assert_allclose(found, [one["probability"] for one in by_predict], rtol=0, atol=1e-12)  # type: ignore[typeddict-item]
    hint = "(give a number, or null where its value is missing)"
    assert lines(clients, done["errors"]) == [
        {"input": f"rows.csv#{row}", "error": f"weight: holds 'heavy' in row {row} {hint}"} for row in (5, 251)
    ]


def test_a_model_of_features_takes_a_table_of_just_these(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    kind, path = KINDS["features of three classes"], tmp_path / "features.parquet"
    put_run(clients, serving, "by-features", kind.file("by-features"))
    versions.register(clients, serving, "by-features", "features")
    rows = np.random.default_rng(0).standard_normal((50, 9))
    pa_parquet.write_table(pa.table({f"f{place}": rows[:, place] for place in range(9)}), path)
    done = batch_predict(clients, serving, path, model="features", version="by-features", kind="parquet")
    found = pa_parquet.read_table(BytesIO(read(clients, done["result"])))
    truth = kind.model("by-features").answers(rows.T).T
    assert_allclose(np.array(found["probabilities"].to_pylist()), truth, rtol=0, atol=1e-12)
    pa_parquet.write_table(pa.table({"f0": rows[:, 0]}), path)
    with pytest.raises(InvalidInput, match=r"has 1 columns, but the model reads 9 features \(give exactly these"):
        batch_predict(clients, serving, path, model="features", version="by-features")


def test_a_model_on_a_backbone_answers_as_the_backbone_sees(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    reference = catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx")
    catalogue.add(clients, serving.bucket, tiny(), reference)
    kind = Kind("softmax", (16,), ("x", "y", "z"), more={"backbone": reference.to_json(), "dataset": "runs/none.h5"})
    put_run(clients, serving, "seen", kind.file("seen"))
    versions.register(clients, serving, "seen", "seen")
    files = photos(tmp_path / "p", 20, 9, bad=True)
    done = batch_predict(clients, serving, tmp_path / "p", model="seen", version="seen", kind="parquet")
    found = pa_parquet.read_table(BytesIO(read(clients, done["result"])))
    model, backbone = kind.model("seen"), Backbone(tiny(), PREPROCESSING, "here")
    good = {name: content for name, content in files.items() if name not in BAD}
    truth = [model.answers(backbone.of(open_picture(BytesIO(one)))[:, None])[:, 0] for one in good.values()]
    assert found["input"].to_pylist() == list(good)
    assert_allclose(np.array(found["probabilities"].to_pylist()), truth, rtol=0, atol=1e-6)
    assert done["bad"] == 3


# ---- stopped, changed, too dear --------------------------------------------------------------------------------------


def test_a_batch_that_is_stopped_goes_on_and_computes_no_part_twice(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    files = photos(tmp_path / "stopped", 400, 11)
    with pytest.raises(KeyboardInterrupt):
        batch_predict(clients, serving, tmp_path / "stopped", at_once=2, progress=Told(100, stop))
    (batch_id,) = batches(clients, serving, "stopped")
    before = parts_of(clients, serving, batch_id)
    assert 2 <= len(before) < 8
    told = Told()
    with invocations(clients) as asked:
        done = batch_predict(clients, serving, tmp_path / "stopped", progress=told)
    assert done["batch_id"] == batch_id
    assert len(asked) == done["computed"] == 8 - len(before)
    assert told.notes == [f"batch {batch_id} goes on: {len(before)} of about 8 parts are answered"]
    assert parts_of(clients, serving, batch_id).items() >= before.items()
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))
    assert done["cost"]["invocations"]["predict"] == 8


def batches(clients: Clients, stack: StackOutputs, name: str) -> list[str]:
    pages = clients.s3.list_objects_v2(Bucket=stack.bucket, Prefix=f"predictions/{name}-", Delimiter="/")
    return [item["Prefix"].split("/")[1] for item in pages.get("CommonPrefixes", [])]


def test_a_stop_from_outside_is_heard(clients: Clients, serving: StackOutputs, tmp_path: Path) -> None:
    from threading import Event

    photos(tmp_path / "outside", 300, 12)
    over = Event()
    with pytest.raises(Stopped, match=r"outside-.*: what is answered stays"):
        batch_predict(clients, serving, tmp_path / "outside", at_once=1, progress=Told(50, over.set), over=over)
    (batch_id,) = batches(clients, serving, "outside")
    assert 1 <= len(parts_of(clients, serving, batch_id)) <= 3


def test_a_source_that_changes_is_said_to_and_another_batch_is_another(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    folder = tmp_path / "changing"
    photos(folder, 150, 13)
    last = folder / "b" / "00149.png"

    def replace() -> None:
        last.write_bytes(picture_of(np.random.default_rng(99), (30, 30)))

    with pytest.raises(SourceChanged, match=r"changing.* changed while the batch was running \(start the batch aga"):
        batch_predict(clients, serving, folder, at_once=1, progress=Told(50, replace), batch_id="by-name")
    with pytest.raises(InvalidInput, match=r"the source has changed since the batch by-name began \(give another"):
        batch_predict(clients, serving, folder, batch_id="by-name")
    done = batch_predict(clients, serving, folder, batch_id="by-name-2")
    assert (done["batch_id"], done["answered"]) == ("by-name-2", 150)
    put_run(clients, serving, "another", PHOTOS.file("another", 1))
    versions.register(clients, serving, "another", "default")
    with pytest.raises(InvalidInput, match=r"by-name-2 was begun with version 1 of default"):
        batch_predict(clients, serving, folder, batch_id="by-name-2", version="another")
    other = batch_predict(clients, serving, folder, version="another")
    assert other["model"]["run_id"] == "another"
    assert read(clients, other["result"]) != read(clients, done["result"])


def test_an_object_that_is_replaced_meanwhile_is_not_answered_as_the_other(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    for name, content in photos(tmp_path, 120, 14).items():
        clients.s3.put_object(Bucket=serving.bucket, Key=f"batch_input/replaced/{name}", Body=content)

    def replace() -> None:
        clients.s3.put_object(Bucket=serving.bucket, Key="batch_input/replaced/b/00119.png", Body=b"other")

    source = f"s3://{serving.bucket}/batch_input/replaced/"
    with pytest.raises(SourceChanged, match=r"part 3 of replaced-.* is refused: s3://.*b/00119.png was replaced or de"):
        batch_predict(clients, serving, source, at_once=1, progress=Told(50, replace))


def test_a_budget_stops_the_batch_before_it_is_spent_and_a_larger_one_goes_on(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    files = photos(tmp_path / "dear", 500, 15)
    guess = estimate_batch(clients, serving, tmp_path / "dear", at_once=1)
    one = guess["usd"] / guess["parts"]
    budget = 2 * one
    with pytest.raises(InvalidParameters, match=r"max_usd: .* of .* USD is spent, and another part may cost .*raise"):
        batch_predict(clients, serving, tmp_path / "dear", max_usd=budget, at_once=1)
    (batch_id,) = batches(clients, serving, "dear")
    some = len(parts_of(clients, serving, batch_id))
    assert 1 <= some < 10
    with pytest.raises(InvalidParameters, match="max_usd"):
        batch_predict(clients, serving, tmp_path / "dear", max_usd=one, at_once=1)
    assert len(parts_of(clients, serving, batch_id)) == some
    done = batch_predict(clients, serving, tmp_path / "dear", max_usd=1.0)
    assert done["computed"] == 10 - some
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))


def test_what_a_budget_has_bought_costs_no_more_than_it(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    photos(tmp_path / "bought", 1000, 16)
    one = estimate_batch(clients, serving, tmp_path / "bought", at_once=1)["usd"] / 20
    budget = 4 * one
    with pytest.raises(InvalidParameters, match="max_usd"):
        batch_predict(clients, serving, tmp_path / "bought", max_usd=budget, at_once=2)
    (batch_id,) = batches(clients, serving, "bought")
    spent = 0.0
    for key in parts_of(clients, serving, batch_id):
        took = json.loads(clients.s3.head_object(Bucket=serving.bucket, Key=key)["Metadata"]["took"])
        spent += took["milliseconds"] / 1000 * took["memory_mb"] / 1024 * 0.0000133334
    assert 0 < spent <= budget


# ---- faults ----------------------------------------------------------------------------------------------------------


def test_functions_that_are_killed_change_no_answer(clients: Clients, serving: StackOutputs, tmp_path: Path) -> None:
    files, killed = photos(tmp_path / "killed", 1500, 17), 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(batch_predict, clients, serving, tmp_path / "killed", at_once=4)
        while not running.done() and killed < 3:
            for pid in at_work(clients, serving.predict_function)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        done: Manifest = running.result(timeout=300)
    assert killed == 3
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))
    assert (done["parts"], done["answered"]) == (30, 1500)
    assert done["cost"]["invocations"]["predict"] >= 31


def test_a_throttled_function_is_waited_for(clients: Clients, serving: StackOutputs, tmp_path: Path) -> None:
    files, refused = photos(tmp_path / "throttled", 300, 18), list[int]()

    def heard(response: Any, **_: Any) -> None:
        refused.extend([1] if response and response[0].status_code == 429 else [])

    clients.lambda_.meta.events.register("needs-retry.lambda.Invoke", heard)
    clients.lambda_.put_function_concurrency(FunctionName=serving.predict_function, ReservedConcurrentExecutions=1)
    try:
        done = batch_predict(clients, serving, tmp_path / "throttled")
    finally:
        clients.lambda_.delete_function_concurrency(FunctionName=serving.predict_function)
        clients.lambda_.meta.events.unregister("needs-retry.lambda.Invoke", heard)
    assert refused
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))
    assert done["cost"]["invocations"]["predict"] == 6


def test_a_part_that_fails_three_times_is_named_and_what_is_done_stays(
    clients: Clients, serving: StackOutputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that no function survives stands for one that breaks it: its content is no base64."""
    files = photos(tmp_path / "broken", 200, 19)
    sent = batch_photos.PhotosInFolder._sent
    names = list(files)

    def breaking(self: Any, photo: Any) -> Any:
        return {"content": "x"} if photo.name == names[120] else sent(self, photo)

    with monkeypatch.context() as patch, invocations(clients) as asked:
        patch.setattr(batch_photos.PhotosInFolder, "_sent", breaking)
        with pytest.raises(CloudError, match=r"part 3 of broken-.* failed 3 times: .*base64.*what is answered stays"):
            batch_predict(clients, serving, tmp_path / "broken", at_once=1)
    assert [event["batch"]["number"] for event in asked] == [1, 2, 3, 3, 3]
    (batch_id,) = batches(clients, serving, "broken")
    assert [key[-12:] for key in parts_of(clients, serving, batch_id)] == ["000001.jsonl", "000002.jsonl"]
    done = batch_predict(clients, serving, tmp_path / "broken")
    assert done["computed"] == 2
    compare(lines(clients, done["result"]), files, PHOTOS.model("first"))
    assert done["cost"]["invocations"]["predict"] == 7  # three of them came to nothing


def test_a_part_that_somebody_else_wrote_is_computed_anew(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    files = photos(tmp_path / "foreign", 60, 20)
    first = batch_predict(clients, serving, tmp_path / "foreign")
    key = places.batch_part(first["batch_id"], 2)
    content = clients.s3.get_object(Bucket=serving.bucket, Key=key)["Body"].read()
    clients.s3.put_object(Bucket=serving.bucket, Key=key, Body=b"{}\n")
    done = batch_predict(clients, serving, tmp_path / "foreign", kind="csv")
    assert (done["computed"], done["parts"]) == (1, 2)
    assert clients.s3.get_object(Bucket=serving.bucket, Key=key)["Body"].read() == content
    told = clients.s3.head_object(Bucket=serving.bucket, Key=key)["Metadata"]
    clients.s3.put_object(Bucket=serving.bucket, Key=key, Body=content[:-30] + b"\n", Metadata=told)
    with pytest.raises(CloudError, match=r"000002.jsonl does not answer each of its inputs once \(delete it"):
        batch_predict(clients, serving, tmp_path / "foreign", kind="parquet")
    short = b"".join(content.splitlines(keepends=True)[:-1])
    clients.s3.put_object(Bucket=serving.bucket, Key=key, Body=short, Metadata=told)
    with pytest.raises(CloudError, match=r"000002.jsonl does not answer each of its inputs once \(delete it"):
        batch_predict(clients, serving, tmp_path / "foreign", kind="parquet")
    assert len(files) == first["answered"]


# ---- refused ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_a_batch_is_refused_in_one_line(
    clients: Clients, serving: StackOutputs, stack: StackOutputs, tmp_path: Path
) -> None:
    photos(tmp_path / "p", 2)
    (tmp_path / "empty").mkdir()
    pa_csv.write_csv(table_of(5), tmp_path / "rows.csv")
    pa_csv.write_csv(table_of(5).drop_columns(["height"]), tmp_path / "lacks.csv")
    kind = KINDS["a table of two classes"]
    put_run(clients, serving, "refusing", kind.file("refusing"))
    versions.register(clients, serving, "refusing", "refusing")
    by = {"model": "refusing", "version": "refusing"}
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ("nowhere", {}, r"^nowhere: no such file or folder"),
        ("empty", {}, r"holds no photos \(check the address"),
        ("p", {"model": "none"}, r"^model: the model none has no champion \(snn models promote"),
        ("p", {"version": 77}, r"^version: the model default has no version 77"),
        ("p", {"kind": "xml"}, r"^format: 'xml' is no format of a result \(use jsonl, csv, parquet"),
        ("p", {"max_usd": 0.0}, r"^max_usd: is 0.0 \(give a number of USD above 0"),
        ("p", {"at_once": 0}, r"^at_once: is 0 \(give 1 to 64"),
        ("p", {"batch_id": "../x"}, r"^batch_id: '../x' is not the id of a batch"),
        ("p", by, r"reads rows of a table, not photos"),
        ("rows.csv", {}, r"reads photos, not tables"),
        ("lacks.csv", by, r"lacks.csv: height: is missing: the network was trained on it"),
    ]
    for name, more, said in refused:
        with pytest.raises(InvalidInput, match=said):
            batch_predict(clients, serving, name if name == "nowhere" else tmp_path / name, **more)
    with pytest.raises(InvalidInput, match=r"holds no photos"):
        batch_predict(clients, serving, f"s3://{serving.bucket}/batch_input/nothing/")
    with pytest.raises(InvalidModel):
        batch_predict(clients, serving, tmp_path / "p", **by)
    if not stack.predict_function:
        with pytest.raises(InvalidInput, match=r"^endpoint: the stack snn-test has no PredictLambda"):
            batch_predict(clients, stack, tmp_path / "p")


def test_an_event_by_http_is_no_part(clients: Clients, serving: StackOutputs) -> None:
    """Whoever may only ask the endpoint cannot have anything stored: what comes by HTTP never gets there."""
    event = {"batch": {"batch_id": "by-http", "number": 1}, "requestContext": {"http": {"method": "POST", "path": "/"}}}
    answer = clients.lambda_.invoke(FunctionName=serving.predict_function, Payload=json.dumps(event).encode())
    said = json.loads(answer["Payload"].read())
    assert said["statusCode"] == 404
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=serving.bucket, Prefix="predictions/by-http/")


# ---- the command -----------------------------------------------------------------------------------------------------


def snn(stack: StackOutputs, *words: str, ends: int = 0) -> Any:
    result = CliRunner().invoke(app, ["batch", *words, "--stack", stack.stack_name])
    assert result.exit_code == ends, result.output
    return result


def test_the_command(clients: Clients, serving: StackOutputs, tmp_path: Path) -> None:
    files = photos(tmp_path / "typed", 55, 21, bad=True)
    guess = json.loads(snn(serving, str(tmp_path / "typed"), "--estimate", "--json").stdout)
    assert (guess["inputs"], guess["parts"]) == (58, 2)
    assert batches(clients, serving, "typed") == []
    out = tmp_path / "answers.csv"
    shown = snn(serving, str(tmp_path / "typed"), "--out", str(out), "--max-usd", "1")
    assert "55 answers, 3 bad inputs" in shown.stdout
    with out.open(newline="") as stream:
        assert [row["input"] for row in csv.DictReader(stream)] == [name for name in files if name not in BAD]
    with (tmp_path / "answers-bad.csv").open(newline="") as stream:
        assert {row["input"]: row["error"] for row in csv.DictReader(stream)} == BAD
    told = json.loads(snn(serving, str(tmp_path / "typed"), "--format", "csv", "--json").stdout)
    assert (told["answered"], told["bad"], told["format"]) == (55, 3, "csv")
    refused = snn(serving, str(tmp_path / "none"), ends=1)
    assert "no such file or folder" in refused.output


# ---- Airflow ---------------------------------------------------------------------------------------------------------


def operator(stack: StackOutputs, source: Path, **more: Any) -> SnnBatchPredictOperator:
    return SnnBatchPredictOperator(
        task_id="batch", stack=stack.to_dict(), source=str(source), aws_conn_id=None, region_name=stack.region, **more
    )


def test_the_operator_returns_the_manifest_and_announces_the_result(
    clients: Clients, serving: StackOutputs, tmp_path: Path
) -> None:
    files, events = photos(tmp_path / "task", 70, 22, bad=True), Events()
    task = operator(serving, tmp_path / "task", format="parquet", outlets=[AssetAlias("snn-predictions")])
    done: Any = task.execute({"outlet_events": events})  # type: ignore[typeddict-item]
    assert (done["answered"], done["bad"], done["format"]) == (70, 3, "parquet")
    assert size(done) < LIMIT / 10
    found = pa_parquet.read_table(BytesIO(read(clients, done["result"])))
    assert found["input"].to_pylist() == [name for name in files if name not in BAD]
    assert events.added == [(done["result"], {"batch_id": done["batch_id"], "version": 1})]
    assert task.files == ([str(tmp_path / "task")], [done["result"], done["errors"]])
    (read_, made) = (task.get_openlineage_facets_on_complete(None), task.files[1])
    assert read_ is not None
    assert [f"{one.namespace}/{one.name}" for one in read_.outputs] == made
    with invocations(clients) as asked:
        assert operator(serving, tmp_path / "task", format="parquet").execute({}) == done
    assert asked == []


def test_a_task_that_is_killed_leaves_what_the_next_try_goes_on_with(
    clients: Clients, serving: StackOutputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos(tmp_path / "tried", 400, 23)
    task = operator(serving, tmp_path / "tried", at_once=1)
    monkeypatch.setattr(batch_module, "Logged", lambda: Told(100, task.on_kill))
    with pytest.raises(AirflowException, match=r"tried-.*: what is answered stays"):
        task.execute({})
    (batch_id,) = batches(clients, serving, "tried")
    some = len(parts_of(clients, serving, batch_id))
    assert 2 <= some < 8
    monkeypatch.undo()
    done: Any = operator(serving, tmp_path / "tried").execute({})
    assert (done["batch_id"], done["computed"], done["answered"]) == (batch_id, 8 - some, 400)


def test_a_mistake_fails_the_task_without_a_retry(serving: StackOutputs, tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match=r"no such file or folder"):
        operator(serving, tmp_path / "none").execute({})
    photos(tmp_path / "too-dear", 3, 24)
    with pytest.raises(AirflowFailException, match=r"^max_usd: 0.00 of 0.00000001 USD is spent, and another part may"):
        operator(serving, tmp_path / "too-dear", max_usd=1e-8).execute({})


class Events:
    """Outlet events: what was added to them."""

    def __init__(self) -> None:
        self.added = list[tuple[str, Any]]()

    def __getitem__(self, alias: AssetAlias) -> Events:
        assert alias == AssetAlias("snn-predictions")
        return self

    def add(self, asset: Asset, extra: Any) -> None:
        self.added.append((asset.uri, extra))
