"""Everything that `snn` raises on purpose."""

from __future__ import annotations


class SnnError(Exception):
    """The root of the project's exceptions: whatever is caught by this name carries a message meant for a person."""


MESSAGE_LENGTH = 1_000


def one_line(text: str) -> str:
    """Return text as one line of at most 1,000 characters, whatever a user's file, field or value contains.

    Messages go into logs, the ledger (an item has at most 400 KB) and e-mails.
    """
    escaped = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return escaped if len(escaped) <= MESSAGE_LENGTH else f"{escaped[: MESSAGE_LENGTH - 2]} …"


class InvalidInput(SnnError):
    """Something a user handed in cannot be used.

    The message is one line: the file, the field, what is wrong with it, and the mend.
    """

    def __init__(self, problem: str, *, field: str = "", source: str = "", mend: str = "") -> None:
        self.problem, self.field, self.source, self.mend = problem, field, source, mend
        line = ": ".join(part for part in (source, field, problem) if part)
        super().__init__(one_line(f"{line} ({mend})" if mend else line))


class InvalidParameters(InvalidInput):
    """`parameters.json`, or an override of it, cannot be trained with."""


class InvalidDataset(InvalidInput):
    """A `datasets.h5` cannot be read, or does not hold what the contract says."""


class InvalidModel(InvalidInput):
    """A `params.h5` cannot be read, or does not fit the data."""


class InvalidImage(InvalidInput):
    """A file is not a picture that can be classified."""
