"""Features of photos by real FeatureLambdas: what is computed once, what is bad, what fails, what is trained on it."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from backbones import FEATURES, PREPROCESSING, tiny
from numpy.typing import NDArray
from odd_photos import encoded
from PIL import Image, ImageOps
from typer.testing import CliRunner
from workers import at_work

from snn.errors import InvalidDataset, InvalidImage, InvalidInput, InvalidModel
from snn_cli.main import app
from snn_client.backbones import catalogue
from snn_client.backbones import features as computing
from snn_client.backbones.features import Features, features_by
from snn_client.backbones.forgetting import forget
from snn_client.data.options import Options
from snn_client.data.staging import FeaturesBy, Staged, stage
from snn_client.microscope.scope import Scope
from snn_client.reports.predicting import predict_images
from snn_client.reports.report import evaluate_run
from snn_client.runs import runs
from snn_client.runs.recipe import parameters_for
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError, LaunchRejected
from snn_cloud.features.pack import hint, hints, pack_key
from snn_cloud.features.task import PhotoTask
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.record import Run
from snn_data.dataset import load_dataset
from snn_data.model import load_model
from snn_photos.backbone import Backbone
from snn_photos.reference import BackboneReference

Photos = list[Callable[[], bytes]]


@pytest.fixture(scope="module")
def seeing(clients: Clients) -> StackOutputs:
    """A stack with a FeatureLambda."""
    wanted = StackOptions.from_environment(stack_name="snn-seeing", with_cache=False, with_features=True)
    return deploy_stack(clients, wanted)


@pytest.fixture(scope="module")
def reference(clients: Clients, seeing: StackOutputs) -> BackboneReference:
    """A small backbone that the stack has."""
    found = catalogue.check(tiny(), PREPROCESSING, "tiny", "tiny.onnx")
    catalogue.add(clients, seeing.bucket, tiny(), found)
    return found


@pytest.fixture
def forgotten(clients: Clients, seeing: StackOutputs, reference: BackboneReference) -> None:
    """No features are there from other tests."""
    forget(clients, seeing.bucket, backbone=reference)


@pytest.fixture
def features(clients: Clients, seeing: StackOutputs, reference: BackboneReference, forgotten: None) -> Features:
    """What computes features by the small backbone, of which none are known."""
    return Features(clients, seeing, reference)


def pictures(count: int, size: tuple[int, int] = (40, 30), seed: int = 0) -> list[Image.Image]:
    """Pictures of noise."""
    random = np.random.default_rng(seed)
    return [Image.fromarray(random.integers(0, 256, (*size[::-1], 3), np.uint8)) for _ in range(count)]


def files(of: list[Image.Image]) -> Photos:
    """The files of pictures."""
    return [partial(bytes, encoded(picture, "PNG")) for picture in of]


def whole(computed: Any) -> tuple[NDArray[np.float32], list[tuple[int, str]]]:
    """All features, and all that is bad."""
    rows, bad = [], []
    for found, wrong in computed:
        rows += [found] if len(found) else []
        bad += wrong
    return np.concatenate(rows), bad


def expected(of: list[Image.Image]) -> NDArray[np.float32]:
    """What the backbone gives in this process."""
    backbone = Backbone(tiny(), PREPROCESSING, "here")
    return np.stack([backbone.of(picture) for picture in of])


def test_features_are_those_of_the_backbone_and_are_computed_once(
    clients: Clients, seeing: StackOutputs, features: Features
) -> None:
    shown = pictures(100)
    found, bad = whole(features.of(files(shown)))
    assert bad == []
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected(shown))
    assert (features.computed, features.usage.invocations) == (100, 4)
    assert features.usage.milliseconds > 0
    assert features.usage.s3_puts == 4  # a pack for each
    again = Features(clients, seeing, features.backbone)
    np.testing.assert_array_equal(whole(again.of(files(shown)))[0], found)
    assert (again.computed, again.usage.invocations) == (0, 0)
    more = Features(clients, seeing, features.backbone)
    np.testing.assert_array_equal(whole(more.of(files(shown[:10] + pictures(3, seed=1))))[0][:10], found[:10])
    assert more.computed == 3


def test_another_backbone_and_another_preprocessing_have_features_of_their_own(
    clients: Clients, seeing: StackOutputs, features: Features
) -> None:
    shown = pictures(2)
    first = whole(features.of(files(shown)))[0]
    for content, preprocessing in ((tiny(1), PREPROCESSING), (tiny(), PREPROCESSING.model_copy(update={"mean": 9.0}))):
        other = catalogue.check(content, preprocessing, "tiny-2", "tiny-2.onnx")
        catalogue.add(clients, seeing.bucket, content, other)
        by = Features(clients, seeing, other)
        assert not np.allclose(whole(by.of(files(shown)))[0], first)
        assert by.computed == 2


def test_a_photo_too_large_for_an_event_goes_by_s3(clients: Clients, seeing: StackOutputs, features: Features) -> None:
    large = pictures(1, (1_400, 1_000))[0]
    content = encoded(large, "PNG")
    assert len(content) > computing.MAX_INLINE
    found, bad = whole(features.of([lambda: content, *files(pictures(1))]))
    assert bad == []
    np.testing.assert_array_equal(found[:1], expected([large]))
    key = places.photo(hashlib.sha256(content).hexdigest())
    assert clients.s3.head_object(Bucket=seeing.bucket, Key=key)["ContentLength"] == len(content)


def test_bad_photos_are_named_and_the_others_are_computed(features: Features) -> None:
    shown = pictures(40)
    photos = files(shown)
    photos[3] = lambda: b"no picture"
    photos[35] = lambda: encoded(shown[35], "PNG")[:200]

    def gone() -> bytes:
        raise InvalidImage("no such file")

    photos[7] = gone
    found, bad = whole(features.of(photos))
    assert dict(bad) == {3: "not a picture", 7: "no such file", 35: "the picture is cut off or damaged"}
    np.testing.assert_array_equal(found, expected([one for place, one in enumerate(shown) if place not in (3, 7, 35)]))


def test_a_corrupt_photo_among_a_thousand_leaves_nothing(
    clients: Clients, seeing: StackOutputs, features: Features, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    for name, seed in (("no", 0), ("yes", 1)):
        (folder / name).mkdir(parents=True)
        for number, picture in enumerate(pictures(500, (16, 16), seed)):
            (folder / name / f"{number:03}.png").write_bytes(encoded(picture, "PNG"))
    cut = folder / "yes" / "123.png"
    cut.write_bytes(cut.read_bytes()[:-40])
    options = Options(backbone="tiny")
    staging: Any = (clients, seeing.bucket, "corrupt", folder, parameters_for, (), options)
    with pytest.raises(InvalidDataset, match=r"1 of 1000 files are no usable pictures: yes/123.png: the pict"):
        stage(*staging, features_by=features_by(clients, seeing))
    assert "Contents" not in clients.s3.list_objects_v2(Bucket=seeing.bucket, Prefix="runs/corrupt/")


def test_a_throttled_function_is_waited_for(clients: Clients, seeing: StackOutputs, features: Features) -> None:
    shown, refused = pictures(200), list[int]()

    def heard(response: Any, **_: Any) -> None:
        refused.extend([1] if response and response[0].status_code == 429 else [])

    clients.lambda_.meta.events.register("needs-retry.lambda.Invoke", heard)
    clients.lambda_.put_function_concurrency(FunctionName=seeing.feature_function, ReservedConcurrentExecutions=1)
    try:
        found, bad = whole(features.of(files(shown)))
    finally:
        clients.lambda_.delete_function_concurrency(FunctionName=seeing.feature_function)
        clients.lambda_.meta.events.unregister("needs-retry.lambda.Invoke", heard)
    assert refused
    assert bad == []
    np.testing.assert_array_equal(found, expected(shown))


def test_a_stack_without_the_function_says_what_to_do_and_trains_on_features_that_are_there(
    clients: Clients, stack: StackOutputs, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    said = r"snn-test has no FeatureLambda, .* \(deploy it with the option with_feat"
    with pytest.raises(CloudError, match=said):
        Features(clients, stack, reference)
    options, folder = Options(backbone="tiny"), colours(tmp_path / "colours", 6)
    by, without = features_by(clients, seeing), features_by(clients, stack)
    with pytest.raises(CloudError, match=said):
        stage(clients, stack.bucket, "blind", folder, parameters_for, (), options, features_by=without)
    made = stage(clients, seeing.bucket, "made", folder, parameters_for, (), options, features_by=by)
    file = tmp_path / "made.h5"
    file.write_bytes(clients.s3.get_object(Bucket=seeing.bucket, Key=made.dataset_key)["Body"].read())
    staged = stage(clients, stack.bucket, "blind", file, made.parameters, features_by=without)
    assert staged.parameters.backbone == "tiny"
    other = made.parameters.model_copy(update={"backbone": "other"})
    with pytest.raises(InvalidDataset, match=r"backbone: has features of tiny, not of other \(name that one, or give"):
        stage(clients, stack.bucket, "blind-2", file, other, features_by=without)


def test_backbones_are_listed_and_found_and_unknown_ones_refused(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference
) -> None:
    assert reference in catalogue.listed(clients, seeing.bucket)
    assert catalogue.find(clients, seeing.bucket, "tiny") == reference
    with pytest.raises(InvalidInput, match=r"backbone: 'tinny' is not among this stack's backbones \(did you mean ti"):
        catalogue.find(clients, seeing.bucket, "tinny")


# From photos to answers


def colours(folder: Path, count: int = 20, seed: int = 5) -> Path:
    """A folder of photos of two classes that the small backbone tells apart: red ones and blue ones."""
    random = np.random.default_rng(seed)
    for name, channel in (("blue", 2), ("red", 0)):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = random.integers(0, 60, (24, 30, 3), np.uint8)
            pixels[..., channel] += np.uint8(150)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def trained(clients: Clients, stack: StackOutputs, staged: Staged) -> Run:
    """The run of what was staged, at its end."""
    runs.launch(clients, stack, staged.run_id, staged.dataset_key, staged.parameters)
    return runs.watch(clients, stack, staged.run_id, lambda *_: None, every_seconds=0.1, limit_seconds=120)


def learned(clients: Clients, stack: StackOutputs, run_id: str, folder: Path, by: FeaturesBy, backbone: str) -> Run:
    """The run that learned a folder of photos by the features of a backbone, at its end."""
    options = Options(backbone=backbone)
    return trained(
        clients, stack, stage(clients, stack.bucket, run_id, folder, parameters_for, (), options, features_by=by)
    )


def test_a_folder_of_photos_is_trained_on_judged_and_predicted_by_features(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, forgotten: None, tmp_path: Path
) -> None:
    folder, by = colours(tmp_path / "colours"), features_by(clients, seeing)
    new = tmp_path / "new.png"
    Image.new("RGB", (300, 200), (160, 20, 20)).save(new)
    options = Options(backbone="tiny")
    staged = stage(clients, seeing.bucket, "seen", folder, parameters_for, [new], options, features_by=by)
    assert staged.parameters.backbone == "tiny"
    stored = clients.s3.get_object(Bucket=seeing.bucket, Key=staged.dataset_key)["Body"].read()
    data = load_dataset(BytesIO(stored))
    assert (data.shape, data.train.stored.dtype, data.classes) == ((FEATURES,), np.float32, ("blue", "red"))
    assert data.pictures is not None
    assert data.pictures.shape == (8, 64, 64, 3)
    reds = data.pictures[data.test.y == 1].mean(axis=(0, 1, 2))
    assert reds[0] > 100 > reds[2]
    run = trained(clients, seeing, staged)
    assert run.usage["feature"].invocations >= 1
    assert run.usage["feature"].s3_puts == run.usage["feature"].invocations
    model = load_model(BytesIO(clients.s3.get_object(Bucket=seeing.bucket, Key=places.params("seen"))["Body"].read()))
    assert BackboneReference.load(model.attributes["backbone"], "model") == reference
    assert evaluate_run(clients, seeing.bucket, "seen", staged.dataset_key)["accuracy"] == 1.0
    (answer,) = predict_images(clients, seeing.bucket, "seen", staged.images, by)
    assert (answer["uri"], answer["class_name"]) == (str(new), "red")  # type: ignore[typeddict-item]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no")
    with pytest.raises(InvalidImage, match=r"bad.png: not a picture"):
        predict_images(clients, seeing.bucket, "seen", [str(bad)], by)


def test_a_model_is_judged_by_the_features_of_its_own_backbone_alone(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    """Two backbones of one name and one width, as when one was added anew."""
    by, folder = features_by(clients, seeing), colours(tmp_path / "colours", 6)
    before = catalogue.check(tiny(8), PREPROCESSING, "replaced", "replaced.onnx")
    catalogue.add(clients, seeing.bucket, tiny(8), before)
    options = Options(backbone="replaced")
    learned(clients, seeing, "old-eyes", folder, by, "replaced")
    after = catalogue.check(tiny(9), PREPROCESSING, "replaced", "replaced.onnx")
    catalogue.add(clients, seeing.bucket, tiny(9), after)
    new = stage(clients, seeing.bucket, "new-eyes", folder, parameters_for, (), options, features_by=by)
    said = f"learned features of replaced ({before.digest}), but the data set has features of replaced ({after.digest})"
    with pytest.raises(InvalidModel, match=re.escape(said)):
        evaluate_run(clients, seeing.bucket, "old-eyes", new.dataset_key)
    (answer,) = predict_images(clients, seeing.bucket, "old-eyes", [str(folder / "red" / "2.png")], by)
    assert answer["class_name"] == "red"  # type: ignore[typeddict-item]


def test_what_is_unlike_all_that_was_learned_is_said_to_be(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    folder, by = colours(tmp_path / "colours", 60), features_by(clients, seeing)
    learned(clients, seeing, "known", folder, by, "tiny")
    strange, usual = tmp_path / "strange.png", folder / "red" / "0.png"
    pictures(1)[0].save(strange)
    answers = predict_images(clients, seeing.bucket, "known", [str(strange), str(usual)], by)
    assert [answer.get("unlike", False) for answer in answers] == [True, False]


def test_a_photo_that_a_backbone_saw_is_looked_into_by_hiding_its_patches(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    folder, by = colours(tmp_path / "colours", 60), features_by(clients, seeing)
    run = learned(clients, seeing, "looked", folder, by, "tiny")
    pixels = np.full((210, 210, 3), 30, np.uint8)
    pixels[..., 2] = 90
    pixels[:90, :60] = (220, 20, 20)  # three by two of its seven by seven patches
    mine = tmp_path / "mine.png"
    Image.fromarray(pixels).save(mine)
    scope = Scope(clients, seeing, run)
    about = scope.about()
    assert (about["backbone"], about["shape"], about["names"][1]) == ("tiny", [], "tiny feature 1")
    model = load_model(BytesIO(clients.s3.get_object(Bucket=seeing.bucket, Key=places.params("looked"))["Body"].read()))
    epoch = about["model_epoch"]
    assert epoch is not None
    way = scope.photo(epoch, mine.read_bytes(), "mine.png")
    (said,) = predict_images(clients, seeing.bucket, "looked", [str(mine)], by)
    assert way["class_name"] == said["class_name"]  # type: ignore[typeddict-item]
    assert way["probabilities"][1] == pytest.approx(said["probability"], rel=1e-5)  # type: ignore[typeddict-item]
    assert way["unlike"] == said.get("unlike", False)
    # The same by hand: each patch in the photo's mean colour, and what the logit loses by it.
    mean = pixels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    hidden = []
    for patch in range(49):
        top, left = 30 * (patch // 7), 30 * (patch % 7)
        one = pixels.copy()
        one[top : top + 30, left : left + 30] = mean
        hidden.append(Image.fromarray(one))
    rows = expected([Image.fromarray(pixels), *hidden]).T.astype(model.params["W1"].dtype)
    logits = model.network.logits(model.params, model.params["W1"] @ rows + model.params["b1"])[-1]
    lost = (logits[0] - logits[1:]) * (1 if way["predicted"] == 1 else -1)
    shown = np.asarray(Image.open(BytesIO(base64.b64decode(way["spoke_picture"]))).convert("RGB"), int)
    assert shown.shape == (210, 210, 3)
    centres = shown[15::30, 15::30].reshape(49, 3)
    strong = np.abs(lost) > 0.3 * np.abs(lost).max()
    assert strong.sum() >= 2
    assert ((centres[strong, 0] > centres[strong, 2]) == (lost[strong] > 0)).all(), (
        "orange spoke for it, blue against it"
    )
    assert int(np.abs(centres - 247).sum(axis=1).argmax()) == int(np.abs(lost).argmax())
    with pytest.raises(InvalidImage, match=r"bad.png: not a picture"):
        scope.photo(epoch, b"no", "bad.png")


def test_a_data_set_of_pixels_becomes_one_of_features(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path, data: bytes
) -> None:
    file = tmp_path / "photos.h5"
    file.write_bytes(data)
    staged = stage(
        clients, seeing.bucket, "pixels", file, parameters_for, (), Options(backbone="tiny"),
        features_by=features_by(clients, seeing),
    )  # fmt: skip
    before = load_dataset(BytesIO(data))
    after = load_dataset(BytesIO(clients.s3.get_object(Bucket=seeing.bucket, Key=staged.dataset_key)["Body"].read()))
    np.testing.assert_array_equal(after.train.stored, expected([Image.fromarray(one) for one in before.train.stored]))
    np.testing.assert_array_equal(after.test.y, before.test.y)


def test_parameters_and_data_name_the_same_backbone(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    by = features_by(clients, seeing)
    folder = colours(tmp_path / "colours", 5)
    staged = stage(clients, seeing.bucket, "one", folder, parameters_for, (), Options(backbone="tiny"), features_by=by)
    other = staged.parameters.model_copy(update={"backbone": "other"})
    ledger = Ledger(clients.dynamodb, seeing.table)
    with pytest.raises(LaunchRejected, match=r"backbone: is other, but the data set has features of tiny"):
        runs.launch(clients, seeing, "two", staged.dataset_key, other)
    assert ledger.find("two") is None
    table = tmp_path / "table.csv"
    table.write_text("a,label\n" + "".join(f"{number},{number % 2}\n" for number in range(20)))
    with pytest.raises(InvalidDataset, match=r"table.csv: backbone: is a table \(leave backbone out: it sees photos"):
        stage(clients, seeing.bucket, "three", table, parameters_for, (), Options(backbone="tiny"), features_by=by)


def keys(clients: Clients, stack: StackOutputs, prefix: str) -> set[str]:
    """The keys of all versions below a prefix."""
    pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=stack.bucket, Prefix=prefix)
    return {item["Key"] for page in pages for item in (*page.get("Versions", []), *page.get("DeleteMarkers", []))}


def snn(stack: StackOutputs, *words: str, code: int = 0) -> Any:
    """What a command prints as JSON, or the error that it ends with."""
    environment = {**os.environ, "SNN_STACK_NAME": stack.stack_name, "COLUMNS": "300"}
    ended = CliRunner().invoke(app, [*words, *([] if code else ["--json"])], env=environment)
    assert ended.exit_code == code, f"{ended.stdout}\n{ended.stderr}"
    return ended.stderr if code else json.loads(ended.stdout)


def test_features_of_a_photo_of_a_run_and_of_a_backbone_are_deleted(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, forgotten: None, tmp_path: Path
) -> None:
    folder, by = colours(tmp_path / "colours", 6, seed=6), features_by(clients, seeing)
    options = Options(backbone="tiny", mirror=True)
    stage(clients, seeing.bucket, "forgetful", folder, parameters_for, (), options, features_by=by)
    other = pictures(1, seed=99)
    whole(Features(clients, seeing, reference).of(files(other)))
    prefix = places.features_of(reference.digest)

    def known() -> list[str]:
        """The photos in all packs, a photo's mirror image too."""
        return [photo for key in keys(clients, seeing, prefix) for photo in hints(key)]

    photo = folder / "red" / "0.png"
    mine = hashlib.sha256(photo.read_bytes()).hexdigest()
    before = known()
    assert (len(before), len(set(before))) == (23, 13)  # 10 of 12 are in the training part, and have mirror images
    gone = snn(seeing, "backbone", "forget", str(photo))["deleted"]
    assert gone == before.count(hint(mine)) in (1, 2)
    assert sorted(known()) == sorted(each for each in before if each != hint(mine))
    found, _ = whole(Features(clients, seeing, reference).of([(folder / "red" / "1.png").read_bytes]))
    np.testing.assert_array_equal(found, expected([Image.open(folder / "red" / "1.png")]))
    gone += snn(seeing, "backbone", "forget", "--run", "forgetful")["deleted"]
    assert gone == len(before) - 1
    theirs = hashlib.sha256(encoded(other[0], "PNG")).hexdigest()
    assert keys(clients, seeing, prefix) == {pack_key(places.features_of(reference.digest, False), [theirs])}
    assert snn(seeing, "backbone", "forget", "--backbone", "tiny")["deleted"] == 1
    assert keys(clients, seeing, prefix) == set()
    assert "run nothing: has no list of photos" in snn(seeing, "backbone", "forget", "--run", "nothing", code=1)
    assert "says nothing" in snn(seeing, "backbone", "forget", code=1)


def test_a_backbone_is_added_listed_used_and_removed_by_commands(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    file, folder = tmp_path / "of_mine.onnx", colours(tmp_path / "colours", 6)
    file.write_bytes(tiny(3))
    file.with_suffix(".json").write_text('{"height": 32, "width": 32}')
    added = snn(seeing, "backbone", "add", str(file))
    assert (added["name"], added["features"]) == ("of-mine", FEATURES)
    assert added["name"] in [each["name"] for each in snn(seeing, "backbone", "list")]
    run = snn(seeing, "train", "--dataset", str(folder), "--backbone", "of-mine", "--name", "by-mine")
    assert run["state"] == "COMPLETED"
    trained_with = Ledger(clients.dynamodb, seeing.table).get("by-mine").parameters
    assert trained_with is not None
    assert trained_with.backbone == "of-mine"
    assert run["invocations"]["feature"] == 2  # the training part, and the test part
    red, _ = photos = [str(folder / name / "3.png") for name in ("red", "blue")]
    answers = snn(seeing, "predict", *photos, "--run", "by-mine")
    assert {answer["uri"]: answer["class_name"] for answer in answers}[red] == "red"
    assert snn(seeing, "backbone", "remove", "of-mine") == {"removed": "of-mine", "deleted": 12}
    said = snn(seeing, "predict", red, "--run", "by-mine", code=1)
    assert f"backbone: this stack lacks of-mine ({added['digest']}) (add it: snn backbone add)" in said
    assert "'of-mine' is not among this stack's backbones" in snn(seeing, "backbone", "remove", "of-mine", code=1)


def test_features_have_a_budget_and_what_was_computed_is_kept(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, forgotten: None, tmp_path: Path
) -> None:
    folder = colours(tmp_path / "colours", 200)
    train = ["train", "--dataset", str(folder), "--backbone", "tiny"]
    said = snn(seeing, *train, "--max-usd", "0.000005", "--name", "dear", code=1)
    assert re.search(r"max_usd: 0\.0000\d+ of 0\.000005 USD is spent after \d+ photos' features \(raise it", said)
    assert keys(clients, seeing, "runs/dear/") == set()
    prefix = places.features_of(reference.digest)
    known = sum(len(hints(key)) for key in keys(clients, seeing, prefix))
    assert 0 < known < 400
    run = snn(seeing, *train, "--name", "dearer")
    assert run["invocations"]["feature"] >= (400 - known) // computing.PHOTOS_AT_ONCE
    assert sum(len(hints(key)) for key in keys(clients, seeing, prefix)) == 400


# Faults


def test_functions_that_are_killed_change_no_bit(clients: Clients, seeing: StackOutputs, features: Features) -> None:
    shown, killed = pictures(400, (300, 200)), 0
    with ThreadPoolExecutor(1) as pool:
        computing_it = pool.submit(lambda: whole(features.of(files(shown))))
        while not computing_it.done() and killed < 2:
            for pid in at_work(clients, seeing.feature_function)[:1]:
                os.kill(pid, signal.SIGKILL)
                killed += 1
        found, bad = computing_it.result(timeout=300)
    assert killed == 2
    assert bad == []
    np.testing.assert_array_equal(found, expected(shown))
    assert features.usage.invocations >= 13 + killed  # as many again as were killed


def test_a_photo_that_breaks_the_function_is_named(
    clients: Clients, seeing: StackOutputs, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that no function survives stands for a photo that does it: its content is no text."""
    original, shown = Features._ask, pictures(5)
    broken = hashlib.sha256(encoded(shown[3], "PNG")).hexdigest()

    def ask(self: Features, mirrored: bool, photos: list[PhotoTask]) -> dict[str, Any]:
        spoiled: Any = [
            {**photo, "content": 1} if photo["sha256"] == broken else photo for photo in photos
        ]  # b64decode raises TypeError, as a decoder's crash ends the invocation
        return original(self, mirrored, spoiled)

    monkeypatch.setattr(Features, "_ask", ask)
    found, bad = whole(features.of(files(shown)))
    assert [place for place, _ in bad] == [3]
    assert bad[0][1].startswith("breaks FeatureLambda: ")
    np.testing.assert_array_equal(found, expected([one for place, one in enumerate(shown) if place != 3]))
    assert features.usage.invocations == 3 + 4 + 3  # three times together, then each alone, that one three times


def test_a_function_that_always_fails_is_not_asked_photo_by_photo(
    clients: Clients, seeing: StackOutputs, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, asked = Features._ask, list[int]()

    def ask(self: Features, mirrored: bool, photos: list[PhotoTask]) -> dict[str, Any]:
        asked.append(len(photos))
        spoiled: Any = [{**photo, "content": 1} for photo in photos]
        return original(self, mirrored, spoiled)

    monkeypatch.setattr(Features, "_ask", ask)
    monkeypatch.setattr(computing, "PAUSES", ())
    with pytest.raises(CloudError, match=r"^FeatureLambda fails whatever the photo: "):
        whole(features.of(files(pictures(32))))
    assert asked == [32, 1, 1, 1]


def test_who_stops_listening_stops_the_work(features: Features) -> None:
    """As Ctrl-C does, or a killed task: what has begun ends, nothing more is begun."""
    computed = features.of(files(pictures(800, (300, 200))))
    next(computed)
    computed.close()
    invocations = features.usage.invocations
    assert 8 <= invocations < 25
    time.sleep(1)
    assert features.usage.invocations == invocations


def test_features_are_charged_to_the_run_they_were_computed_for_and_to_no_other(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, forgotten: None, tmp_path: Path
) -> None:
    options, by = Options(backbone="tiny"), features_by(clients, seeing)
    staged = stage(
        clients, seeing.bucket, "first", colours(tmp_path / "c", 10), parameters_for, (), options, features_by=by
    )
    assert trained(clients, seeing, staged).usage["feature"].invocations == 2
    runs.launch(clients, seeing, "second", staged.dataset_key, staged.parameters)
    run = runs.watch(clients, seeing, "second", lambda *_: None, every_seconds=0.1, limit_seconds=120)
    assert run.usage["feature"].invocations == 0


def test_a_pair_of_files_and_a_file_with_slices_become_features(
    clients: Clients, seeing: StackOutputs, reference: BackboneReference, tmp_path: Path
) -> None:
    random = np.random.default_rng(3)
    for part, count in (("train", 12), ("test", 6)):
        with h5py.File(tmp_path / f"{part}_pair.h5", "w") as h5:
            h5[f"{part}_set_x"] = random.integers(0, 256, (count, 20, 20, 3), np.uint8)
            h5[f"{part}_set_y"] = np.arange(count) % 2
            h5["list_classes"] = np.array([b"no", b"yes"])
            if part == "test":
                h5.create_dataset("test_set_slices", data=np.arange(count) % 3).attrs["slices_by"] = "camera"
                h5["list_slices"] = np.array([b"a", b"b", b"c"])
    by = features_by(clients, seeing)

    def made(file: Path, run_id: str) -> Any:
        options = Options(backbone="tiny")
        staged = stage(clients, seeing.bucket, run_id, file, parameters_for, (), options, features_by=by)
        stored = clients.s3.get_object(Bucket=seeing.bucket, Key=staged.dataset_key)["Body"].read()
        return load_dataset(BytesIO(stored))

    pair = made(tmp_path / "train_pair.h5", "of-a-pair")
    assert (pair.shape, len(pair.train), len(pair.test)) == ((FEATURES,), 12, 6)
    whole_file = tmp_path / "whole.h5"
    with h5py.File(whole_file, "w") as h5:
        for part in ("train", "test"):
            with h5py.File(tmp_path / f"{part}_pair.h5") as half:
                for name in half.keys() - h5.keys():
                    half.copy(name, h5)
    sliced = made(whole_file, "of-slices").slices
    assert (sliced.by, sliced.names) == ("camera", ("a", "b", "c"))
    np.testing.assert_array_equal(sliced.places, np.arange(6) % 3)


def test_a_pack_that_was_cut_off_is_computed_anew(clients: Clients, seeing: StackOutputs, features: Features) -> None:
    shown = pictures(3)
    first = whole(features.of(files(shown)))[0]
    (key,) = keys(clients, seeing, places.features_of(features.backbone.digest))
    content = clients.s3.get_object(Bucket=seeing.bucket, Key=key)["Body"].read()
    for broken in (b"", content[:-1], content[: len(content) // 2]):
        clients.s3.put_object(Bucket=seeing.bucket, Key=key, Body=broken)
        again = Features(clients, seeing, features.backbone)
        np.testing.assert_array_equal(whole(again.of(files(shown)))[0], first)
        assert again.computed == 3
    assert clients.s3.get_object(Bucket=seeing.bucket, Key=key)["Body"].read() == content


def test_mirror_images_have_features_of_their_own(clients: Clients, seeing: StackOutputs, features: Features) -> None:
    shown = pictures(3)
    found, _ = whole(features.of(files(shown), mirrored=True))
    np.testing.assert_array_equal(found, expected([ImageOps.mirror(one) for one in shown]))
    plain, _ = whole(features.of(files(shown)))
    np.testing.assert_array_equal(plain, expected(shown))
    assert features.computed == 6
