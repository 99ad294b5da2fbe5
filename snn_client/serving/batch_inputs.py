"""What a batch is asked, cut into parts: in the same way whenever it is looked at, and never held whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from snn.errors import InvalidModel
from snn_client.serving.batch_contents import Kind
from snn_cloud.aws.errors import CloudError
from snn_data.model import Model

CHARACTERS_AT_ONCE = 5_500_000
"""Of a part as JSON, whose event may have 6 MB."""


class SourceChanged(CloudError):
    """The source is no longer what it was when it was listed."""


@dataclass(frozen=True)
class Inputs:
    """Some inputs by their names, `first` being the place of the first among all (from 1).

    `stamp` stands for their contents. `task` reads these, and returns the fields of a `Part` that hold them.
    """

    first: int
    names: Sequence[str]
    stamp: str
    task: Callable[[], dict[str, Any]] = field(repr=False)


class Survey(NamedTuple):
    """What a source holds: how many inputs, in about how many parts, of how many bytes; and what stands for it all."""

    inputs: int
    parts: int
    size: int
    digest: str


class Source(Protocol):
    """Where inputs come from."""

    kind: Kind

    def survey(self) -> Survey:
        """Look at all of it once. Raises InvalidInput for a source that is empty or cannot be read."""

    def parts(self) -> Iterator[Inputs]:
        """Yield the inputs, part by part, in their order. Raises SourceChanged at the end if it changed meanwhile."""


def check_kind(model: Model, kind: Kind, source: str) -> None:
    """Raise InvalidModel if a model reads photos where there are rows, or rows where there are photos."""
    photos = "backbone" in model.attributes or len(model.shape) == 3
    if photos and kind == "rows":
        raise InvalidModel("reads photos, not tables", source=model.source, hint=f"{source} is a table")
    if not photos and kind == "photos":
        reads = "rows of a table" if "columns" in model.attributes else f"{model.features} features"
        raise InvalidModel(f"reads {reads}, not photos", source=model.source, hint="give a CSV or Parquet file")


def changed(source: str) -> SourceChanged:
    """Return the error that says that a source is another by now."""
    return SourceChanged(f"{source} changed while the batch was running (start the batch again: its parts are new)")
