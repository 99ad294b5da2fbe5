"""The pages that people read, taken apart: fences, links and headings. `tests/*/test_docs.py` runs what is in them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "datasets/README.md")),
    *(ROOT / folder / "README.md" for folder in ("benchmarks", "notebooks")),
    *sorted((ROOT / "docs").glob("*.md")),
]


@dataclass(frozen=True)
class Fence:
    """A block of code: the page, the line it begins at, its language, and under which heading it stands."""

    page: Path
    line: int
    language: str
    text: str
    heading: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def fences(*languages: str) -> list[Fence]:
    """Return the fences of all pages that are in one of the languages; of all languages if none is named.

    A block that is set by its indent is one too, in the language "indented".
    """
    found = []
    for page in PAGES:
        heading = ""
        tokens = MarkdownIt().parse(page.read_text())
        for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
            if token.type == "heading_open":
                heading = after.content
            if token.type in ("fence", "code_block"):
                language = token.info.strip() if token.type == "fence" else "indented"
                found.append(Fence(page, (token.map or [0])[0] + 1, language, token.content, heading))
    return [fence for fence in found if not languages or fence.language in languages]


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of shell lines, as words, without comments and without the project's own `.venv/bin/`."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        while words:
            end = words.index("&&") if "&&" in words else len(words)
            command, words = words[:end], words[end + 1 :]
            yield [command[0].removeprefix(".venv/bin/"), *command[1:]]


def headings(page: Path) -> list[str]:
    """Return the headings of a page as plain text."""
    tokens = MarkdownIt().parse(page.read_text())
    return [
        "".join(part.content for part in inline.children or [])
        for token, inline in pairwise(tokens)
        if token.type == "heading_open"
    ]


def anchor(heading: str) -> str:
    """Return the anchor that forges and the site give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(page: Path) -> Iterator[str]:
    """Yield where links and pictures of a page lead to."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        for part in token.children or []:
            if part.type == "link_open":
                yield str(part.attrs["href"])
            if part.type == "image":
                yield str(part.attrs["src"])
