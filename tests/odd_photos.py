"""Real files of photos in all the kinds that people have, made on the spot."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from snn_client.data.options import Options
from snn_client.data.sources import prepare
from snn_data.dataset import Dataset, load_dataset

RED, GREEN, BLUE = (200, 30, 40), (20, 190, 60), (30, 40, 210)


class Heard:
    """A progress that keeps what it hears."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.steps: list[tuple[str, int, int]] = []

    def at(self, what: str, done: int, total: int) -> None:
        """Keep how far it is."""
        self.steps.append((what, done, total))

    def note(self, text: str) -> None:
        """Keep it."""
        self.notes.append(text)

    def warn(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


def made(source: Path | str, folder: Path, **options: Any) -> tuple[Dataset, Heard]:
    """Return the data set made of a source, and what was said meanwhile; nothing but the file stays in `folder`."""
    heard = Heard()
    folder.mkdir(exist_ok=True)
    before = set(folder.iterdir())
    file = prepare(source, Options.of(options), folder, heard)
    assert set(folder.iterdir()) - before <= {file}
    return load_dataset(file), heard


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def flat(colour: Any = RED, size: tuple[int, int] = (12, 8), mode: str = "RGB") -> Image.Image:
    """Return a picture of one colour."""
    return Image.new(mode, size, colour)


def photos(folder: Path, count: int, colour: tuple[int, int, int] = RED, size: tuple[int, int] = (12, 8)) -> None:
    """Write PNG files of almost one colour, each its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        flat((*colour[:2], number), size).save(folder / f"{number:03}.png")


def adobe_rgb() -> bytes:
    """Return a profile of wider colours than sRGB: another curve and other primaries, as a photographer's camera has.

    Made of the one that littlecms brings along for CIE Lab would take no RGB, so it is sRGB's, red and green swapped:
    whoever ignores it sees green where red is.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red + 4 : red + 12], profile[green + 4 : green + 12] = (
        profile[green + 4 : green + 12],
        profile[red + 4 : red + 12],
    )
    return bytes(profile).replace(b"s\0R\0G\0B", b"o\0d\0d\0s").replace(b"sRGB", b"odds")


def sixteen(bits: int, kind: str = "PNG") -> bytes:
    """Return a grey ramp from black to white, 16 bits a pixel of which so many are used."""
    ramp = np.linspace(0, (1 << bits) - 1, 96).reshape(8, 12).astype(np.uint16)
    return encoded(Image.fromarray(ramp), kind)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


KINDS: dict[str, Callable[[], bytes]] = {
    "a.png": lambda: encoded(flat(), "PNG"),
    "b.jpg": lambda: encoded(flat(), "JPEG", quality=95),
    "c.webp": lambda: encoded(flat(), "WEBP", lossless=True),
    "d.gif": lambda: encoded(flat(), "GIF"),
    "e.bmp": lambda: encoded(flat(), "BMP"),
    "f.tiff": lambda: encoded(flat(), "TIFF"),
    "g.avif": lambda: encoded(flat(), "AVIF", quality=100),
    "h.ppm": lambda: encoded(flat(), "PPM"),
    "i-cmyk.jpg": lambda: encoded(flat().convert("CMYK"), "JPEG", quality=95),
    "j-palette.png": lambda: encoded(flat().quantize(4), "PNG"),
    "k-alpha.png": lambda: encoded(flat((*RED, 255), mode="RGBA"), "PNG"),
    "l-turned.jpg": lambda: encoded(flat(size=(12, 8)), "JPEG", exif=_way(3), quality=95),
    "m-progressive.jpg": lambda: encoded(flat(), "JPEG", progressive=True, quality=95),
    "n-lzw.tif": lambda: encoded(flat(), "TIFF", compression="tiff_lzw"),
    "o-animated.webp": lambda: encoded(flat(), "WEBP", save_all=True, append_images=[flat(BLUE)], lossless=True),
    "p-animated.gif": lambda: encoded(flat(), "GIF", save_all=True, append_images=[flat(BLUE)]),
    "q-wrong-ending.txt": lambda: encoded(flat(), "PNG"),
    "R-UPPER.JPEG": lambda: encoded(flat(), "JPEG", quality=95),
    "s-srgb-profile.png": lambda: encoded(
        flat(), "PNG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    ),
    "t-broken-profile.png": lambda: encoded(flat(), "PNG", icc_profile=b"no profile at all"),
    "u-odd-profile.png": lambda: encoded(flat((RED[1], RED[0], RED[2])), "PNG", icc_profile=adobe_rgb()),
}
"""Files that all show RED, 12 wide and 8 high, by their names."""


def _way(way: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = way
    return exif


def one_colour(pixels: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the mean colour of a photo."""
    return tuple(int(value) for value in np.rint(pixels.reshape(-1, pixels.shape[-1]).mean(axis=0)))


SAVED: dict[str, tuple[dict[str, Any], ...]] = {
    "PNG": ({}, {"compress_level": 0}, {"optimize": True}, {"exif": _way(3)}, {"dpi": (72, 72)}),
    "JPEG": (
        {"quality": 95}, {"quality": 100, "subsampling": 0}, {"quality": 95, "progressive": True}, {"exif": _way(6)},
    ),
    "WEBP": ({"lossless": True}, {"quality": 95}, {"lossless": True, "exif": _way(8)}),
    "GIF": ({}, {"interlace": 0}, {"comment": b"odd"}),
    "BMP": ({},),
    "TIFF": (
        {}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"}, {"compression": "packbits"},
        {"big_tiff": True},
    ),
    "PPM": ({},),
    "AVIF": ({"quality": 100}, {"quality": 90, "speed": 10}),
}  # fmt: skip
MODES: dict[str, Any] = {
    "RGB": RED, "RGBA": (*RED, 255), "P": RED, "CMYK": RED, "YCbCr": RED, "L": 90, "LA": (90, 255), "1": 1,
    "I;16": 90 << 8,
}  # fmt: skip


def hundred() -> dict[str, tuple[bytes, tuple[int, ...]]]:
    """Return files of all kinds that Pillow can save in all modes, by name, each with the colour that it shows."""
    found = {}
    for kind, ways in SAVED.items():
        for mode, colour in MODES.items():
            plain = colour if isinstance(colour, int) or mode in ("RGBA", "LA") else RED
            picture = flat(plain, (10, 10), mode) if plain is not RED else flat(RED, (10, 10)).convert(mode)
            shown = {"1": (255,) * 3, "L": (90,) * 3, "LA": (90,) * 3, "I;16": (90,) * 3}.get(mode, RED)
            for number, options in enumerate(ways):
                if mode == "I;16" and kind not in ("PNG", "TIFF", "PPM"):
                    continue  # Pillow would save it white
                try:
                    content = encoded(picture, kind, **options)
                except (OSError, ValueError, KeyError):  # no such mode in files of this kind
                    continue
                found[f"{kind}-{mode.replace(';', '')}-{number}".lower()] = content, shown
    return found
