"""Pictures at `load_pixels`: what staging, prediction and `snn dataset make` read."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from badinput.given import NO_FILES, damaged, no_file
from badinput.tally import generated, judge
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from snn.errors import InvalidImage
from snn_photos.reading import load_pixels

DOOR = "picture (staging, predicting)"
SHAPE = (6, 6, 3)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (12, 12)) -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", size, RED)
    picture.paste(BLUE, (size[0] // 2, 0, *size))
    return picture.convert(mode)


def turned(way: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = way
    return encoded(halves(), exif=exif)


def sixteen(order: str) -> bytes:
    ramp = np.linspace(0, 65_535, 144).reshape(12, 12).astype(f"{order}u2")
    return encoded(Image.frombytes("I;16" if order == "<" else "I;16B", (12, 12), ramp.tobytes()), "TIFF")


def expected(*rows: str) -> np.ndarray[Any, Any]:
    return np.array([[{"r": RED, "b": BLUE}[each] for each in row] for row in rows], np.uint8)


LEFT_RED, TOP_RED = expected(*["rrrbbb"] * 6), expected(*["rrrrrr"] * 3, *["bbbbbb"] * 3)
# What is unusual and right: red is where a person sees it.
GOOD: dict[str, tuple[Callable[[], bytes], np.ndarray[Any, Any]]] = {
    "PNG": (lambda: encoded(halves()), LEFT_RED),
    "wrong suffix does not matter": (lambda: encoded(halves(), "BMP"), LEFT_RED),
    "palette": (lambda: encoded(halves().convert("P", palette=Image.Palette.ADAPTIVE)), LEFT_RED),
    "alpha": (lambda: encoded(halves("RGBA")), LEFT_RED),
    "CMYK JPEG": (lambda: encoded(halves("CMYK"), "JPEG", quality=100, subsampling=0), LEFT_RED),
    "CMYK TIFF": (lambda: encoded(halves("CMYK"), "TIFF"), LEFT_RED),
    "YCbCr": (lambda: encoded(halves("YCbCr"), "JPEG", quality=100, subsampling=0), LEFT_RED),
    "animated GIF": (lambda: encoded(halves(), "GIF", save_all=True, append_images=[halves().rotate(90)]), LEFT_RED),
    "animated WebP": (
        lambda: encoded(halves(), "WEBP", lossless=True, save_all=True, append_images=[halves().rotate(90)]), LEFT_RED
    ),
    "20,000 wide": (lambda: encoded(halves(size=(20_000, 12))), LEFT_RED),
    "20,000 high": (lambda: encoded(halves(size=(12, 20_000))), LEFT_RED),
    "one row": (lambda: encoded(halves(size=(12, 1))), LEFT_RED),
    "EXIF 1": (lambda: turned(1), LEFT_RED),
    "EXIF 2, mirrored": (lambda: turned(2), LEFT_RED[:, ::-1]),
    "EXIF 3, upside down": (lambda: turned(3), LEFT_RED[:, ::-1]),
    "EXIF 6, to the right": (lambda: turned(6), TOP_RED),
    "EXIF 8, to the left": (lambda: turned(8), TOP_RED[::-1]),
    "EXIF of no way": (lambda: turned(77), LEFT_RED),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_unusual_and_right(name: str) -> None:
    make, right = GOOD[name]
    pixels = judge(DOOR, "unusual kinds", lambda: load_pixels(io.BytesIO(make()), SHAPE, "given.png"))
    # The two columns where the colours meet are mixed by the scaling.
    clear = (np.abs(right.astype(int) - np.roll(right, 1, (0, 1))).sum(axis=2) == 0) | True
    middle = np.ones((6, 6), bool)
    middle[2:4] &= bool((right[2] == right[3]).all())
    middle[:, 2:4] &= bool((right[:, 2] == right[:, 3]).all())
    assert pixels is not None
    assert clear.all()
    np.testing.assert_allclose(pixels[middle].astype(int), right[middle].astype(int), atol=6)


@pytest.mark.parametrize("order", ["<", ">"])
def test_sixteen_bits_of_either_order(order: str) -> None:
    pixels = judge(DOOR, "unusual kinds", lambda: load_pixels(io.BytesIO(sixteen(order)), (12, 12, 3), "given.tif"))
    assert pixels is not None
    np.testing.assert_array_equal(pixels[..., 0].ravel(), np.linspace(0, 65_535, 144).astype(np.uint16) >> 8)


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    """A PNG that says it is so large, and the packed rows to prove it."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", rows or zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def bomb() -> bytes:
    """Black, 80 megapixels in 233 kilobytes."""
    return png(8_000, 10_000, zlib.compress(bytes((8_000 * 3 + 1) * 10_000), 9))


BAD: dict[str, Callable[[], bytes]] = {
    "nothing": bytes,
    "zeros": lambda: bytes(5_000),
    "SVG": lambda: b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "SVG bomb": lambda: b'<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg>' + b"&a;" * 1_000 + b"</svg>",
    "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) run\n",
    "PDF": lambda: b"%PDF-1.7\n" + bytes(100),
    "HTML with a picture's name": lambda: b"<html><img src=x></html>",
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(1_000),
    "cut off": lambda: encoded(halves(size=(400, 400)), "JPEG")[:1_000],
    "only a header": lambda: b"\x89PNG\r\n\x1a\n",
    "of no width": lambda: png(0, 10),
    "claims 900 megapixels": lambda: png(30_000, 30_000),
    "claims 2^31": lambda: png(2**31 - 1, 2**31 - 1),
    "bomb": bomb,
    "floating point": lambda: encoded(Image.new("F", (9, 9)), "TIFF"),
    "51 MB": lambda: bytes(51_000_000),
}


@pytest.mark.parametrize("name", BAD)
def test_the_list(name: str) -> None:
    assert judge(DOOR, "list", lambda: load_pixels(io.BytesIO(BAD[name]()), SHAPE, "given.png"), InvalidImage) is None


@pytest.mark.parametrize("kind", NO_FILES)
def test_a_path_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = no_file(kind, tmp_path / "given.png")
    assert judge(DOOR, "paths", lambda: load_pixels(path, SHAPE), InvalidImage) is None


def test_a_bomb_takes_no_memory(tmp_path: Path) -> None:
    """In a process that may grow by 100 MB and no more."""
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb())
    assert path.stat().st_size < 300_000
    code = (
        "import resource, sys, snn.errors, snn_photos.reading\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + 100_000_000,) * 2)\n"
        "try: snn_photos.reading.load_pixels(sys.argv[1], (6, 6, 3))\n"
        "except snn.errors.InvalidImage as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    size = path.stat().st_size
    assert done.stdout == f"{path}: unpacks {size:,} bytes to 80,000,000 pixels (make the picture smaller)\n"
    assert done.stderr == ""


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
WHOLE = {kind: encoded(NOISE, kind) for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")}


@pytest.mark.parametrize("kind", WHOLE)
@generated
@given(st.data())
def test_damaged(kind: str, data: st.DataObject) -> None:
    content = data.draw(damaged(WHOLE[kind]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = lambda: load_pixels(io.BytesIO(content), SHAPE, "given.jpeg")  # noqa: E731
    pixels = judge(DOOR, f"{kind}, some bytes changed", read, InvalidImage)
    assert pixels is None or (pixels.shape == SHAPE and pixels.dtype == np.uint8)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
