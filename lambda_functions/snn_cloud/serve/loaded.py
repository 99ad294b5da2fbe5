"""A model that is loaded and answers: photos, rows of a table, or features."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from snn.activations import Array
from snn.errors import InvalidInput, InvalidModel
from snn_cloud.serve.http import MAX_ANSWER, Asked, Refused
from snn_cloud.serve.watch import Watch
from snn_data.answering import Said, say
from snn_data.columns import Columns
from snn_data.familiar import Familiar
from snn_data.isolated import Broken, isolated, raise_limits
from snn_data.model import AT_ONCE, Model
from snn_photos.backbone import Backbone
from snn_photos.pictures import get_ready, open_picture
from snn_photos.reading import Reading, load_pixels

PIXELS_MEMORY = 256 * 2**20
"""Bytes that decoding a request's photos may take, beyond what any child may."""

SAMPLE_BYTES, NUMBER_BYTES = 220, 26
"""What a sample takes in the text of an answer, beside the name of its class, and each of its probabilities."""


class Prediction(Said):
    """What is answered to one sample: `probabilities` are those of all classes, in their order.

    `unlike` says of a photo, of a model that has a backbone, that it is unlike anything it was trained on.
    """

    probabilities: NotRequired[list[float]]
    unlike: NotRequired[bool]


class Label(TypedDict):
    """Which version answered; its number is 0 if the registry does not know it."""

    name: str
    version: int
    run_id: str


@dataclass(frozen=True)
class Loaded:
    """A version, ready to answer. `familiar` is what it knows, if that can be told; `watch` counts what it is asked."""

    label: Label
    model: Model
    backbone: Backbone | None = field(default=None, repr=False)
    familiar: Familiar | None = field(default=None, repr=False)
    watch: Watch | None = field(default=None, repr=False)

    def answers(self, asked: Asked) -> list[Prediction]:
        """Return an answer to each photo or row, in their order.

        Raises Refused for what cannot be read, InvalidInput for a model that does not work.
        """
        if self._reads_photos:
            if asked.rows:
                raise Refused(422, 'this model reads photos (send one, or {"instances": [{"b64": "…"}]})')
            self._check_count(len(asked.photos))
            return self._of_photos(asked.photos)
        if asked.photos:
            raise Refused(422, f"this model reads {self._reads}, not photos")
        rows = self._rows(asked)
        self._check_count(len(rows))
        return self._of_rows(rows)

    def check(self) -> None:
        """Raise InvalidInput unless it can answer: it says what it reads and what its classes are, and is tried."""
        _ = self._reads_photos, self._columns, self.threshold
        width = self._columns.features if self._columns else None
        if self.backbone is not None:
            width = self.backbone.features
        if width not in (None, self.model.features):
            raise InvalidInput(f"reads {self.model.features:,} features, not {width:,}", source=self.model.source)
        self._said(np.full((self.model.features, 1), 0.5))
        if self._reads_photos:
            get_ready()

    @property
    def most(self) -> int:
        """Return how many samples one answer has room for: Lambda returns no more than 6 MB."""
        names = [len(json.dumps(json.dumps(name))) for name in self.model.classes]
        return max(1, (MAX_ANSWER - sum(names)) // (SAMPLE_BYTES + len(names) * NUMBER_BYTES + max(names, default=0)))

    def _check_count(self, count: int) -> None:
        if count > self.most:
            classes = f", each with {len(self.model.classes):,} probabilities," if self.model.of_classes else ""
            raise Refused(
                413, f"the answers to {count:,} instances{classes} are too long (send at most {self.most:,} at a time)"
            )

    @property
    def threshold(self) -> float | None:
        """Return the probability above which it says class 1, None but of two classes."""
        return self.model.threshold if len(self.model.classes) == 2 else None

    @cached_property
    def _reads_photos(self) -> bool:
        return self.backbone is not None or len(self.model.shape) == 3

    @cached_property
    def _columns(self) -> Columns | None:
        text = self.model.attributes.get("columns")
        return None if text is None else Columns.from_json(str(text), self.model.source)

    @property
    def _reads(self) -> str:
        columns = self._columns
        return f"{self.model.features} features" if columns is None else f"rows of {', '.join(columns.names[:20])}"

    def _of_photos(self, photos: Sequence[bytes]) -> list[Prediction]:
        if self.backbone is None:
            pixels = self._decoded(photos, self._pixels)
            if self.watch is not None:
                self.watch.photos(np.stack(pixels))
            # Each photo by itself: what comes with it changes no digit of its answer.
            return [self._one(each.reshape(-1, 1).astype(np.float64) / 255) for each in pixels]
        seen = self._decoded(photos, self._picture)
        rows = np.stack([self.backbone.see(each) for each in seen])
        if not np.isfinite(rows).all():
            raise InvalidInput("the backbone gives features that are not finite", source=self.model.source)
        if self.watch is not None:
            self.watch.rows(rows)
        answers = [self._one(row[:, None]) for row in rows]
        if self.familiar is not None:
            for answer, unlike in zip(answers, self.familiar.unlike(rows), strict=True):
                answer["unlike"] = bool(unlike)
        return answers

    def _pixels(self, photo: bytes, name: str) -> NDArray[Any]:
        how = Reading.of(str(self.model.attributes.get("photos", "")))
        return load_pixels(BytesIO(photo), self.model.shape, name, how)

    def _picture(self, photo: bytes, name: str) -> NDArray[Any]:
        assert self.backbone is not None  # noqa: S101 # nosec B101
        return self.backbone.preprocessing.apply(open_picture(BytesIO(photo), name))

    def _decoded(self, photos: Sequence[bytes], decode: Any) -> list[NDArray[Any]]:
        """Return photos decoded in a child process, which a file of a stranger may break. Raises Refused."""

        def work(_: object) -> list[NDArray[Any]] | str:
            raise_limits(PIXELS_MEMORY + sum(map(len, photos)))
            found, number = [], 0
            try:
                for number, photo in enumerate(photos, start=1):
                    found.append(decode(photo, f"photo {number}"))
            except InvalidInput as problem:
                return str(problem)
            return found

        try:
            found = isolated(work)
        except Broken as problem:
            raise Refused(422, f"a photo is so damaged that reading it {problem}") from None
        if isinstance(found, str):
            raise Refused(422, found)
        return found

    def _rows(self, asked: Asked) -> list[Any]:
        """Return rows without the header that a CSV text may have. Raises Refused."""
        rows, columns = list(asked.rows), self._columns
        names = rows[0] if columns is not None and isinstance(rows[0], list) else []
        if columns is None or not all(isinstance(name, str) for name in names) or not set(columns.names) <= set(names):
            return rows
        if len(set(names)) < len(names):
            raise Refused(422, "a column stands twice in the header")
        for number, row in enumerate(rows[1:], 1):
            if isinstance(row, list) and len(row) != len(names):
                raise Refused(422, f"row {number:,} has {len(row):,} values, the header {len(names):,}")
        rows = [dict(zip(names, row, strict=True)) if isinstance(row, list) else row for row in rows[1:]]
        if not rows:
            raise Refused(422, "there are no rows below the header")
        return rows

    def _of_rows(self, rows: list[Any]) -> list[Prediction]:
        """Return the answers to rows. Raises Refused."""
        columns = self._columns
        try:
            if columns is not None:
                inputs: Array = columns.encode_rows(rows, "instances").T
            else:
                inputs = np.array([self._features(row, number) for number, row in enumerate(rows, 1)], np.float64).T
            if self.watch is not None:
                self.watch.rows(inputs.T, columns)
            parts = range(0, inputs.shape[1], AT_ONCE)
            return [one for start in parts for one in self._said(inputs[:, start : start + AT_ONCE])]
        except InvalidModel:  # it works (see `check`), and all but these numbers are as they were
            raise Refused(422, "numbers in the instances are too large: the answer is no finite number") from None
        except InvalidInput as problem:
            raise Refused(422, str(problem)) from None

    def _features(self, row: Any, number: int) -> list[float]:
        if isinstance(row, list) and len(row) == self.model.features:
            try:
                found = [float(value) for value in row if not isinstance(value, bool) and _is_plain(value)]
            except (TypeError, ValueError, OverflowError):
                found = []
            if len(found) == len(row) and all(map(math.isfinite, found)):
                return found
        raise Refused(422, f"instance {number} is not a list of {self.model.features:,} numbers")

    def _one(self, inputs: Array) -> Prediction:
        return self._said(inputs)[0]

    def _said(self, inputs: Array) -> list[Prediction]:
        found = list[Prediction]()
        for outputs in self.model.answers(inputs).T:
            answer = cast(Prediction, say(self.model, outputs))
            if self.model.of_classes:
                both = (1 - outputs[0], outputs[0]) if len(outputs) == 1 else outputs
                answer["probabilities"] = [float(probability) for probability in both]
            found.append(answer)
        return found


def _is_plain(value: Any) -> bool:
    """Return whether a number that is given as text, as in CSV, is written as others than Python write it."""
    return not isinstance(value, str) or (value.isascii() and "_" not in value)
