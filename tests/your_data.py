"""Data of all the kinds that `docs/your-data.md` names, under its names."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from documentation import commands, fences
from odd_photos import BLUE, GREEN, HEIC, RED, photos

LINES = [words for fence in fences("sh") if fence.page.name == "your-data.md" for words in commands(fence.text)]
"""All that the page has one type, word by word."""


def lines_of(command: str) -> list[list[str]]:
    """Return the arguments of each line of the page that calls a command of `snn`."""
    return [words[1:] for words in LINES if words[1] == command]


def lay_out(folder: Path) -> None:
    """Write them into a folder."""
    for name, colour in (("cat", GREEN), ("dog", BLUE)):
        photos(folder / "big-photos" / name, 60, colour)
        photos(folder / "my-photos" / name, 10, colour)
        photos(folder / "messy-photos" / name, 10, colour)
        for part, count in (("train", 6), ("test", 3), ("val", 2)):
            photos(folder / "split-photos" / part / name, count, colour)
    for name, colour in (("ant", RED), ("cat", GREEN), ("dog", BLUE)):
        photos(folder / "three-kinds" / name, 10, colour)
    for name, classes in (("mnist", "01"), ("cifar10", ("cat", "dog", "frog"))):
        for number, each in enumerate(classes):
            photos(folder / name / "train" / each, 10, (20 * number, 9, 0))
            photos(folder / name / "test" / each, 3, (20 * number, 99, 0))
        with tarfile.open(folder / f"{name}.tar.xz", "w:xz") as packed:
            packed.add(folder / name, name)
    messy = folder / "messy-photos"
    (messy / "cat" / "from-a-phone.heic").write_bytes(HEIC)
    (messy / "cat" / "gone.png").symlink_to("nowhere")
    (messy / "dog" / "Thumbs.db").write_bytes(b"\0")
    photos(folder / "told-photos" / "images", 10)
    rows = [f"{number:03},{'cat' if number % 2 else 'non-cat'},owner {number // 2 % 4}" for number in range(10)]
    (folder / "told-photos" / "labels.csv").write_text("\n".join(["file,label,owner", *rows]))
    with tarfile.open(folder / "my-photos.tar.gz", "w:gz") as packed:
        packed.add(folder / "my-photos", "my-photos")
    with zipfile.ZipFile(folder / "my-photos.zip", "w") as packed_too:
        for path in sorted((folder / "my-photos").rglob("*.png")):
            packed_too.write(path, path.relative_to(folder))
    lines = ["patient,visited,age,smokes,remarks,ill"]
    for number in range(200):
        smokes = ["yes", "no", ""][number % 3]
        lines.append(f"p{number // 4},2026-{1 + number // 28:02}-{1 + number % 28:02},{20 + number % 60},{smokes},,"
                     f"{'yes' if number // 4 % 2 else 'no'}")  # fmt: skip
    (folder / "patients.csv").write_text("\n".join(lines))
    (folder / "new-patients.csv").write_text("smokes,age,patient\nyes,44,p7\nnever,,p99\n")
    for part, count in (("train", 20), ("test", 6)):
        with h5py.File(folder / f"{part}_catvnoncat.h5", "w") as h5:
            h5[f"{part}_set_x"] = np.arange(count, dtype=np.uint8).repeat(48).reshape(count, 4, 4, 3)
            h5[f"{part}_set_y"] = np.arange(count)[None] % 2
            h5["list_classes"] = np.array([b"non-cat", b"cat"])
