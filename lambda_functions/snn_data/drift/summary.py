"""What an endpoint was asked, as whole numbers that add up: how many samples lie in each bin of a reference.

Several environments of a Lambda add theirs to one item of a database (`increments`), in any order; nothing of a sample
is kept but its bins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn.errors import InvalidInput
from snn_data.columns import Columns
from snn_data.drift.bins import Numbers
from snn_data.drift.chance import Counts
from snn_data.drift.features import Measured, of_photos
from snn_data.drift.reference import Reference, Seen, of_rows

_KEY = re.compile(r"f(\d{1,4})_(\d{1,4})")
SAMPLES = "samples"


class Summary:
    """Counts by the bins of `reference`; of `samples` that were added."""

    def __init__(self, reference: Reference) -> None:
        self.reference, self.samples = reference, 0
        self._counts = [_none(feature.bins) for feature in reference.features]
        self._places = {(feature.name, feature.kind): at for at, feature in enumerate(reference.features)}

    def add_photos(self, photos: NDArray[np.uint8]) -> None:
        """Count photos (m, height, width, 3) or (m, height, width, 1), or one of them, by their looks.

        They must be made as the reference's were: of photos the model reads, in its size; where the model has a
        backbone, squeezed to 64×64 as the pictures in a data set are. Raises InvalidImage for what is no photo.
        """
        photos = photos[None] if photos.ndim == 3 and photos.shape[2] in (1, 3) else photos
        self._add(list(of_photos(photos)))
        self.samples += len(photos)

    def add_rows(self, rows: NDArray[Any], columns: Columns | None = None, *, of_photos: bool = False) -> None:
        """Count rows (m, d), or one (d,), as the network reads them: a table's, what a backbone sees, or features.

        `columns` are those of the model, if it reads a table. `of_photos` says that the photos were counted already.
        Raises InvalidInput for rows of another width.
        """
        rows = np.atleast_2d(rows)
        width = self._width(columns)
        if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
            hint = f"give (samples, {width})"
            raise InvalidInput(f"are {rows.shape}", field="features", hint=hint)
        if not np.isfinite(rows).all():
            raise InvalidInput("hold what is no number", field="features", hint="leave such samples out")
        self._add(list(of_rows(rows, columns or "", self.reference.directions)))
        self.samples += 0 if of_photos else len(rows)

    def __add__(self, other: Summary) -> Summary:
        """Return both together. Raises InvalidInput if they count by different references."""
        if self.reference.digest != other.reference.digest:
            raise InvalidInput("count by different references", field="summaries", hint="count anew")
        both = Summary(self.reference)
        both.samples = self.samples + other.samples
        both._counts = [mine + theirs for mine, theirs in zip(self._counts, other._counts, strict=True)]
        return both

    @property
    def seen(self) -> Seen:
        """Return the counts; None for a feature of which nothing was added."""
        return Seen(tuple(counts if counts.any() else None for counts in self._counts), coarse=True)

    def increments(self) -> dict[str, int]:
        """Return what to add to the counters of a database, by name; nothing of bins that are empty.

        Names are `f<feature>_<bin>` and `samples`. A table of hundreds of columns has thousands.
        """
        found = {SAMPLES: self.samples} if self.samples else {}
        for number, counts in enumerate(self._counts):
            found |= {f"f{number}_{place}": int(counts[place]) for place in np.flatnonzero(counts)}
        return found

    @classmethod
    def of_counts(cls, reference: Reference, counts: Mapping[str, Any]) -> Summary:
        """Return the summary that such counters make, as whole numbers or as DynamoDB's decimals; others are ignored.

        Raises InvalidInput for a counter that the reference has no bin for.
        """
        made = cls(reference)
        for name, value in counts.items():
            found = _KEY.fullmatch(name)
            if found is None and name != SAMPLES:
                continue
            whole = isinstance(value, int | Decimal) and not isinstance(value, bool) and value == int(value)
            if not whole or value < 0:
                raise InvalidInput(f"is {value!r}", field=name, source="the counters", hint="give counts")
            if found is None:
                made.samples = int(value)
                continue
            feature, place = int(found[1]), int(found[2])
            if feature >= len(made._counts) or place >= made._counts[feature].size:
                hint = "keep counters under the digest of their reference"
                raise InvalidInput("is no bin of this reference", field=name, source="the counters", hint=hint)
            made._counts[feature][place] = int(value)
        return made

    def _add(self, measured: list[Measured]) -> None:
        for one in measured:
            at = self._places.get((one.name, one.kind))
            counts = None if at is None else one.counted(self.reference.features[at].bins, coarse=True)
            if at is not None and counts is not None:
                self._counts[at] += counts

    def _width(self, columns: Columns | None) -> int | None:
        """Return how wide rows must be, None if photos are all that is counted."""
        if self.reference.directions is not None:
            return int(self.reference.directions.middle.size)
        if columns is not None:
            return columns.features
        shape = self.reference.schema.shape
        return shape[0] if len(shape) == 1 and not self.reference.schema.columns else None


def _none(bins: Any) -> Counts:
    return np.zeros(bins.coarse.size + 1 if isinstance(bins, Numbers) else bins.counts.size, np.int64)
