"""Everything that `snn` raises on purpose."""

from __future__ import annotations


class SnnError(Exception):
    """The root of the project's exceptions: whatever is caught by this name carries a message meant for a person."""


class InvalidInput(SnnError):
    """Something a user handed in cannot be used.

    The message is one line: the file, the field, what is wrong with it, and the mend.
    """

    def __init__(self, problem: str, *, field: str = "", source: str = "", mend: str = "") -> None:
        self.problem, self.field, self.source, self.mend = problem, field, source, mend
        line = ": ".join(part for part in (source, field, problem) if part)
        super().__init__(f"{line} ({mend})" if mend else line)


class InvalidParameters(InvalidInput):
    """`parameters.json`, or an override of it, cannot be trained with."""


class InvalidDataset(InvalidInput):
    """A `datasets.h5` cannot be read, or does not hold what the contract says."""


class InvalidModel(InvalidInput):
    """A `params.h5` cannot be read, or does not fit the data."""


class InvalidImage(InvalidInput):
    """A file is not a picture that can be classified."""
