"""Photos: from a file that somebody hands in to the numbers that the network reads, and small pictures for reports."""

from __future__ import annotations

import warnings
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from snn.errors import InvalidImage
from snn_data.files import read_file

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is opened. Pillow knows more, among them EPS, which it hands to Ghostscript: not for files of strangers."""

MAX_BYTES = 50_000_000
"""A larger file is refused before it is read: a classifier's input is a few thousand pixels."""

MAX_UNSTORED = 10_000_000
MAX_RATIO = 50
"""In a picture with more pixels than that, a byte of the file may stand for this many: otherwise it is a bomb."""

_HINT = "give a JPEG, PNG, GIF, WebP, AVIF, BMP or TIFF file"

ImageFile = str | Path | IO[bytes]


def load_image(file: ImageFile, image_shape: tuple[int, ...], source: str = "") -> NDArray[np.float64]:
    """Read one photo as the network wants it: (h·w·channels, 1), each value in 0..1.

    `image_shape` is the data set's (h, w, 3), or (h, w, 1) where photos are grey. `source` names the photo in errors
    (default: its path).
    Raises InvalidImage when the file is not a picture, is damaged, or unpacks to far too much.
    """
    pixels = load_pixels(file, image_shape, source)
    return pixels.reshape(-1, 1).astype(np.float64) / 255


def load_pixels(file: ImageFile, image_shape: tuple[int, ...], source: str = "") -> NDArray[np.uint8]:
    """Read one photo as the data set stores it: of `image_shape`, uint8, upright, on white, squeezed, not cropped.

    Raises InvalidImage.
    """
    height, width, channels = image_shape
    picture = open_picture(file, source)
    if channels == 1:
        picture = picture.convert("L")
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(image_shape)


def open_picture(file: ImageFile, source: str = "") -> Image.Image:
    """Decode a picture of any common kind to upright 8-bit RGB; of an animation the first frame.

    Raises InvalidImage.
    """
    name = source or (str(file) if isinstance(file, str | Path) else "")
    content = _read(file, name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF and the like: not a reason to refuse a good picture
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(BytesIO(content), formats=FORMATS) as picture:
                _check_stored(picture.width * picture.height, len(content))
                ImageOps.exif_transpose(picture, in_place=True)
                return _to_rgb(picture)
    except InvalidImage as problem:
        raise InvalidImage(problem.problem, source=name, hint=problem.hint) from None
    except UnidentifiedImageError:
        raise InvalidImage("not a picture", source=name, hint=_HINT) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise InvalidImage(
            f"more than {Image.MAX_IMAGE_PIXELS:,} pixels", source=name, hint="make the picture smaller"
        ) from None
    except Exception as problem:
        # A damaged file can make a decoder raise nearly anything (OSError, SyntaxError, struct.error, IndexError …),
        # and whatever it is, the news for the user is the same.
        raise InvalidImage("the picture is cut off or damaged", source=name, hint="copy the file again") from problem


def thumbnail_png(pixels: NDArray[np.uint8], size: int) -> bytes:
    """Encode (h, w, 3), (h, w, 1) or (h, w) uint8 pixels as PNG whose longer side is about `size`.

    Small pictures grow by a whole factor with hard edges, so that one sees exactly what the network saw; large ones
    shrink smoothly.
    """
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    picture = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.ndim == 3 and grey else pixels))
    factor = size // max(picture.size)
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    elif factor == 0:
        picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def preview_jpeg(file: ImageFile, size: int, source: str = "") -> bytes:
    """Encode a photo as a small JPEG of its own proportions, longer side at most `size`. Raises InvalidImage."""
    picture = open_picture(file, source)
    picture.thumbnail((size, size), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


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


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        # Pillow's own conversion clips: every value above 255 would become white.
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise InvalidImage(
            f"32-bit samples ({picture.mode}) do not define white",
            hint="save it with 8 or 16 bits a sample",
        )
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        paper.alpha_composite(picture if picture.mode == "RGBA" else picture.convert("RGBA"))
        picture = paper
    return picture.convert("RGB")
