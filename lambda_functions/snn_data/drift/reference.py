"""What is kept of training data, so that others can be compared with them: a few bins a feature, under 200 KB."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from numpy.typing import NDArray

from snn.batches import Samples
from snn.errors import InvalidDataset, InvalidInput
from snn_data.columns import Columns
from snn_data.dataset import Dataset, Stored
from snn_data.drift.bins import Bins, Numbers, Values, damaged
from snn_data.drift.chance import Counts
from snn_data.drift.directions import Directions
from snn_data.drift.features import (
    FEW,
    Kind,
    Measured,
    of_directions,
    of_labels,
    of_numbers,
    of_photos,
    of_table,
)  # fmt: skip
from snn_data.drift.samples import independent, spread
from snn_data.drift.schema import Schema

MOST_BYTES = 200_000
"""Of a reference as JSON: of data with very many columns fewer bins are kept."""

MOST_PHOTOS, MOST_FEATURES, MOST_ROWS = 5_000, 10_000, 100_000
"""Samples that are looked at: photos, features that become directions, rows of tables; of more, evenly spread."""

FORMAT = 1
_CUTS, _VALUES = 400, 60  # of a feature, at most
_ENOUGH = 20  # samples, for directions


@dataclass(frozen=True, eq=False)
class Feature:
    """A feature of the reference: its bins, and how many samples lie in each."""

    name: str
    kind: Kind
    bins: Bins


@dataclass(frozen=True, eq=False)
class Seen:
    """Samples counted by the bins of a reference: for each feature counts, None of one that they do not have.

    `coarse` says that numbers are counted by the few bins of `Numbers.coarse`. `schema` is None of requests.
    """

    counts: tuple[Counts | None, ...]
    coarse: bool = False
    schema: Schema | None = None


@dataclass(frozen=True, eq=False)
class Reference:
    """What data to train on were like."""

    schema: Schema
    features: tuple[Feature, ...]
    directions: Directions | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> Reference:
        """Return what is kept of a data set's training part; of features of photos, the looks of its test part too.

        Raises InvalidDataset if there is nothing to compare.
        """
        train, directions = independent(dataset.train), None
        stored = train.stored
        if _by_directions(dataset) and len(train) >= _ENOUGH:
            rows = stored[spread(len(train), MOST_FEATURES)]
            # What the directions are found in is not what others are compared with.
            directions, stored = Directions.of(rows[::2]), rows[1::2]
        measured = [of_labels(train.y, dataset.classes), *_measured(dataset, stored, directions)]
        schema = Schema.of(dataset)
        for halved in range(6):
            most = max(12, _budget(measured) >> halved), max(6, _VALUES >> halved)
            features = tuple(
                Feature(one.name, one.kind, one.binned(*most)) for one in measured if _has_samples(one)
            )  # fmt: skip
            found = cls(schema, features, directions)
            if len(found.to_json()) <= MOST_BYTES:
                break
        if not features:
            raise InvalidDataset("has no samples to compare with", field="train_set_x", hint="give some")
        return found

    def count(self, dataset: Dataset, samples: Samples | None = None) -> Seen:
        """Return a data set's samples by the bins here: `independent` ones, by default those of its training part."""
        schema = Schema.of(dataset)
        comparable = self.schema.comparable(schema)
        chosen = independent(dataset.train) if samples is None else samples
        found = [of_labels(chosen.y, dataset.classes)]
        if comparable:
            found += _measured(dataset, chosen.stored, self.directions)
        by_name = {(one.name, one.kind): one for one in found}
        return Seen(
            tuple(
                one.counted(feature.bins) if (one := by_name.get((feature.name, feature.kind))) else None
                for feature in self.features
            ),
            schema=schema,
        )

    @cached_property
    def digest(self) -> str:
        """Return what tells it from other references, 16 characters: counts by the bins of one fit no other."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return it as JSON text, under 200 KB."""
        features = [{"name": one.name, "kind": one.kind, **one.bins.to_dict()} for one in self.features]
        directions = self.directions and self.directions.to_dict()
        told = {"format": FORMAT, "schema": self.schema.to_dict(), "features": features, "directions": directions}
        return json.dumps(told, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes, source: str = "the reference") -> Reference:
        """Read what `to_json` wrote. Raises InvalidInput, naming the field."""
        try:
            given = json.loads(text)
        except ValueError as error:
            raise InvalidInput(f"is not JSON: {error}", source=source) from None
        if not isinstance(given, dict) or given.get("format") != FORMAT or not isinstance(given.get("features"), list):
            raise damaged("format", source)
        features = tuple(_feature(one, source) for one in given["features"])
        directions = given.get("directions")
        if not features or not isinstance(directions, dict | None):
            raise damaged("features", source)
        schema = Schema.from_dict(given.get("schema"), source)
        return cls(schema, features, Directions.from_dict(directions, source) if directions else None)


def _measured(dataset: Dataset, stored: Stored, directions: Directions | None) -> Iterator[Measured]:
    """Yield all features of some samples of a data set but their labels."""
    if stored.ndim > 2:
        yield from of_photos(stored[spread(len(stored), MOST_PHOTOS)])
    else:
        yield from of_rows(stored, dataset.columns, directions)
    if dataset.pictures is not None:
        yield from of_photos(dataset.pictures[spread(len(dataset.pictures), MOST_PHOTOS)])


def of_rows(rows: NDArray[Any], columns: Columns | str, directions: Directions | None) -> Iterator[Measured]:
    """Yield the features of rows (m, d): by directions if there are some, else by columns, or number by number."""
    if directions is not None:
        yield from of_directions(rows[spread(len(rows), MOST_FEATURES)], directions)
        return
    rows = rows[spread(len(rows), MOST_ROWS)]
    if columns:
        known = columns if isinstance(columns, Columns) else Columns.from_json(columns, "the data set")
        yield from of_table(rows, known)
    elif rows.shape[1] <= FEW:
        yield from of_numbers(rows)


def _by_directions(dataset: Dataset) -> bool:
    return len(dataset.shape) == 1 and not dataset.columns and (bool(dataset.backbone) or dataset.features > FEW)


def _has_samples(one: Measured) -> bool:
    return bool(one.numbers.size if one.numbers is not None else one.counts is not None and one.counts.sum())


def _budget(measured: list[Measured]) -> int:
    """Return how many cuts each feature of numbers gets at most: about 16 bytes each in JSON."""
    return min(_CUTS, 100_000 // 16 // max(1, sum(one.numbers is not None for one in measured)))


def _feature(given: Any, source: str) -> Feature:
    if (
        not isinstance(given, Mapping)
        or not isinstance(given.get("name"), str)
        or given.get("kind") not in get_args(Kind)
    ):
        raise damaged("features", source)
    name = str(given["name"])
    read = Numbers.from_dict if "cuts" in given else Values.from_dict
    return Feature(name, given["kind"], read(given, name, source))
