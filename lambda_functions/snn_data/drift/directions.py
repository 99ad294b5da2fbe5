"""What a backbone sees, or a table of very many numbers, as a few: where samples lie in the training data's cloud.

The cloud's leading principal directions, as many as say something; how far a sample is from the middle, and how much of
it none of the directions tells. They are found in one half of the reference and the other half is what new samples are
compared with: among the samples that the directions were made for, the distances would be smaller than among any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_data.drift.bins import damaged, pack, unpack
from snn_data.drift.chance import Floats

MOST = 8
MOST_BYTES = 60_000
"""Of the directions, at two bytes a number: of very wide samples there are fewer."""

FAR, LEFT = "distance from the middle", "what no direction tells"
_SAMPLES = 2_000  # that directions are found in


@dataclass(frozen=True, eq=False)
class Directions:
    """The middle (d,) of a cloud of samples and its leading directions (k, d), of length 1."""

    middle: NDArray[np.float32]
    axes: NDArray[np.float32]

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Directions:
        """Find the directions of samples (m, d), at least two, by their singular values (Pearson 1901)."""
        some = rows[np.arange(min(len(rows), _SAMPLES)) * len(rows) // min(len(rows), _SAMPLES)].astype(np.float64)
        middle = some.mean(0)
        centred = some - middle
        # Of the smaller of the two Gram matrices, which has the same eigenvalues.
        wide = centred.shape[1] > centred.shape[0]
        values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
        most = max(1, min(MOST, len(rows) // 10, MOST_BYTES // (2 * rows.shape[1])))
        keep = [place for place in np.argsort(-values)[:most] if values[place] > 1e-9 * values.max() > 0]
        axes = (vectors[:, keep].T @ centred if wide else vectors[:, keep].T).reshape(len(keep), rows.shape[1])
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-300)
        # Of the two signs the one that the largest number has: the same on every machine.
        signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)]) if len(axes) else np.ones(0)
        return cls(middle.astype(np.float32), (signs[:, None] * axes).astype(np.float16).astype(np.float32))

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the numbers that a sample becomes."""
        return (FAR, LEFT, *(f"direction {number}" for number in range(1, len(self.axes) + 1)))

    def numbers(self, rows: NDArray[Any]) -> Floats:
        """Return the numbers (m, names) of samples (m, d). Raises InvalidInput for samples of another width."""
        if rows.ndim != 2 or rows.shape[1] != self.middle.size:
            hint = f"give (samples, {self.middle.size})"
            raise InvalidInput(f"are {rows.shape}", field="features", hint=hint)
        centred = rows - self.middle.astype(np.float64)
        along = centred @ self.axes.T.astype(np.float64)
        squared = (centred**2).sum(1)
        left = np.maximum(squared - (along**2).sum(1), 0)
        return np.column_stack([np.sqrt(squared), np.sqrt(left), along])

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return {"middle": pack(self.middle, "<f4"), "axes": pack(self.axes, "<f2")}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any], source: str) -> Directions:
        """Read what `to_dict` returned. Raises InvalidInput."""
        middle = unpack(given, "middle", "<f4", "directions", source)
        axes = unpack(given, "axes", "<f2", "directions", source)
        if not middle.size or axes.size % middle.size:
            raise damaged("directions", source)
        return cls(middle.copy(), axes.astype(np.float32).reshape(-1, middle.size))
