"""Photos that cannot be used, all in one message, and small pictures for reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snn.errors import InvalidImage, InvalidInput, one_line
from snn_client.data.options import some
from snn_photos.pictures import ImageFile, open_picture

log = logging.getLogger(__name__)

_REPLACE = "replace them, or leave them out"
_NAMED = 600  # characters of a message, which has a thousand, that name bad photos


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
