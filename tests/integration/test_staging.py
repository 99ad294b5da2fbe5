"""Staging into a real (emulated) versioned bucket: what arrives, what is not sent twice, and that a mistake or a
failure leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import h5py
import oracle
import pytest
from botocore.exceptions import ClientError

from snn.errors import InvalidDataset, InvalidImage, InvalidInput
from snn_cli.datasets import build_faces, sample_images
from snn_cli.local.emulator import Emulator
from snn_client.data.staging import StagedImage, read_source, stage
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset
from snn_photos.reading import load_image

PARAMETERS = Parameters.load(oracle.small_network((4, 1), ("relu", "sigmoid")))


@dataclass
class Bucket:
    """A bucket of its own for each test, and a record of what was put into it; `fail` makes the n-th put fail."""

    clients: Clients
    name: str
    puts: list[str] = field(default_factory=list)
    fail: dict[int, Exception] = field(default_factory=dict)
    lose_answer: bool = False

    def _before(self, params: dict[str, Any], **_: object) -> None:
        self.puts.append(params["url_path"].partition("/runs/")[2])
        if len(self.puts) in self.fail and not self.lose_answer:
            raise self.fail[len(self.puts)]

    def _after(self, **_: object) -> None:
        if len(self.puts) in self.fail and self.lose_answer:
            raise self.fail[len(self.puts)]

    def watch(self) -> None:
        events = self.clients.s3.meta.events
        events.register("before-call.s3.PutObject", self._before)
        events.register("after-call.s3.PutObject", self._after)

    def contents(self) -> list[str]:
        """Every version and every delete marker: what is really there."""
        answer = self.clients.s3.list_object_versions(Bucket=self.name)
        return sorted(item["Key"] for item in [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])])

    def read(self, key: str) -> bytes:
        return self.clients.s3.get_object(Bucket=self.name, Key=key)["Body"].read()


@pytest.fixture(params=["versioned", "plain"])
def bucket(emulator: Emulator, request: pytest.FixtureRequest) -> Bucket:
    bucket = Bucket(Clients(boto3.client), f"staging-{uuid.uuid4().hex[:12]}")
    bucket.clients.s3.create_bucket(Bucket=bucket.name)
    if request.param == "versioned":
        bucket.clients.s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    bucket.watch()
    return bucket


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [str(path) for path in sample_images(tmp_path_factory.mktemp("photos"))]


def test_what_is_staged_is_what_was_given(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    sha256 = hashlib.sha256(faces.read_bytes()).hexdigest()

    staged = stage(bucket.clients, bucket.name, "run-1", str(faces), PARAMETERS, photos[:2])

    assert staged.run_id == "run-1"
    assert staged.sha256 == sha256
    assert staged.dataset_key == f"runs/run-1/input/datasets-{sha256[:12]}.h5"
    assert staged.parameters_key == "runs/run-1/input/parameters.json"
    first = f"s3://{bucket.name}/runs/run-1/input/images/0000-astronaut-face.png"
    assert staged.images[0] == StagedImage(uri=first, name=photos[0])
    assert json.loads(json.dumps(staged.to_dict()))["images"][0] == {"uri": first, "name": photos[0]}
    assert bucket.contents() == sorted(
        [
            staged.dataset_key,
            "runs/run-1/input/images/0000-astronaut-face.png",
            "runs/run-1/input/images/0001-astronaut.png",
            "runs/run-1/input/parameters.json",
        ]
    )
    assert bucket.read(staged.dataset_key) == faces.read_bytes()
    assert Parameters.load(bucket.read(staged.parameters_key)) == PARAMETERS
    assert bucket.read("runs/run-1/input/images/0001-astronaut.png") == Path(photos[1]).read_bytes()


def test_the_same_again_uploads_nothing(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    first = stage(bucket.clients, bucket.name, "run-1", str(faces), PARAMETERS, photos[:1])
    assert len(bucket.puts) == 3
    assert stage(bucket.clients, bucket.name, "run-1", str(faces), PARAMETERS, photos[:1]) == first
    assert len(bucket.puts) == 3


def test_only_what_changed_is_uploaded(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    stage(bucket.clients, bucket.name, "run-1", str(faces), PARAMETERS, photos[:1])
    bucket.puts.clear()

    changed = PARAMETERS.model_copy(update={"epochs": 9})
    stage(bucket.clients, bucket.name, "run-1", str(faces), changed, photos[:1])

    assert bucket.puts == ["run-1/input/parameters.json"]
    assert Parameters.load(bucket.read("runs/run-1/input/parameters.json")).epochs == 9


def test_files_may_lie_in_s3_already(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    s3 = bucket.clients.s3
    s3.put_object(Bucket=bucket.name, Key="shelf/faces.h5", Body=faces.read_bytes())
    s3.put_object(Bucket=bucket.name, Key="shelf/a cat.png", Body=Path(photos[2]).read_bytes())

    staged = stage(
        bucket.clients,
        bucket.name,
        "run-1",
        f"s3://{bucket.name}/shelf/faces.h5",
        PARAMETERS,
        [f"s3://{bucket.name}/shelf/a cat.png"],
    )

    assert staged.images == [
        StagedImage(
            uri=f"s3://{bucket.name}/runs/run-1/input/images/0000-a_cat.png",
            name=f"s3://{bucket.name}/shelf/a cat.png",
        )
    ]
    assert load_dataset(BytesIO(bucket.read(staged.dataset_key))).classes == ("non-face", "face")


def without_test_labels(faces: Path, tmp_path: Path) -> str:
    path = tmp_path / "no-labels.h5"
    path.write_bytes(faces.read_bytes())
    with h5py.File(path, "a") as file:
        del file["test_set_y"]
    return str(path)


def test_a_data_set_without_test_labels_leaves_nothing(bucket: Bucket, faces: Path, tmp_path: Path) -> None:
    path = without_test_labels(faces, tmp_path)
    with pytest.raises(InvalidDataset, match=r"no-labels\.h5: test_set_y: ") as caught:
        stage(bucket.clients, bucket.name, "run-1", path, PARAMETERS, [])
    assert "\n" not in str(caught.value)
    assert (bucket.puts, bucket.contents()) == ([], [])


def test_a_file_that_is_no_data_set_leaves_nothing(bucket: Bucket, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_text("not HDF5")
    with pytest.raises(InvalidDataset, match=r"x\.h5: "):
        stage(bucket.clients, bucket.name, "run-1", path, PARAMETERS, [])
    assert bucket.contents() == []


def test_an_image_that_is_no_image_leaves_nothing(
    bucket: Bucket, faces: Path, photos: list[str], tmp_path: Path
) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("no picture")
    with pytest.raises(InvalidImage, match=rf"^{notes}: not a picture \(give a JPEG"):
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, [photos[0], str(notes)])
    assert (bucket.puts, bucket.contents()) == ([], [])


def test_all_photos_that_cannot_be_used_are_named(
    bucket: Bucket, faces: Path, photos: list[str], tmp_path: Path
) -> None:
    notes, empty, gone = tmp_path / "notes.txt", tmp_path / "empty.png", f"s3://{bucket.name}/gone.png"
    notes.write_text("no picture")
    empty.touch()
    given = [photos[0], str(notes), photos[1], gone, *photos[2:], str(empty), *photos]
    with pytest.raises(InvalidImage) as caught:
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, given)
    assert str(caught.value) == (
        f"3 of {len(given)} photos cannot be used: {notes}: not a picture; {gone}: no such object in S3; "
        f"{empty}: the file is empty (replace them, or leave them out)"
    )
    assert (bucket.puts, bucket.contents()) == ([], [])


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/nowhere/faces.h5", "/nowhere/faces.h5: no such file or directory (check the path)"),
        ("s3://{bucket}/nowhere.h5", "s3://{bucket}/nowhere.h5: no such object in S3"),
        (
            "s3://no-such-bucket-of-ours/x.h5",
            "s3://no-such-bucket-of-ours/x.h5: no such bucket in S3 (check the address)",
        ),
        ("s3://{bucket}", "s3://{bucket}: not an address in S3 (write s3://bucket/key)"),
    ],
)
def test_a_file_that_is_not_there(bucket: Bucket, path: str, line: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        stage(bucket.clients, bucket.name, "run-1", path.format(bucket=bucket.name), PARAMETERS, [])
    assert str(caught.value) == line.format(bucket=bucket.name)


def test_a_run_id_that_would_leave_the_runs_folder(bucket: Bucket, faces: Path) -> None:
    with pytest.raises(InvalidInput, match="is not a run id"):
        stage(bucket.clients, bucket.name, "../training_input", faces, PARAMETERS, [])
    assert bucket.contents() == []


@pytest.mark.parametrize("lost", [False, True], ids=["refused", "answer lost"])
@pytest.mark.parametrize("put", [1, 2, 4])
def test_a_failure_midway_removes_what_was_uploaded(
    bucket: Bucket, faces: Path, photos: list[str], put: int, lost: bool
) -> None:
    denied = ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "PutObject")
    bucket.fail, bucket.lose_answer = {put: denied}, lost

    with pytest.raises(ClientError):
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, photos[:2])
    assert bucket.contents() == []

    bucket.fail = {}
    stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, photos[:2])
    assert len(bucket.contents()) == 4


def test_a_task_killed_midway_tidies_up_too(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    bucket.fail = {3: KeyboardInterrupt()}  # type: ignore[dict-item]
    with pytest.raises(KeyboardInterrupt):
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, photos[:2])
    assert bucket.contents() == []


def test_what_an_earlier_call_uploaded_survives_a_failure(bucket: Bucket, faces: Path, photos: list[str]) -> None:
    stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, [])
    before = bucket.contents()
    bucket.fail = {len(bucket.puts) + 1: RuntimeError("killed")}
    with pytest.raises(RuntimeError, match="killed"):
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, photos[:1])
    assert bucket.contents() == before


def test_a_file_that_changes_meanwhile_is_noticed(
    bucket: Bucket, faces: Path, photos: list[str], tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(Path(photos[0]).read_bytes())

    def change(**_: object) -> None:
        photo.write_bytes(Path(photos[1]).read_bytes())

    bucket.clients.s3.meta.events.register("before-call.s3.PutObject", change)
    with pytest.raises(InvalidInput, match=r"photo\.png: changed while it was being staged \(try again\)"):
        stage(bucket.clients, bucket.name, "run-1", faces, PARAMETERS, [str(photo)])
    assert bucket.contents() == []


def test_itsacats_files_if_they_are_here(bucket: Bucket) -> None:
    shared = Path(__file__).parents[3] / "shared"
    if not (shared / "datasets" / "datasets.h5").exists():
        pytest.skip("itsacat's datasets.h5 is not beside the project")
    photo = str(shared / "images" / "not_a_cat.jpeg")

    staged = stage(bucket.clients, bucket.name, "run-1", shared / "datasets" / "datasets.h5", PARAMETERS, [photo])

    assert staged.sha256 == "24eff5d858a0f6c929f531ff721bcee60646ede1a99bce9de7d05c18128e057f"
    key = staged.images[0].uri.removeprefix(f"s3://{bucket.name}/")
    assert bucket.clients.s3.head_object(Bucket=bucket.name, Key=key)["ContentLength"] == 636273
    assert load_image(photo, (64, 64, 3)).shape == (12288, 1)


def test_one_version_is_read_whatever_lies_there_now(bucket: Bucket) -> None:
    key = "input/my cats/café.h5"
    first = bucket.clients.s3.put_object(Bucket=bucket.name, Key=key, Body=b"one").get("VersionId", "null")
    bucket.clients.s3.put_object(Bucket=bucket.name, Key=key, Body=b"two")
    address = f"s3://{bucket.name}/{key}"
    assert read_source(bucket.clients.s3, address) == b"two"
    if first != "null":
        assert read_source(bucket.clients.s3, f"{address}?versionId={first}") == b"one"
        bucket.clients.s3.delete_object(Bucket=bucket.name, Key=key, VersionId=first)
        with pytest.raises(InvalidInput, match=r"café\.h5\?versionId=.*: no such object in S3"):
            read_source(bucket.clients.s3, f"{address}?versionId={first}")
