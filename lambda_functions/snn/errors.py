"""Everything that `snn` raises on purpose."""

from __future__ import annotations


class SnnError(Exception):
    """The root of the project's exceptions: whatever is caught by this name carries a message meant for a person."""


MESSAGE_LENGTH = 1_000
HINT_LENGTH = 400
NAME_LENGTH = 250  # of a file or a field


def one_line(text: str, longest: int = MESSAGE_LENGTH) -> str:
    """Return text as one line of at most `longest` characters, whatever a user's file, field or value contains.

    Messages go into logs, the ledger (an item has at most 400 KB) and e-mails.
    """
    escaped = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[: longest + 1]
    )
    return escaped if len(escaped) <= longest else f"{escaped[: longest - 2]} …"


class InvalidInput(SnnError):
    """Some input from a user cannot be used.

    The message is one line: the file, the field, what is wrong with it, and how to fix it.
    """

    def __init__(self, problem: str, *, field: str = "", source: str = "", hint: str = "") -> None:
        self.problem, self.field, self.source, self.hint = problem, field, source, hint
        # Whatever has to be cut, a part of each is left.
        end = f" ({one_line(hint, HINT_LENGTH)})" if hint else ""
        line = ": ".join(part for part in (*(one_line(name, NAME_LENGTH) for name in (source, field)), problem) if part)
        super().__init__(one_line(line, MESSAGE_LENGTH - len(end)) + end)


class InvalidParameters(InvalidInput):
    """`parameters.json`, or an override of it, cannot be trained with."""


class InvalidDataset(InvalidInput):
    """A `datasets.h5` cannot be read, or does not hold what the contract says."""


class InvalidModel(InvalidInput):
    """A `params.h5` cannot be read, or does not fit the data."""


class InvalidImage(InvalidInput):
    """A file is not a picture that can be classified."""
