"""Data sets made of folders of photos: every odd folder and every odd file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from odd_photos import BLUE, GREEN, HEIC, KINDS, RED, encoded, flat, hundred, made, one_colour, photos, sixteen
from PIL import Image

from snn.errors import InvalidDataset, InvalidInput
from snn_client.data import photos as making
from snn_client.data.options import Options


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    photos(tmp_path / "pets" / "dogs", 10, BLUE)
    photos(tmp_path / "pets" / "cats", 25, GREEN)
    return tmp_path / "pets"


# ---- which files are of which class, and which part ------------------------------------------------------------------


def test_every_kind_of_file_shows_what_it_shows(tmp_path: Path) -> None:
    for name, make in KINDS.items():
        for folder in ("a", "b"):
            (tmp_path / "in" / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / folder / name).write_bytes(make())

    data, heard = made(tmp_path / "in", tmp_path / "out")

    assert data.shape == (8, 12, 3)
    assert len(data.train) + len(data.test) == 2 * len(KINDS)
    assert heard.notes == []
    everything = np.concatenate([data.train.stored, data.test.stored])
    wrong = [one_colour(pixels) for pixels in everything if np.abs(np.array(one_colour(pixels)) - RED).max() > 9]
    assert wrong == []


def test_a_hundred_odd_files(tmp_path: Path) -> None:
    """A folder a file, so that the class tells which it is."""
    files = hundred()
    assert len(files) >= 100
    for name, (content, _) in files.items():
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "in" / name / str(number)).write_bytes(content)
    data, _ = made(tmp_path / "in", tmp_path / "out")
    assert data.shape == (10, 10, 3)
    assert data.classes == tuple(sorted(files))
    wrong = {
        data.classes[label]: one_colour(pixels)
        for pixels, label in zip(data.train.stored, data.train.y, strict=True)
        if np.abs(np.array(one_colour(pixels)) - files[data.classes[label]][1]).max() > 9
    }
    assert wrong == {}


def test_k_folders_are_k_classes_in_the_order_of_their_names(tmp_path: Path) -> None:
    for number, name in enumerate(("Zebra", "ant", "Bee", "cow")):
        photos(tmp_path / "in" / name, 3, (number, 0, 0))
    data, _ = made(tmp_path / "in", tmp_path / "out", test_share=0.4)
    assert data.classes == ("ant", "Bee", "cow", "Zebra")
    assert (len(data.train), len(data.test)) == (8, 4)
    for part in (data.train, data.test):
        for pixels, label in zip(part.stored, part.y, strict=True):
            assert pixels[0, 0, 0] == [1, 2, 3, 0][label]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (("cat", "non-cat"), ("non-cat", "cat")),
        (("not_spam", "spam"), ("not_spam", "spam")),
        (("Face", "NON FACE"), ("NON FACE", "Face")),
        (("no-tumor", "tumor"), ("no-tumor", "tumor")),
        (("cat", "noncat"), ("noncat", "cat")),
        (("cat", "non-dog"), ("cat", "non-dog")),
        (("10", "9"), ("9", "10")),
    ],
)
def test_of_a_pair_the_positive_one_is_class_1(tmp_path: Path, names: tuple[str, str], order: tuple[str, str]) -> None:
    for name in names:
        photos(tmp_path / "in" / name, 2)
    assert made(tmp_path / "in", tmp_path / "out")[0].classes == order


def test_classes_may_be_named_in_their_order(pets: Path, tmp_path: Path) -> None:
    data, _ = made(pets, tmp_path / "out", classes="dogs, cats")
    assert data.classes == ("dogs", "cats")
    assert np.bincount(data.train.y).tolist() == [8, 20]
    for wrong in ("dogs", "dogs,cats,birds", "dogs,dogs"):
        with pytest.raises(InvalidInput, match=r"pets: classes: names dogs.*; the classes are cats, dogs \(name each"):
            made(pets, tmp_path / "out", classes=wrong)


@pytest.mark.parametrize(
    "names", [("train", "test", "validation"), ("Training", "TEST", "val"), ("train_set", "test-set", "dev")]
)
def test_folders_of_parts_are_no_classes(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for part, count in zip(names, (6, 2, 3), strict=True):
        photos(tmp_path / "in" / part / "cat", count, GREEN)
        photos(tmp_path / "in" / part / "dog", count + 1, BLUE)
    data, _ = made(tmp_path / "in", tmp_path / "out")
    assert data.classes == ("cat", "dog")
    assert data.validation is not None
    counts = [np.bincount(part.y).tolist() for part in (data.train, data.test, data.validation)]
    assert counts == [[6, 7], [2, 3], [3, 4]]


def test_a_validation_part_is_no_test_part(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3)):
        for name in ("a", "b"):
            photos(tmp_path / "in" / part / name, count)
    data, _ = made(tmp_path / "in", tmp_path / "out")
    assert data.validation is not None
    assert (len(data.train), len(data.test), len(data.validation)) == (16, 4, 6)


def test_a_class_called_train_is_one(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        photos(tmp_path / "in" / name, 3)
    assert made(tmp_path / "in", tmp_path / "out")[0].classes == ("bus", "car", "train")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), r"in: expected folders, one for each class; found nothing"),
        (("a/1.png",), r"in: expected two folders or more, one for each class; found a"),
        (
            ("1.png", "2.png"),
            r"in: expected folders, one for each class; found 2 files and no folders \(sort the photos",
        ),
        (("train/a/1.png", "train/b/1.png", "test/1.png"), r"in/test: expected folders.* found 1 files and no folders"),
        (("train/a/1.png", "train/b/1.png", "test/c/1.png"), r"in: c: the class is in the test part and not in the tr"),
        (
            ("train/a/1.png", "test/a/1.png", "more/a/1.png"),
            r"holds train, test, which hold classes, and beside them more",
        ),
        (("a/1.png", "a/2.png", "b/x/.hidden"), r"in/b: holds no photos \(take the folder away\)"),
        (("a/1.png", "a/2.png", "b/1.png"), r"in: b: 1 photos \(at least 2 are needed, one to train and one to test\)"),
    ],
)
def test_what_is_no_folder_of_classes(tmp_path: Path, files: tuple[str, ...], message: str) -> None:
    (tmp_path / "in").mkdir()
    for name in files:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(KINDS["a.png"]())
    with pytest.raises(InvalidDataset, match=message):
        made(tmp_path / "in", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_file_managers_leave_behind_is_passed_over(pets: Path, tmp_path: Path) -> None:
    for name in (
        "__MACOSX/cats/._1.png",
        ".git/config",
        "cats/.DS_Store",
        "dogs/Thumbs.db",
        "@eaDir/x",
        "dogs/desktop.ini",
    ):
        (pets / name).parent.mkdir(parents=True, exist_ok=True)
        (pets / name).write_bytes(b"\0")
    (pets / "README.txt").write_text("our pets")
    (pets / "licence.pdf").write_bytes(b"%PDF")
    data, _ = made(pets, tmp_path / "out")
    assert data.classes == ("cats", "dogs")
    assert len(data.train) + len(data.test) == 35


def test_one_folder_around_all_is_looked_into(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    pets.rename(tmp_path / "outer" / "inner" / "pets")
    assert made(tmp_path / "outer", tmp_path / "out")[0].classes == ("cats", "dogs")
    assert (tmp_path / "out" / "outer.h5").is_file()
    (tmp_path / "outer" / "inner" / "pets" / "birds").mkdir()
    with pytest.raises(InvalidDataset, match=r"outer/inner/pets/birds: holds no photos"):
        made(tmp_path / "outer", tmp_path / "out")


def test_links_are_followed_and_what_leads_nowhere_or_back_is_named(pets: Path, tmp_path: Path) -> None:
    photos(tmp_path / "elsewhere", 4, RED)
    (pets / "cats" / "more").symlink_to(tmp_path / "elsewhere")
    (pets / "cats" / "one.png").symlink_to(tmp_path / "elsewhere" / "000.png")
    photos(tmp_path / "birds", 3, RED)
    (pets / "birds").symlink_to(tmp_path / "birds")
    data, _ = made(pets, tmp_path / "out")
    assert data.classes == ("birds", "cats", "dogs")
    assert np.bincount(np.concatenate([data.train.y, data.test.y])).tolist() == [3, 30, 10]

    (pets / "cats" / "gone.png").symlink_to(tmp_path / "nowhere")
    (pets / "dogs" / "round").symlink_to(pets / "dogs")
    os.mkfifo(pets / "dogs" / "pipe")
    with pytest.raises(InvalidDataset) as caught:
        made(pets, tmp_path / "out")
    assert str(caught.value) == (
        f"{pets}: 3 of 46 files are no usable pictures: cats/gone.png: is a link that leads nowhere; dogs/pipe: is no "
        "plain file; dogs/round: is a link back to a folder above it "
        "(take them out of the folder, or skip them: --skip-bad)"
    )
    data, heard = made(pets, tmp_path / "out", skip_bad=True)
    assert len(data.train) + len(data.test) == 43
    assert heard.notes[-1].startswith("left out 3 of 46 files: cats/gone.png: is a link that leads nowhere; ")


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in (b"caf\xe9", "The\u0301".encode()):
        folder = os.path.join(os.fsencode(tmp_path), b"in", name)
        os.makedirs(folder)
        for number in range(3):
            with open(os.path.join(folder, b"%d\xff.png" % number), "wb") as file:
                file.write(KINDS["a.png"]())
    data, _ = made(
        tmp_path / "in", tmp_path / "out", classes="Thé,café"
    )  # as keyboards give it, not as macOS stores it
    assert data.classes == ("Thé", "café")
    with open(os.path.join(folder, b"bad\xfe.png"), "wb") as file:
        file.write(b"nothing")
    with pytest.raises(InvalidDataset, match=r"Thé/badþ\.png: not a picture"):
        made(tmp_path / "in", tmp_path / "out")


# ---- what is wrong with files ----------------------------------------------------------------------------------------

BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "photo.heic": (lambda: HEIC, "is HEIC, which is not read"),
    "photo.jxl": (lambda: b"\xff\x0a" + bytes(50), "is JPEG XL, which is not read"),
    "photo.psd": (lambda: b"8BPS" + bytes(50), "is Photoshop's PSD, which is not read"),
    "notes.txt": (lambda: b"feed her", "not a picture"),
    "empty.png": (lambda: b"", "the file is empty"),
    "half.png": (lambda: encoded(flat(size=(400, 400)), "PNG")[:200], "the picture is cut off or damaged"),
    "float.tif": (
        lambda: encoded(Image.new("F", (9, 9)), "TIFF"),
        "32-bit samples (F) do not define white",
    ),
}


def test_every_bad_file_is_named_and_nothing_is_written(pets: Path, tmp_path: Path) -> None:
    for name, (make, _) in BAD.items():
        (pets / "cats" / name).write_bytes(make())
    half = pets / "cats" / "half.png"
    for count, names in (
        (6, BAD.keys() - {half.name}),
        (1, {half.name}),
    ):  # that it is cut off shows when it is decoded
        if count == 1:
            for name in BAD.keys() - names:
                (pets / "cats" / name).unlink()
        with pytest.raises(InvalidDataset, match=rf"pets: {count} of \d+ files are no usable pictures: ") as caught:
            made(pets, tmp_path / "out")
        for name in names:
            assert f"cats/{name}: {BAD[name][1]}" in str(caught.value)
    for name, (make, _) in BAD.items():
        (pets / "cats" / name).write_bytes(make())
    assert list((tmp_path / "out").iterdir()) == []

    data, heard = made(pets, tmp_path / "out", skip_bad=True)
    assert len(data.train) + len(data.test) == 35
    (left_out,) = [note for note in heard.notes if note.startswith("left out 7 of 42 files: ")]
    for name, (_, why) in BAD.items():
        assert f"cats/{name}: {why}" in left_out


def test_a_file_that_breaks_its_reader_is_named(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that crashes takes a child with it, and no other photo."""
    load = making.load_pixels

    def crash(path: Path, *rest: object) -> object:
        if path.name == "007.png" and path.parent.name == "dogs":
            os.abort()
        return load(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(making, "load_pixels", crash)
    data, heard = made(pets, tmp_path / "out", skip_bad=True)
    assert len(data.train) + len(data.test) == 34
    assert heard.notes == ["left out 1 of 35 files: dogs/007.png: is so damaged that reading it breaks off (SIGABRT)"]


# ---- what photos become ----------------------------------------------------------------------------------------------


def test_photos_keep_their_size_if_they_all_have_one_and_it_is_small(tmp_path: Path) -> None:
    for name in "ab":
        photos(tmp_path / "in" / name, 2, size=(64, 48))
    data, heard = made(tmp_path / "in", tmp_path / "out")
    assert (data.shape, heard.notes) == ((48, 64, 3), [])
    photos(tmp_path / "in" / "b", 3, size=(63, 48))
    data, heard = made(tmp_path / "in", tmp_path / "out")
    assert data.shape == (64, 64, 3)
    assert heard.notes == ["photos become 64×64 pixels (resize): --size and --fit say otherwise"]
    for name in "ab":
        photos(tmp_path / "in" / name, 3, size=(65, 30))
    assert made(tmp_path / "in", tmp_path / "out")[0].shape == (64, 64, 3)


def test_a_photo_that_lies_on_its_side_has_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "in" / name / f"{number}.jpg").write_bytes(encoded(flat(), "JPEG", exif=exif))
            (tmp_path / "in" / name / f"{number}.png").write_bytes(encoded(flat(size=(8, 12)), "PNG"))
    assert made(tmp_path / "in", tmp_path / "out")[0].shape == (12, 8, 3)


@pytest.mark.parametrize(("fit", "left", "middle"), [("resize", RED, BLUE), ("crop", BLUE, BLUE), ("pad", RED, BLUE)])
def test_photos_are_squeezed_cropped_or_padded(
    tmp_path: Path, fit: str, left: tuple[int, ...], middle: tuple[int, ...]
) -> None:
    wide = flat(RED, (40, 20))
    wide.paste(BLUE, (10, 0, 30, 20))
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(2):
            wide.save(tmp_path / "in" / name / f"{number}.png")
    data, _ = made(tmp_path / "in", tmp_path / "out", size=20, fit=fit)
    pixels = data.train.stored[0]
    assert data.shape == (20, 20, 3)
    assert tuple(pixels[10, 2]) == left
    assert tuple(pixels[10, 10]) == middle
    assert tuple(pixels[0, 10]) == ((0, 0, 0) if fit == "pad" else BLUE)


def test_a_size_may_be_no_square(pets: Path, tmp_path: Path) -> None:
    assert made(pets, tmp_path / "out", size="6x10")[0].shape == (6, 10, 3)
    for wrong in ("0", "6x", "big", "-3", "12345"):
        with pytest.raises(InvalidInput, match=r"^size: "):
            Options.of({"size": wrong})


def test_grey_stays_one_channel_unless_a_photo_has_colours(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        flat(77, mode="L").save(tmp_path / "in" / name / "1.png")
        flat(0, mode="1").save(tmp_path / "in" / name / "2.png")
        (tmp_path / "in" / name / "3.png").write_bytes(sixteen(16))
    data, _ = made(tmp_path / "in", tmp_path / "out")
    assert data.shape == (8, 12, 1)
    assert 77 in data.train.stored
    flat().save(tmp_path / "in" / "a" / "4.png")
    assert made(tmp_path / "in", tmp_path / "out")[0].shape == (8, 12, 3)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_of_which_fewer_are_used(tmp_path: Path, bits: int, kind: str) -> None:
    dark = Image.fromarray(np.full((8, 12), (1 << bits) // 4, np.uint16))
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "in" / name / f"{number}.{kind}").write_bytes(sixteen(bits, kind))
        (tmp_path / "in" / name / "dark.png").write_bytes(encoded(dark, "PNG"))
    data, heard = made(tmp_path / "in", tmp_path / "out")
    assert heard.notes == [f"photos with 16 bits a pixel use {bits}: {(1 << bits) - 1:,} is white"]
    everything = np.concatenate([data.train.stored, data.test.stored])
    assert (everything.min(), everything.max()) == (0, 255)
    # The scale is that of all photos: one that is dark stays so.
    assert sorted(everything.max(axis=(1, 2, 3)).tolist()) == [64, 64, 255, 255, 255, 255]


def test_a_photo_of_many_pixels_is_read_smaller(tmp_path: Path) -> None:
    big = flat(RED, (2_000, 1_500))
    big.paste(BLUE, (1_000, 0, 2_000, 1_500))
    for name in "ab":
        (tmp_path / "in" / name).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "in" / name / f"{number}.jpg").write_bytes(encoded(big, "JPEG", quality=95))
    data, _ = made(tmp_path / "in", tmp_path / "out", size=10)
    for x, colour in ((2, RED), (7, BLUE)):
        np.testing.assert_allclose(data.train.stored[0, 5, x], colour, atol=4)


# ---- the split and the file ------------------------------------------------------------------------------------------


def test_the_same_photos_make_the_same_bytes(pets: Path, tmp_path: Path) -> None:
    made(pets, tmp_path / "one")
    made(pets, tmp_path / "two")
    made(pets, tmp_path / "other", seed=1)
    one, two, other = ((tmp_path / name / "pets.h5").read_bytes() for name in ("one", "two", "other"))
    assert one == two
    assert one != other


def test_more_photos_than_a_child_reads_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, name in enumerate("ab"):
        photos(tmp_path / "in" / name, 40, (label, 0, 0), (5, 5))
    monkeypatch.setattr(making, "_FILES", 7)
    data, heard = made(tmp_path / "in", tmp_path / "out")
    for part in (data.train, data.test):
        assert (part.stored[:, 0, 0, 0] == part.y).all()
    numbers = np.concatenate([data.train.stored, data.test.stored])[:, 0, 0, 2]
    assert sorted(numbers.tolist()) == sorted([*range(40)] * 2)
    assert heard.steps[-1] == ("reading photos", 80, 80)
    assert [done for what, done, _ in heard.steps if what == "looking at photos"] == [*range(7, 80, 7), 80]


def test_too_many_pixels_are_refused_before_any_is_read(
    pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "MAX_BYTES", 28 * 40 * 40 * 3 - 1)
    with pytest.raises(
        InvalidDataset, match=r"pets: train: 0\.0 GB of photos \(at most 0\.0 GB: give a smaller size\)"
    ):
        made(pets, tmp_path / "out", size=40)


def test_an_interruption_leaves_nothing(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for step in ("looking at photos", "reading photos"):
        monkeypatch.setattr("odd_photos.Heard.at", lambda self, what, *_, step=step: what == step and interrupt())
        with pytest.raises(KeyboardInterrupt):
            made(pets, tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []


# ---- classes told by a table -----------------------------------------------------------------------------------------


def told(folder: Path, table: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    photos(folder / "images", 8)
    (folder / name).write_text(table, encoding=encoding)
    return folder


ROWS = [(f"{number:03}", "cat" if number % 2 else "dog") for number in range(8)]


@pytest.mark.parametrize(
    "table",
    [
        "id,breed\n" + "\n".join(f"{name},{label}" for name, label in ROWS),
        "\n".join(f"images/{name}.png;{label}" for name, label in ROWS),
        "label\tsize\tfile\r\n" + "\r\n".join(f"{label}\t3\t{name}.png" for name, label in ROWS),
        "\ufefffile,label,seen\n" + "\n\n".join(f'"./images/{name}.png","{label}",yes' for name, label in ROWS),
    ],
    ids=["names without endings", "no titles, semicolons", "tabs, label first", "byte order mark, more columns"],
)
def test_a_table_beside_the_photos_tells_their_classes(tmp_path: Path, table: str) -> None:
    data, _ = made(told(tmp_path / "in", table), tmp_path / "out")
    assert data.classes == ("cat", "dog")
    for part in (data.train, data.test):
        np.testing.assert_array_equal(part.stored[:, 0, 0, 2] % 2, 1 - part.y)
    assert (len(data.train), len(data.test)) == (6, 2)


def test_a_table_may_tell_the_parts_and_be_named(tmp_path: Path) -> None:
    rows = "".join(f"{name},{label},{'test' if int(name) > 5 else 'train'}\n" for name, label in ROWS)
    folder = told(tmp_path / "in", f"file,label,split\n{rows}", "mine.csv")
    (folder / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidDataset, match=r"in: holds 2 tables: mine\.csv; other\.csv \(name the one that"):
        made(folder, tmp_path / "out")
    data, _ = made(folder, tmp_path / "out", labels="mine.csv", classes="dog,cat")
    assert data.classes == ("dog", "cat")
    assert sorted(data.test.stored[:, 0, 0, 2].tolist()) == [6, 7]


def test_tables_named_by_their_part(tmp_path: Path) -> None:
    folder = told(
        tmp_path / "in", "file,label\n" + "".join(f"{name},{label}\n" for name, label in ROWS[:6]), "train.csv"
    )
    (folder / "test.csv").write_text("file,label\n" + "".join(f"{name},{label}\n" for name, label in ROWS[6:]))
    data, _ = made(folder, tmp_path / "out")
    assert (len(data.train), sorted(data.test.stored[:, 0, 0, 2].tolist())) == (6, [6, 7])


def test_whole_numbers_are_classes_and_others_amounts(tmp_path: Path) -> None:
    folder = told(tmp_path / "in", "file,label\n" + "".join(f"{n},{int(n) % 2}\n" for n, _ in ROWS))
    assert made(folder, tmp_path / "out")[0].classes == ("0", "1")
    data, _ = made(folder, tmp_path / "out", task="regression")
    assert (data.classes, sorted(set(data.train.y))) == ((), [0.0, 1.0])
    (folder / "labels.csv").write_text("file,age\n" + "".join(f"{n},{int(n) + 0.5}\n" for n, _ in ROWS))
    data, _ = made(folder, tmp_path / "out")
    np.testing.assert_array_equal(data.train.y, data.train.stored[:, 0, 0, 2] + 0.5)


def by_patient(folder: Path, count: int = 40) -> Path:
    """Photos of ten patients, each of whom is ill or not; the later a photo, the higher its number."""
    photos(folder / "images", count)
    rows = [
        f"{number:03},{'ill' if number % 10 % 2 else 'well'},p{number % 10},2026-01-{1 + number // 2:02}"
        for number in range(count)
    ]
    (folder / "labels.csv").write_text("\n".join(["file,label,Patient,taken", *rows]))
    return folder


def test_photos_of_one_patient_are_never_parted(tmp_path: Path) -> None:
    data, _ = made(by_patient(tmp_path / "in"), tmp_path / "out", group="patient")
    patients = [{int(number) % 10 for number in part.stored[:, 0, 0, 2]} for part in (data.train, data.test)]
    assert not patients[0] & patients[1]
    assert [len(each) for each in patients] == [8, 2]
    groups = data.train.groups
    assert groups is not None
    assert groups.numbers.tolist() == [int(number) % 10 for number in data.train.stored[:, 0, 0, 2]]
    assert np.bincount(data.test.y).tolist() == [4, 4]
    again, _ = made(by_patient(tmp_path / "in"), tmp_path / "out", group="Patient", only="ill,well", seed=1)
    assert {int(number) % 10 for number in again.test.stored[:, 0, 0, 2]} != patients[1]


def test_the_latest_photos_are_the_test_set(tmp_path: Path) -> None:
    data, _ = made(by_patient(tmp_path / "in"), tmp_path / "out", time="taken", test_share=0.25)
    assert sorted(data.test.stored[:, 0, 0, 2].tolist()) == list(range(30, 40))
    assert data.train.groups is not None
    assert data.train.groups.in_time
    assert data.train.groups.numbers.tolist() == [int(number) // 2 for number in data.train.stored[:, 0, 0, 2]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"group": "doctor"},
            r"labels\.csv: doctor: is not a column of this table \(it has file, label, patient, taken",
        ),
        ({"group": "patient", "time": "taken"}, r"labels\.csv: patient and taken: are two ways to split"),
        ({"time": "patient"}, r"labels\.csv: patient: holds no times"),
        ({"split": "patient"}, r"labels\.csv: patient: says 'p0' in line 2 \(say train, test or validation\)"),
        ({"only": "ill"}, r"labels\.csv: tells of one class only, ill"),
        ({"only": "ill,dead"}, r"labels\.csv: only: names dead; the classes are ill, well"),
    ],
)
def test_a_table_that_does_not_split(tmp_path: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        made(by_patient(tmp_path / "in"), tmp_path / "out", **options)


@pytest.mark.parametrize("option", ["label", "group", "time", "split"])
def test_what_is_asked_of_a_table_that_there_is_not_is_refused(option: str, pets: Path, tmp_path: Path) -> None:
    message = rf": {option}: names a column, and there is no table \(leave {option} out, or give a table\)"
    with pytest.raises(InvalidInput, match=message):
        made(pets, tmp_path / "out", **{option: "patient"})
    made(pets, tmp_path / "made")
    (file,) = (tmp_path / "made").iterdir()
    with pytest.raises(InvalidInput, match=message):
        made(file, tmp_path / "out", **{option: "patient"})
    with pytest.raises(InvalidDataset, match="only: cannot be taken apart"):
        made(file, tmp_path / "out", only="cat")


def test_only_some_folders_are_learned_if_asked(tmp_path: Path) -> None:
    for part, count in (("train", 6), ("test", 3)):
        for number, name in enumerate(("ant", "bee", "cat")):
            photos(tmp_path / "in" / part / name, count, (10 * number, 0, 0))
    (tmp_path / "in" / "train" / "bee" / "notes.docx").write_bytes(b"of no interest")
    data, _ = made(tmp_path / "in", tmp_path / "out", only="cat,ant")
    assert (data.classes, len(data.train), len(data.test)) == (("ant", "cat"), 12, 6)
    assert (data.train.stored[:, 0, 0, 0] == 20 * data.train.y).all()
    with pytest.raises(InvalidDataset, match=r"in: only: names dog; the classes are ant, bee, cat \(name classes that"):
        made(tmp_path / "in", tmp_path / "out", only="dog,cat")
    with pytest.raises(InvalidDataset, match="expected two folders or more, one for each class; found ant"):
        made(tmp_path / "in", tmp_path / "out", only="ant")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,label\nx.png,a\n", r"labels\.csv: no column names photos of the folder"),
        ("file\n000\n001\n", r"labels\.csv: has no column of labels, only file"),
        ("file,label\n000,a\n001,a\n", r"labels\.csv: tells of one class only, a"),
        (
            "file,label\n000,a\n001,b\nnone,b\n002,\n",
            r"line 4: none is no one photo in the folder; labels\.csv, line 5: has n",
        ),
        ("file,label\n000,a\n001,b\n", r"in: a: 1 photos"),
    ],
)
def test_a_table_that_does_not_tell(tmp_path: Path, table: str, message: str) -> None:
    with pytest.raises(InvalidDataset, match=message):
        made(told(tmp_path / "in", table), tmp_path / "out")
