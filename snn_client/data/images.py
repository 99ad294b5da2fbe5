"""Photos: from a file that somebody hands in to the numbers that the network reads, and small pictures for reports."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from snn.errors import InvalidImage, InvalidInput, one_line
from snn_client.data.options import Fit, some
from snn_photos.pictures import ImageFile, open_picture

log = logging.getLogger(__name__)

_FIT: TypeAdapter[Fit] = TypeAdapter(Fit)
_REPLACE = "replace them, or leave them out"
_NAMED = 600  # characters of a message, which has a thousand, that name bad photos


def load_image(
    file: ImageFile, image_shape: tuple[int, ...], source: str = "", how: Reading | None = None
) -> NDArray[np.float64]:
    """Read one photo as the network wants it: (h·w·channels, 1), each value in 0..1.

    `image_shape` is the data set's (h, w, 3), or (h, w, 1) where photos are grey; `how` is how its photos were read.
    `source` names the photo in errors (default: its path).
    Raises InvalidImage when the file is not a picture, is damaged, or unpacks to far too much.
    """
    pixels = load_pixels(file, image_shape, source, how)
    return pixels.reshape(-1, 1).astype(np.float64) / 255


def refuse_photos(bad: Sequence[InvalidInput], count: int) -> None:
    """Raise InvalidImage if there are bad photos among so many: all are named, in the log those that do not fit."""
    if len(bad) == 1:
        raise bad[0]
    if bad:
        names = [one_line(f"{each.source}: {each.problem}") for each in bad]
        shown = next((most for most in range(min(len(bad), 50), 1, -1) if len(some(names, most)) <= _NAMED), 1)
        for name in names[shown:]:
            log.warning("cannot be used: %s", name)
        hints = {each.hint for each in bad}
        hint = hints.pop() if len(hints) == 1 else ""
        raise InvalidImage(f"{len(bad)} of {count} photos cannot be used: {some(names, shown)}", hint=hint or _REPLACE)


def load_pixels(
    file: ImageFile, image_shape: tuple[int, ...], source: str = "", how: Reading | None = None
) -> NDArray[np.uint8]:
    """Read one photo as the data set stores it: of `image_shape`, uint8, upright, on white, in sRGB.

    Raises InvalidImage.
    """
    fit, bits = how or Reading()
    height, width, channels = image_shape
    picture = open_picture(file, source, bits, (width, height))
    if channels == 1:
        picture = picture.convert("L")
    if fit == "resize":
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    else:
        fitted = ImageOps.fit if fit == "crop" else ImageOps.pad
        picture = fitted(picture, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.uint8).reshape(image_shape)


class Reading(NamedTuple):
    """How photos become pixels: squeezed ("resize"), cropped in the middle ("crop"), or with a black border ("pad").

    Of photos with 16 bits so many are used; 0: as many as the brightest pixel of each needs.
    """

    fit: Fit = "resize"
    bits: int = 0

    @classmethod
    def of(cls, text: str) -> Reading:
        """Return what `to_text` told; of no text, or one of another kind, what is usual."""
        try:
            given = json.loads(text or "{}")
            return cls(_FIT.validate_python(given["fit"]), int(given["bits"]))
        except (ValueError, TypeError, KeyError):
            return cls()

    def to_text(self) -> str:
        """Return it as JSON text, which data sets and models keep."""
        return json.dumps(self._asdict())


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
