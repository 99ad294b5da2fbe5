"""What data are, whatever their numbers: shape, type, classes, columns, and what came or went of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from snn_data.columns import Category, Columns
from snn_data.dataset import Dataset, backbone_name
from snn_data.drift.bins import damaged
from snn_data.drift.features import short

_MOST_BYTES = 20_000  # of a list of names
_NAMED = 5


class Difference(NamedTuple):
    """What is not the same: the name of it, and a sentence."""

    name: str
    text: str


@dataclass(frozen=True)
class Schema:
    """A sample's `shape` and `dtype`; names of `classes` and `columns`, and whose features they are (`backbone`).

    A list that is too long is empty, and `more` has its digest. A column that holds categories ends in " ()".
    """

    shape: tuple[int, ...]
    dtype: str
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    backbone: str = ""
    more: str = ""

    @classmethod
    def of(cls, dataset: Dataset) -> Schema:
        """Return a data set's."""
        columns = Columns.from_json(dataset.columns, "the data set").columns if dataset.columns else ()
        told = [short(one.name) + (_OF_CATEGORIES if isinstance(one, Category) else "") for one in columns]
        classes, digest = _kept([short(name) for name in dataset.classes])
        kept, other = _kept(told)
        stored, backbone = dataset.train.stored, backbone_name(dataset.backbone)
        # A table's width is that of its categories: another value is no other table.
        shape = (len(columns),) if columns else tuple(stored.shape[1:])
        shape = (*shape, 1) if len(shape) == 2 else shape
        dtype = "uint8" if stored.dtype == "uint8" else "numbers"
        return cls(shape, dtype, tuple(classes), tuple(kept), backbone, digest + other)

    def comparable(self, other: Schema) -> bool:
        """Return whether samples of the other are of the same kind: photos of this size, features of this backbone."""
        if (self.dtype, self.backbone, bool(self.columns)) != (other.dtype, other.backbone, bool(other.columns)):
            return False
        return bool(self.columns) or self.shape == other.shape

    def differences(self, new: Schema) -> list[Difference]:
        """Return what is not the same in new data, in words."""
        found = list[Difference]()
        if self.dtype != new.dtype:
            found.append(Difference("dtype", f"{_what(new)}, the training data were {_what(self)}"))
        elif self.shape != new.shape and not self.columns:
            found.append(
                Difference("shape", f"samples are {_sizes(new.shape)}, in the training data {_sizes(self.shape)}")
            )
        if self.backbone != new.backbone:
            names = [one or "no backbone" for one in (new.backbone, self.backbone)]
            found.append(
                Difference("backbone", f"features are those of {names[0]}, in the training data of {names[1]}")
            )
        if bool(self.classes) != bool(new.classes):
            both = ["classes" if one.classes else "numbers" for one in (new, self)]
            found.append(Difference("classes", f"labels are {both[0]}, in the training data {both[1]}"))
        else:
            found += _names("classes", "class", self.classes, new.classes)
        found += _names("columns", "column", self.columns, new.columns)
        if self.more != new.more:
            found.append(Difference("names", "classes or columns, of which there are very many, are not the same"))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Any, source: str) -> Schema:
        """Read what `to_dict` returned. Raises InvalidInput."""
        try:
            shape = tuple(int(side) for side in given["shape"])
            lists = [tuple(str(name) for name in given[key]) for key in ("classes", "columns")]
            return cls(shape, str(given["dtype"]), lists[0], lists[1], str(given["backbone"]), str(given["more"]))
        except (KeyError, TypeError, ValueError):
            raise damaged("schema", source) from None


_OF_CATEGORIES = " ()"


def _names(field: str, one: str, before: Sequence[str], now: Sequence[str]) -> list[Difference]:
    """Return which names came and which went; a column whose name stayed may hold something else now."""
    found, gone, come = list[Difference](), _beyond(before, now), _beyond(now, before)
    turned = [name for name in gone if _other(name) in come]
    for name in turned:
        gone.remove(name)
        come.remove(_other(name))
        plain = name.removesuffix(_OF_CATEGORIES)
        kinds = ("numbers", "categories") if plain != name else ("categories", "numbers")
        found.append(Difference(plain, f"{plain} holds {kinds[0]} now, in the training data it held {kinds[1]}"))
    for told, what in ((gone, "gone"), (come, "new")):
        if told:
            listed = ", ".join(name.removesuffix(_OF_CATEGORIES) for name in told[:_NAMED])
            more = f" and {len(told) - _NAMED:,} more" if len(told) > _NAMED else ""
            text = f"{one if len(told) == 1 else field} {listed}{more} {'is' if len(told) == 1 else 'are'} {what}"
            found.append(Difference(field, text))
    if not found and field == "classes" and tuple(before) != tuple(now):
        found.append(Difference(field, "classes are numbered in another order than in the training data"))
    return found


def _beyond(some: Sequence[str], others: Sequence[str]) -> list[str]:
    known = set(others)
    return [name for name in some if name not in known]


def _other(name: str) -> str:
    plain = name.removesuffix(_OF_CATEGORIES)
    return plain if plain != name else name + _OF_CATEGORIES


def _kept(names: Sequence[str]) -> tuple[Sequence[str], str]:
    """Return names; of too many none, and a digest."""
    text = json.dumps(names)
    return (names, "") if len(text) <= _MOST_BYTES else ((), hashlib.sha256(text.encode()).hexdigest()[:16])


def _what(schema: Schema) -> str:
    return "photos" if schema.dtype == "uint8" else "features"


def _sizes(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
