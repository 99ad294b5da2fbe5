"""Data of all the kinds that `docs/your-data.md` names, under its names."""

from __future__ import annotations

import tarfile
import zipfile
from pathlib import Path

import h5py
import numpy as np
from documentation import commands, fences
from odd_photos import BLUE, GREEN, HEIC, photos


def lines_of(command: str) -> list[list[str]]:
    """Return the arguments of each line of the page that calls a command of `snn`."""
    page = (fence.text for fence in fences("sh") if fence.page.name == "your-data.md")
    return [words[1:] for text in page for words in commands(text) if words[1] == command]


def lay_out(folder: Path) -> None:
    """Write them into a folder."""
    for name, colour in (("cat", GREEN), ("dog", BLUE)):
        photos(folder / "big-photos" / name, 60, colour)
        photos(folder / "my-photos" / name, 10, colour)
        photos(folder / "messy-photos" / name, 10, colour)
        for part, count in (("train", 6), ("test", 3), ("val", 2)):
            photos(folder / "split-photos" / part / name, count, colour)
    messy = folder / "messy-photos"
    (messy / "cat" / "from-a-phone.heic").write_bytes(HEIC)
    (messy / "cat" / "gone.png").symlink_to("nowhere")
    (messy / "dog" / "Thumbs.db").write_bytes(b"\0")
    photos(folder / "told-photos" / "images", 10)
    rows = [f"{number:03},{'cat' if number % 2 else 'non-cat'}" for number in range(10)]
    (folder / "told-photos" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    with tarfile.open(folder / "my-photos.tar.gz", "w:gz") as packed:
        packed.add(folder / "my-photos", "my-photos")
    with zipfile.ZipFile(folder / "my-photos.zip", "w") as packed_too:
        for path in sorted((folder / "my-photos").rglob("*.png")):
            packed_too.write(path, path.relative_to(folder))
    for part, count in (("train", 20), ("test", 6)):
        with h5py.File(folder / f"{part}_catvnoncat.h5", "w") as h5:
            h5[f"{part}_set_x"] = np.arange(count, dtype=np.uint8).repeat(48).reshape(count, 4, 4, 3)
            h5[f"{part}_set_y"] = np.arange(count)[None] % 2
            h5["list_classes"] = np.array([b"non-cat", b"cat"])
