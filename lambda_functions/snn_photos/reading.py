"""Photos as a network of pixels reads them: from a file that somebody hands in to numbers."""

from __future__ import annotations

import json
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import TypeAdapter

from snn_photos.pictures import ImageFile, open_picture

Fit = Literal["resize", "crop", "pad"]

_FIT: TypeAdapter[Fit] = TypeAdapter(Fit)


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
