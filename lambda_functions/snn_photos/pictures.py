"""Pictures of strangers: from a file of any common kind to upright 8-bit pixels in sRGB, on white."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from snn.errors import InvalidImage
from snn_data.files import read_file

T = TypeVar("T")

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened. Pillow knows more, among them EPS, which it hands to Ghostscript: not for files of strangers."""

MAX_BYTES = 50_000_000
"""A larger file is refused before it is read: a classifier's input is a few thousand pixels."""

MAX_UNSTORED = 10_000_000
MAX_RATIO = 50
"""In a picture with more pixels than that, a byte of the file may stand for this many: otherwise it is a bomb."""

_OTHERS: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "HEIC": (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    "JPEG XL": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    "JPEG 2000": (0, (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    "Photoshop's PSD": (0, (b"8BPS",)),
}
"""Photos of other kinds, by what stands at this place of a file: the message names them."""

_HINT = "give a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file"

ImageFile = str | Path | IO[bytes]


def open_picture(
    file: ImageFile, source: str = "", bits: int = 0, wanted: tuple[int, int] | None = None
) -> Image.Image:
    """Decode a picture of any common kind to upright 8-bit RGB; of an animation the first frame.

    A JPEG may come smaller, but at least twice as wide and high as is `wanted`: that takes a fraction of the time.
    Raises InvalidImage.
    """

    def read(picture: Image.Image) -> Image.Image:
        if wanted:
            picture.draft(None, (2 * max(wanted), 2 * max(wanted)))  # upright or not
        ImageOps.exif_transpose(picture, in_place=True)
        return _to_rgb(picture, bits)

    return _opened(file, source, read)


def get_ready() -> None:
    """Import all that opening a picture imports, for the child processes in which strangers' are opened.

    Pillow waits with it until the first one, and so each child would do it anew, for longer than a photo takes.
    """
    Image.init()
    out = BytesIO()
    Image.new("RGB", (1, 1)).save(out, "PNG")
    open_picture(BytesIO(out.getvalue()))


def mirrored(picture: Image.Image) -> Image.Image:
    """Return a picture with left and right exchanged."""
    return ImageOps.mirror(picture)


class Look(NamedTuple):
    """What a picture is, for the most part by its header: upright height and width in pixels, whether it is grey, and
    how many bits of a 16-bit one are used (0: it has 8).
    """

    height: int
    width: int
    grey: bool
    bits: int


def look(file: ImageFile, source: str = "") -> Look:
    """Return what a picture is; only one of 16 bits is decoded. Raises InvalidImage."""

    def read(picture: Image.Image) -> Look:
        values = _sixteen(picture)
        width, height = picture.size
        # A PNG may have its EXIF data behind its pixels: Pillow would decode them all to see.
        known = picture.format != "PNG" or "exif" in picture.info
        if width != height and known and picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            width, height = height, width
        bits = 0 if values is None else bits_used(values)
        return Look(height, width, picture.mode in ("1", "L", "LA", "La") or bits > 0, bits)

    return _opened(file, source, read)


def bits_used(values: NDArray[Any]) -> int:
    """Return how many bits a pixel of 16 bits uses: 8, 10, 12, 14 or 16, as cameras and scanners have them."""
    return next((bits for bits in (8, 10, 12, 14) if not values.size or values.max() < 1 << bits), 16)


def _opened(file: ImageFile, source: str, read: Callable[[Image.Image], T]) -> T:
    """Return what `read` makes of a picture. Raises InvalidImage."""
    name = source or (str(file) if isinstance(file, str | Path) else "")
    content = _read(file, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF and the like: not a reason to refuse a good picture
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=FORMATS) as picture:
                _check_stored(picture.width * picture.height, len(content))
                return read(picture)
    except InvalidImage as problem:
        raise InvalidImage(problem.problem, source=name, hint=problem.hint) from None
    except UnidentifiedImageError:
        known = next((kind for kind, (at, begins) in _OTHERS.items() if content[at:].startswith(begins)), "")
        why = f"is {known}, which is not read" if known else "not a picture"
        raise InvalidImage(why, source=name, hint=_HINT) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels", source=name, hint="make the picture smaller"
        ) from None
    except Exception as problem:
        # A damaged file can make a decoder raise nearly anything (OSError, SyntaxError, struct.error, IndexError …),
        # and whatever it is, the news for the user is the same.
        raise InvalidImage("the picture is cut off or damaged", source=name, hint="copy the file again") from problem


def _check_stored(pixels: int, stored: int) -> None:
    if pixels > MAX_UNSTORED and pixels > MAX_RATIO * stored:
        raise InvalidImage(f"unpacks {stored:,} bytes to {pixels:,} pixels", hint="make the picture smaller")


def _read(file: ImageFile, name: str) -> bytes:
    try:
        content = (
            read_file(file, MAX_BYTES, InvalidImage, name) if isinstance(file, str | Path) else file.read(MAX_BYTES + 1)
        )
    except OSError as problem:
        raise InvalidImage((problem.strerror or str(problem)).lower(), source=name) from None
    if not content:
        raise InvalidImage("the file is empty", source=name, hint=_HINT)
    if len(content) > MAX_BYTES:
        raise InvalidImage(f"larger than {MAX_BYTES // 1_000_000} MB", source=name, hint="make the picture smaller")
    return content


def _to_rgb(picture: Image.Image, bits: int) -> Image.Image:
    values = _sixteen(picture)
    if values is not None:  # Pillow's own conversion clips: every value above 255 would become white
        values = np.minimum(values >> ((bits or bits_used(values)) - 8), 255)
        return Image.fromarray(values.astype(np.uint8)).convert("RGB")
    profile = picture.info.get("icc_profile")
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture if picture.mode == "RGBA" else picture.convert("RGBA"))
        picture = paper.convert("RGB")
    elif picture.mode == "P":
        picture = picture.convert("RGB")
    to_srgb = _to_srgb(profile, picture.mode) if profile else None
    converted = ImageCms.applyTransform(picture, to_srgb) if to_srgb else None
    return converted or picture.convert("RGB")


def _sixteen(picture: Image.Image) -> NDArray[Any] | None:
    """Return the pixels of a picture of 16 bits; None of one that has 8. Raises InvalidImage for more."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        return np.asarray(picture).astype(np.uint16)
    if picture.mode in ("I", "F"):
        raise InvalidImage(
            f"32-bit samples ({picture.mode}) do not define white",
            hint="save it with 8 or 16 bits a sample",
        )
    return None


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what converts colours of a profile to sRGB; None if they are that, or the profile is of no use."""
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(given).lower():
            return None
        return ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # damaged, or of another mode than the picture: not a reason to refuse it
