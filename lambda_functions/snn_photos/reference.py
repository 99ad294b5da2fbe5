"""What names a backbone: in the bucket, in data sets of its features, and in the models that are trained on them."""

from __future__ import annotations

import hashlib
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from snn.errors import InvalidInput
from snn.recipe import BACKBONE_NAME
from snn_photos.preprocessing import Preprocessing


class BackboneReference(BaseModel):
    """A backbone by its contents: two of the same `digest` give the same features of the same photo."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(pattern=f"^{BACKBONE_NAME}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the ONNX file")
    features: int = Field(gt=1)
    preprocessing: Preprocessing

    @classmethod
    def load(cls, text: str | bytes, source: str) -> Self:
        """Return what JSON text says. Raises InvalidInput."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in ("backbone", *first["loc"]))
            raise InvalidInput(first["msg"], field=field, source=source, hint="make the file anew") from None

    @property
    def digest(self) -> str:
        """Return what tells its features from all others: the hash of network and preprocessing."""
        text = self.sha256 + self.preprocessing.model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return it as JSON text."""
        return self.model_dump_json()
