"""From a picture to what a backbone reads: the small JSON file beside its ONNX file says how."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator

from snn.errors import InvalidInput
from snn.recipe import nearest

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}
"""Ways of resizing, by the names that Pillow and torchvision have for them."""


Numbers = Annotated[
    Annotated[float, Tag("one")] | Annotated[list[float], Tag("many")],
    Discriminator(lambda value: "many" if isinstance(value, list) else "one"),
]
"""One for all channels, or one for each."""


class InvalidBackbone(InvalidInput):
    """An ONNX file, or the JSON beside it, is no backbone."""


class Preprocessing(BaseModel):
    """How a picture becomes a backbone's input: x = (pixel − mean) / scale, of pixels in 0..255.

    `crop` is how much of the picture's largest centred rectangle of these proportions is kept (0.875 is common); null
    squeezes the whole picture. `mean` and `scale` are numbers, or one for each channel in the order of `channels`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    height: int = Field(ge=8, le=2_048)
    width: int = Field(ge=8, le=2_048)
    resize: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    crop: float | None = Field(default=1.0, gt=0, le=1)
    mean: Numbers = 0.0
    scale: Numbers = 255.0
    channels: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @field_validator("mean", "scale")
    @classmethod
    def _one_for_each_channel(cls, value: float | list[float]) -> float | list[float]:
        if isinstance(value, list) and len(value) != 3:
            raise ValueError(f"has {len(value)} numbers, not one or three")
        if np.abs(np.asarray(value)).max() > 1e6:
            raise ValueError("is farther from 0 than a million")
        return value

    @field_validator("scale")
    @classmethod
    def _can_divide(cls, value: float | list[float]) -> float | list[float]:
        if not np.all(np.asarray(value) >= 1e-6):
            raise ValueError("is not greater than 0" if not np.all(np.asarray(value) > 0) else "is less than 0.000001")
        return value

    @classmethod
    def load(cls, text: str | bytes, source: str) -> Self:
        """Return what JSON text says. Raises InvalidBackbone, which names every bad field."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problems = [_told(item) for item in error.errors()]
            raise InvalidBackbone("; ".join(problems), source=source, hint="docs/backbones.md has an example") from None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the shape of one picture as the backbone reads it."""
        size = (self.height, self.width)
        return (3, *size) if self.layout == "NCHW" else (*size, 3)

    def apply(self, picture: Image.Image) -> NDArray[np.float32]:
        """Return an RGB picture of any size as the backbone reads it: of `shape`, float32."""
        small = picture.resize((self.width, self.height), FILTERS[self.resize], box=self._box(*picture.size))
        pixels = np.asarray(small, dtype=np.float32)
        if self.channels == "BGR":
            pixels = pixels[..., ::-1]
        scaled = (pixels - np.asarray(self.mean, np.float32)) / np.asarray(self.scale, np.float32)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1) if self.layout == "NCHW" else scaled)

    def _box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return the part of a picture that is used: left, top, right and bottom."""
        if self.crop is None:
            return 0, 0, width, height
        factor = min(width / self.width, height / self.height) * self.crop
        left, top = (width - self.width * factor) / 2, (height - self.height * factor) / 2
        return max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height)


def _told(item: Any) -> str:
    """Return one line on what pydantic found."""
    field = ".".join(str(part) for part in item["loc"] if part not in ("one", "many"))
    if item["type"] == "extra_forbidden":
        return f"{field}: is not a field ({nearest(field, Preprocessing.model_fields)})"
    if item["type"] == "missing":
        return f"{field}: is missing"
    if item["type"] == "json_invalid":
        return f"is not JSON: {item['ctx']['error']}"
    text = item["msg"].removeprefix("Value error, ")
    return f"{field}: {text}, got {item['input']!r}"[:200] if field else f"is not a JSON object: {text}"
