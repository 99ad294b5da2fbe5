"""What somebody may ask for when a data set is made of what they have: the same names in commands and operators."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from snn.errors import InvalidInput, one_line
from snn_photos.reading import Fit

log = logging.getLogger(__name__)

NOTE_LENGTH = 10_000
AUTO, NONE = "auto", "none"
"""In place of a backbone's name: one if it pays (`photos`); none even then."""

LOGGED_SECONDS = 10.0  # between two lines of a log on how far something is

Task = Literal["", "classification", "regression"]
Missing = Literal["impute", "drop"]


class Options(BaseModel):
    """How a data set is made. What is left alone is found out from the data; what is of no use for them is ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    test_share: float = Field(
        default=0.2, gt=0, lt=1, description="this part becomes the test set, where none is given"
    )
    seed: int = Field(default=0, ge=0, description="decides which samples those are, and their order")
    strict: bool = Field(default=False, description="what would be a warning about the data is an error")

    classes: tuple[str, ...] = Field(default=(), description="the classes, that of number 0 first")
    only: tuple[str, ...] = Field(default=(), description="these classes alone are learned, the others left out")
    size: str = Field(default="", pattern=r"^([1-9]\d{0,3}([x×][1-9]\d{0,3})?)?$", description="photos become so large")
    fit: Fit = Field(default="resize", description="how: squeezed, cropped in the middle, or with a black border")
    skip_bad: bool = Field(default=False, description="leave out files that are no usable photos, and list them")
    labels: str = Field(default="", description="a CSV file beside the photos that tells their classes")

    backbone: str = Field(default="", description="a pretrained network, whose features of the photos are learned")

    mirror: bool = Field(default=False, description="with a backbone: mirror images of the photos are learned too")

    # What is asked of a table is refused where there is none: a split that is not as asked would be found out too late.
    label: str = Field(
        default="", description="a table's column to learn; else one called label, target, class or y, else the last"
    )
    task: Task = Field(default="", description="whether a table's label is a class or a number; else its values tell")
    drop: tuple[str, ...] = Field(default=(), description="columns of a table that are left out")
    missing: Missing = Field(
        default="impute", description="missing values of a table are filled in, or their rows dropped"
    )
    group: str = Field(
        default="", description="a column: rows that agree in it are never parted into training and test"
    )
    time: str = Field(default="", description="a column: the latest rows by it are the test set")
    split: str = Field(default="", description="a column that says train, test or validation")

    @field_validator("classes", "only", "drop", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """Take "non-cat,cat" for a list of two, and a tuple for what it is."""
        return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given

    @field_validator("size", mode="before")
    @classmethod
    def _text(cls, given: Any) -> Any:
        return str(given) if isinstance(given, int) and not isinstance(given, bool) else given

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Options:
        """Return the options that are given; None leaves one as it is. Raises InvalidInput, which names the option."""
        try:
            return cls(**{name: value for name, value in given.items() if value is not None})
        except ValidationError as problem:
            first = problem.errors()[0]
            field = ".".join(map(str, first["loc"])) or "options"
            if first["type"] == "extra_forbidden":
                hint = f"known are {', '.join(sorted(cls.model_fields))}"
                raise InvalidInput("is no option of a data set", field=field, hint=hint) from None
            about = cls.model_fields[str(first["loc"][0])].description if first["loc"] else ""
            raise InvalidInput(f"{first['input']!r}: {first['msg'].lower()}", field=field, hint=about or "") from None

    def check_no_table(self, source: str) -> None:
        """Raise InvalidInput, naming the option, if something is asked of a table's columns: there is no table."""
        asked = next((name for name in ("label", "group", "time", "split") if getattr(self, name)), "")
        if asked:
            hint = f"leave {asked} out, or give a table"
            raise InvalidInput("names a column, and there is no table", field=asked, source=source, hint=hint)

    @property
    def pixels(self) -> tuple[int, int] | None:
        """Return the (height, width) that is asked for, if one is."""
        if not self.size:
            return None
        height, _, width = self.size.replace("×", "x").partition("x")
        return int(height), int(width or height)


class Progress(Protocol):
    """Somebody who wants to know how far the work is, and what was noticed on the way."""

    def at(self, what: str, done: int, total: int) -> None:
        """Hear that `done` of `total` are done; called often."""

    def note(self, text: str) -> None:
        """Hear one line on what was found and done about it."""

    def warn(self, text: str) -> None:
        """Hear one line on what is suspicious."""


class Logged:
    """Progress as lines of a log."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def at(self, what: str, done: int, total: int) -> None:
        """Log how far it is, every ten seconds."""
        now = time.monotonic()
        if now - self._last >= LOGGED_SECONDS:
            self._last = now
            log.info("%s: %s of %s", what, f"{done:,}", f"{total:,}")

    def note(self, text: str) -> None:
        """Log it."""
        log.info("%s", one_line(text, NOTE_LENGTH))

    def warn(self, text: str) -> None:
        """Log it as a warning."""
        log.warning("%s", one_line(text, NOTE_LENGTH))


def some(names: Sequence[str], shown: int = 10) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" … and {len(names) - shown:,} more" if len(names) > shown else ""
    return "; ".join(names[:shown]) + more
