"""Data sets from scikit-image's photos and from folders, and what `snn dataset check` says of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from snn.errors import InvalidDataset
from snn_cli.datasets import app, build_faces, build_from_folder, describe, sample_images
from snn_client.data.images import load_pixels
from snn_data.dataset import load_dataset

ITSACAT = Path(__file__).parents[3] / "shared" / "datasets" / "datasets.h5"
FACES_TRAIN_SHA256 = "6c7df03bee5a7346a8a4acd01e8108d7371b438ce312953403839678a6a025b9"


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def photos(folder: Path, count: int, colour: tuple[int, int, int], kind: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        Image.new("RGB", (30, 20), (*colour[:2], number)).save(folder / f"{number:03}.{kind}")


@pytest.fixture
def two_classes(tmp_path: Path) -> Path:
    photos(tmp_path / "photos" / "dogs", 10, (200, 0, 0))
    photos(tmp_path / "photos" / "cats", 25, (0, 200, 0))
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


def test_a_folder_a_class_in_alphabetical_order(two_classes: Path, tmp_path: Path) -> None:
    build_from_folder(two_classes, tmp_path / "own.h5", size=16)
    own = load_dataset(tmp_path / "own.h5")

    assert own.classes == ("cats", "dogs")
    assert own.shape == (16, 16, 3)
    assert (own.train.y.size, own.test.y.size) == (28, 7)
    assert (own.train.y.sum(), own.test.y.sum()) == (8, 2)  # a fifth of each class is in the test set
    for pixels, labels in ((own.train.stored, own.train.y), (own.test.stored, own.test.y)):
        for pixel, label in zip(pixels, labels, strict=True):
            assert tuple(pixel[0, 0][:2]) == ((200, 0) if label else (0, 200))
    numbers = [
        (int(label), int(pixel[0, 0, 2]))
        for pixel, label in zip(
            np.concatenate([own.train.stored, own.test.stored]),
            np.concatenate([own.train.y, own.test.y]),
            strict=True,
        )
    ]
    assert sorted(numbers) == [(0, n) for n in range(25)] + [(1, n) for n in range(10)]  # each photo once


def test_the_split_depends_on_the_seed_alone(two_classes: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_from_folder(two_classes, tmp_path / f"{name}.h5", size=4, seed=seed)
    a, b, c = (load_dataset(tmp_path / f"{name}.h5") for name in "abc")
    np.testing.assert_array_equal(a.test.stored, b.test.stored)
    assert not np.array_equal(a.test.stored, c.test.stored)


def test_two_photos_a_class_are_enough_and_one_is_not(tmp_path: Path) -> None:
    photos(tmp_path / "in" / "a", 2, (1, 2, 0))
    photos(tmp_path / "in" / "b", 2, (3, 4, 0))
    build_from_folder(tmp_path / "in", tmp_path / "own.h5", size=2, test_share=0.01)
    own = load_dataset(tmp_path / "own.h5")
    assert (own.train.y.tolist(), own.test.y.size) in (([0, 1], 2), ([1, 0], 2))

    (tmp_path / "in" / "b" / "001.png").unlink()
    with pytest.raises(InvalidDataset, match="b: 1 photos"):
        build_from_folder(tmp_path / "in", tmp_path / "own.h5")


def test_every_bad_file_is_named_and_nothing_is_written(two_classes: Path, tmp_path: Path) -> None:
    (two_classes / "cats" / "notes.txt").write_text("feed her")
    (two_classes / "dogs" / "old").mkdir()
    whole = (two_classes / "dogs" / "000.png").read_bytes()
    (two_classes / "dogs" / "old" / "half.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(InvalidDataset) as caught:
        build_from_folder(two_classes, tmp_path / "own.h5")

    assert str(caught.value) == (
        f"{two_classes}: 2 of 37 files are not usable pictures: cats/notes.txt: not a picture; "
        "dogs/old/half.png: the picture is cut off or damaged (remove them from the folder)"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_file_managers_leave_behind_is_passed_over(two_classes: Path, tmp_path: Path) -> None:
    (two_classes / "cats" / ".DS_Store").write_bytes(b"\0")
    (two_classes / "cats" / "Thumbs.db").write_bytes(b"\0")
    (two_classes / ".git").mkdir()
    build_from_folder(two_classes, tmp_path / "own.h5", size=2)
    assert len(load_dataset(tmp_path / "own.h5").train) == 28


@pytest.mark.parametrize(("folders", "found"), [([], "none"), (["a"], "a"), (["a", "b", "c"], "a, b, c")])
def test_two_folders_are_two_classes(folders: list[str], found: str, tmp_path: Path) -> None:
    for name in folders:
        photos(tmp_path / name, 3, (0, 0, 0))
    with pytest.raises(InvalidDataset, match=f"expected two folders, one for each class; found {found}$"):
        build_from_folder(tmp_path, tmp_path / "own.h5")
    with pytest.raises(InvalidDataset, match="not a folder"):
        build_from_folder(tmp_path / "nowhere", tmp_path / "own.h5")


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


def test_the_commands(two_classes: Path, tmp_path: Path) -> None:
    made = run("from-folder", two_classes, tmp_path / "deep" / "own.h5", "--size", 8, "--test-share", 0.4, "--seed", 3)
    assert "0 = cats  1 = dogs" in made
    assert "8×8 pixels, 3 colours: 192 inputs" in made
    assert "21 (15 cats, 6 dogs)" in made
    assert "14 (10 cats, 4 dogs)" in made
    assert run("check", tmp_path / "deep" / "own.h5") == made

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
