"""Data sets from scikit-image's photos and from folders, and what `snn dataset check` says of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from odd_photos import photos
from PIL import Image
from typer.testing import CliRunner

from snn.errors import InvalidDataset, InvalidInput
from snn_cli.datasets import app, build_faces, describe, sample_images
from snn_data.dataset import load_dataset
from snn_photos.reading import load_pixels

ITSACAT = Path(__file__).parents[3] / "shared" / "datasets" / "datasets.h5"
FACES_TRAIN_SHA256 = "6c7df03bee5a7346a8a4acd01e8108d7371b438ce312953403839678a6a025b9"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    photos(tmp_path / "photos" / "dogs", 10, (200, 0, 0), (30, 20))
    photos(tmp_path / "photos" / "cats", 25, (0, 200, 0), (30, 20))
    return tmp_path / "photos"


def test_faces_are_200_real_photos_split_evenly(tmp_path: Path) -> None:
    build_faces(tmp_path / "faces.h5")
    faces = load_dataset(tmp_path / "faces.h5")

    assert faces.classes == ("non-face", "face")
    assert faces.train.stored.shape == (160, 25, 25, 3)
    assert faces.test.stored.shape == (40, 25, 25, 3)
    assert (faces.train.y.sum(), faces.test.y.sum()) == (80, 20)
    assert faces.train.stored.min() == 0
    assert faces.train.stored.max() == 255
    assert (faces.train.stored == faces.train.stored[..., :1]).all()  # grey
    # No photo is in both sets. (Two of the 200 could be alike only if the source repeated one.)
    everything = np.concatenate([faces.train.stored, faces.test.stored]).reshape(200, -1)
    assert len(np.unique(everything, axis=0)) == 200
    # Faces are smooth in the middle and of middling grey; background is often black.
    middle = faces.train.stored[:, 8:17, 8:17].mean(axis=(1, 2, 3))
    labels = faces.train.y
    assert middle[labels == 1].mean() > middle[labels == 0].mean() + 20


def test_faces_are_the_same_every_time(tmp_path: Path) -> None:
    build_faces(tmp_path / "a.h5")
    build_faces(tmp_path / "b.h5")
    a, b = load_dataset(tmp_path / "a.h5"), load_dataset(tmp_path / "b.h5")
    for one, other in ((a.train, b.train), (a.test, b.test)):
        np.testing.assert_array_equal(one.stored, other.stored)
        np.testing.assert_array_equal(one.y, other.y)
    assert hashlib.sha256(a.train.stored.tobytes()).hexdigest() == FACES_TRAIN_SHA256


def test_sample_images_are_real_photos(tmp_path: Path) -> None:
    paths = sample_images(tmp_path / "photos")

    assert [path.name for path in paths] == [
        "astronaut-face.png",
        "astronaut.png",
        "cat.png",
        "coffee.png",
        "rocket.jpg",
    ]
    sizes = []
    for path in paths:
        with Image.open(path) as picture:
            sizes.append((picture.format, picture.size))
        assert load_pixels(path, (25, 25, 3)).std() > 20
    assert sizes == [
        ("PNG", (120, 120)),
        ("PNG", (512, 512)),
        ("PNG", (451, 300)),
        ("PNG", (600, 400)),
        ("JPEG", (640, 427)),
    ]


def test_photos_become_a_file_that_says_what_it_holds(two_classes: Path, tmp_path: Path) -> None:
    words = ("--size", 8, "--test-share", 0.4, "--seed", 3, "--classes", "dogs,cats", "--fit", "pad")
    said = run("make", two_classes, tmp_path / "deep" / "own.h5", *words)
    assert "0 = dogs  1 = cats" in said
    assert "8×8 pixels, 3 colours: 192 inputs" in said
    assert "21 (6 dogs, 15 cats)" in said
    assert "14 (4 dogs, 10 cats)" in said
    assert run("check", tmp_path / "deep" / "own.h5") == said
    own = load_dataset(tmp_path / "deep" / "own.h5")
    assert (own.train.stored[:, 0] == 0).all()  # the border
    assert own.photos == '{"fit": "pad", "bits": 0}'


def test_a_data_set_is_copied_as_it_is(tmp_path: Path) -> None:
    build_faces(tmp_path / "faces.h5")
    run("make", tmp_path / "faces.h5", tmp_path / "copy.h5")
    assert (tmp_path / "copy.h5").read_bytes() == (tmp_path / "faces.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.h5", "faces.h5"]


def test_what_is_refused_leaves_the_old_file(two_classes: Path, tmp_path: Path) -> None:
    (tmp_path / "own.h5").write_bytes(b"the old file")
    (two_classes / "cats" / "notes.txt").write_text("feed her")
    with pytest.raises(InvalidDataset, match=r"1 of 36 files are no usable pictures: cats/notes\.txt: not a picture"):
        run("make", two_classes, tmp_path / "own.h5")
    with pytest.raises(InvalidInput, match=r"^classes: names a, b; the classes are|photos: classes: names a, b; "):
        run("make", two_classes, tmp_path / "own.h5", "--skip-bad", "--classes", "a,b")
    assert (tmp_path / "own.h5").read_bytes() == b"the old file"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.h5", "photos"]
    run("make", two_classes, tmp_path / "own.h5", "--skip-bad")
    assert len(load_dataset(tmp_path / "own.h5").train) == 28


def pair(folder: Path, classes: tuple[str, ...] = ("non-cat", "cat")) -> tuple[Path, Path]:
    """Write the two files of the course, as it made them: labels and photos of one part each."""
    folder.mkdir()
    files = folder / "train_catvnoncat.h5", folder / "test_catvnoncat.h5"
    for part, file, count in (("train", files[0], 9), ("test", files[1], 4)):
        with h5py.File(file, "w") as h5:
            h5[f"{part}_set_x"] = np.arange(count, dtype=np.uint8).repeat(48).reshape(count, 4, 4, 3)
            h5[f"{part}_set_y"] = np.arange(count) % 2
            h5["list_classes"] = np.array([name.encode() for name in classes])
    return files


@pytest.mark.parametrize("given", ["train", "test", "folder"])
def test_the_course_s_pair_of_files_is_one_data_set(given: str, tmp_path: Path) -> None:
    train, test = pair(tmp_path / "course")
    run("make", {"train": train, "test": test, "folder": train.parent}[given], tmp_path / "cats.h5")
    cats = load_dataset(tmp_path / "cats.h5")
    assert cats.classes == ("non-cat", "cat")
    for part, count in ((cats.train, 9), (cats.test, 4)):
        assert part.stored[:, 0, 0, 0].tolist() == list(range(count))
        assert part.y.tolist() == [number % 2 for number in range(count)]


def test_a_pair_that_is_none(tmp_path: Path) -> None:
    train, test = pair(tmp_path / "course")
    with h5py.File(test, "a") as h5:
        del h5["list_classes"]
        h5["list_classes"] = np.array([b"cat", b"non-cat"])
    with pytest.raises(InvalidDataset, match=r"test_catvnoncat\.h5: list_classes: has other classes than train_cat"):
        run("make", train, tmp_path / "cats.h5")
    test.unlink()
    with pytest.raises(InvalidDataset, match=r"train_catvnoncat\.h5: test_set_x: is missing"):
        run("make", train, tmp_path / "cats.h5")


def test_a_failed_write_leaves_the_old_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "faces.h5"
    out.write_bytes(b"the old file")

    def full_disk(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr("snn_cli.datasets.save_dataset", full_disk)
    with pytest.raises(OSError, match="no space left"):
        build_faces(out)
    assert out.read_bytes() == b"the old file"
    assert [path.name for path in tmp_path.iterdir()] == ["faces.h5"]


def test_the_commands(tmp_path: Path) -> None:
    faces = run("faces", tmp_path / "faces.h5")
    assert "160 (80 non-face, 80 face)" in faces
    assert "itsacat's  no" in faces
    assert len(run("samples", tmp_path / "photos").splitlines()) == 5


@pytest.mark.skipif(not ITSACAT.exists(), reason="itsacat's datasets.h5 is not beside the project")
def test_itsacats_file_is_recognised() -> None:
    assert describe(ITSACAT).splitlines()[1:] == [
        "classes    0 = non-cat  1 = cat",
        "photos     64×64 pixels, 3 colours: 12,288 inputs",
        "train      209 (137 non-cat, 72 cat)",
        "test       50 (17 non-cat, 33 cat)",
        "sha256     24eff5d858a0f6c929f531ff721bcee60646ede1a99bce9de7d05c18128e057f",
        "itsacat's  yes, byte for byte",
    ]


def test_a_file_that_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_text("hello")
    with pytest.raises(InvalidDataset, match=r"x\.h5: "):
        describe(tmp_path / "x.h5")
    with pytest.raises(InvalidDataset, match=r"y\.h5: no such file$"):
        describe(tmp_path / "y.h5")
