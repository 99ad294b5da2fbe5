"""Real photos by the built-in backbone, as JPEG files: the head beside scikit-learn, and beside a network of pixels."""

from __future__ import annotations

import os
import tarfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
from long.test_real_photos import learned, snn
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_data.dataset import load_dataset

SHARED = Path(__file__).parents[3] / "shared" / "datasets"
BACKBONE = "efficientnet-lite0"
SIZES = {"train": 5_000, "test": 2_000}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "cifar10.tar.xz").exists(), reason="the archives are not beside the project"),
]


@pytest.fixture(scope="module")
def seeing(clients: Clients) -> StackOutputs:
    wanted = StackOptions.from_environment(stack_name="snn-long-seeing", with_cache=False, with_features=True)
    return deploy_stack(clients, wanted)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of JPEG files: of each part as many of each class as there is room for."""
    folder, kept = tmp_path_factory.mktemp("cifar") / "cifar", dict[tuple[str, str], int]()
    with tarfile.open(SHARED / "cifar10.tar.xz") as archive:
        for item in archive:
            _, part, name, file = (*Path(item.name).parts, "", "", "")[:4]
            if not item.isfile() or part not in SIZES or kept.get((part, name), 0) >= SIZES[part] // 10:
                continue
            kept[part, name] = kept.get((part, name), 0) + 1
            target = folder / part / name / f"{Path(file).stem}.jpg"
            target.parent.mkdir(parents=True, exist_ok=True)
            content: Any = archive.extractfile(item)
            Image.open(BytesIO(content.read())).convert("RGB").save(target, "JPEG", quality=95)
    assert sum(kept.values()) == 7_000
    return folder


def test_cifar_10_by_features_of_its_photos(seeing: StackOutputs, clients: Clients, photos: Path) -> None:
    began = time.monotonic()
    run, accuracy = learned(seeing, "seen", "--dataset", str(photos), "--backbone", BACKBONE)
    seconds = time.monotonic() - began
    assert run["invocations"]["feature"] >= 7_000 // 32
    ledger = Ledger(clients.dynamodb, seeing.table)
    stored = clients.s3.get_object(Bucket=seeing.bucket, Key=ledger.get("seen").dataset)["Body"].read()
    data = load_dataset(BytesIO(stored))
    assert (len(data.train), len(data.test), data.features) == (5_000, 2_000, 1_280)
    scaled = StandardScaler().fit(data.train.stored)
    theirs = max(
        LogisticRegression(C=strength, max_iter=2_000)
        .fit(scaled.transform(data.train.stored), data.train.y)
        .score(scaled.transform(data.test.stored), data.test.y)
        for strength in (0.001, 0.01, 0.1)
    )
    again, same = learned(seeing, "seen-again", "--dataset", str(photos), "--backbone", BACKBONE)
    _, pixels = learned(seeing, "pixels", "--dataset", str(photos), "--backbone", "none")
    print(  # noqa: T201
        f"CIFAR-10, 5,000 photos: head {accuracy:.4f}, logistic regression {theirs:.4f}, pixels {pixels:.4f}; "
        f"{seconds:.0f} s, {run['usd']:.4f} USD; on {os.cpu_count()} processors"
    )
    assert same == accuracy
    assert again["invocations"].get("feature", 0) == 0
    of_pixels = ledger.get("pixels").parameters
    assert of_pixels is not None
    assert of_pixels.backbone is None
    assert accuracy >= theirs - 0.01
    assert accuracy >= pixels + 0.2
    assert np.isfinite(snn(seeing, "evaluate", "seen", "--json")["log_loss"])


# scikit-image's own pictures, but for its cat and further views of the same.
THINGS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chessboard_RGB.png", "clock_motion.png", "coffee.png",
    "coins.png", "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "logo.png",
    "microaneurysms.png", "moon.png", "page.png", "phantom.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip


@pytest.mark.skipif(not (SHARED / "datasets.h5").exists(), reason="itsacat's photos are not beside the project")
def test_things_of_no_class_are_unlike_and_photos_like_those_learned_are_not(
    seeing: StackOutputs, tmp_path: Path
) -> None:
    learned(seeing, "cats", "--dataset", str(SHARED / "datasets.h5"), "--backbone", BACKBONE)
    folder = Path(skimage.__file__).with_name("data")
    things = snn(seeing, "predict", *[str(folder / name) for name in THINGS], "--run", "cats", "--json")
    strange = [Path(one["uri"]).stem for one in things if one.get("unlike")]
    photos = load_dataset(SHARED / "datasets.h5").test.stored
    for number, photo in enumerate(photos):
        Image.fromarray(photo).save(tmp_path / f"{number:02}.png")
    usual = snn(seeing, "predict", str(tmp_path), "--run", "cats", "--json")
    wrongly = [Path(one["uri"]).stem for one in usual if one.get("unlike")]
    print(f"unlike: {len(strange)} of {len(THINGS)} things, {len(wrongly)} of {len(photos)} test photos")  # noqa: T201
    assert len(usual) == 50
    assert len(strange) >= 18, sorted({Path(name).stem for name in THINGS} - {*strange})
    assert len(wrongly) <= 2, wrongly
    (cat,) = snn(seeing, "predict", str(folder / "chelsea.png"), "--run", "cats", "--json")
    assert cat["class_name"] == "cat"
