"""The built site, as `make docs` leaves it in dist/docs: it needs no network, and shows all that its pages hold.

`make docs` runs these tests after the build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from documentation import PAGES, ROOT, fences

SITE = ROOT / "dist" / "docs"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SOURCES = [page for page in (*PAGES, *NOTEBOOKS) if page.name != "README.md" or page.parent != ROOT]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
LOADED = {  # what a browser fetches by itself, by element
    "script": ("src",), "img": ("src", "srcset"), "source": ("src", "srcset"), "iframe": ("src",), "embed": ("src",),
    "object": ("data",), "video": ("src", "poster"), "audio": ("src",), "track": ("src",), "link": ("href",),
    "input": ("src",), "use": ("href", "xlink:href"), "image": ("href", "xlink:href"), "body": ("background",),
}  # fmt: skip
JUST_TOLD = {"canonical", "search", "prev", "next", "index", "author", "copyright", "license"}  # `rel` of links


class Page(HTMLParser):
    """A built page: what it loads, its text outside of code, its formulas, its tables and its diagrams."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.loads: list[str] = []
        self.text = ""
        self.styles = ""
        self.scripts = ""
        self.maths: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.pictures: list[tuple[str, str]] = []  # element and address
        self.open: list[str] = []
        self.feed(file.read_text())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        if tag != "link" or not set(given.get("rel", "").split()) <= JUST_TOLD:
            for name in LOADED.get(tag, ()):
                addresses = given.get(name, "")
                parts = addresses.split(",") if name == "srcset" else [addresses]
                self.loads += [part.split()[0] for part in parts if part.strip()]
        self.styles += given.get("style", "") + "\n"
        if tag in ("img", "object"):
            self.pictures.append((tag, given.get("src") or given.get("data") or ""))
        if tag == "math":
            self.maths.append("")
        elif tag == "merror":
            self.maths[-1] += "\\merror"
        elif tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables:
            self.tables[-1][-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        inside = set(self.open)
        if "script" in inside:
            self.scripts += data
        elif "style" in inside:
            self.styles += data
        else:
            if "annotation" not in inside and "math" in inside:
                self.maths[-1] += data
            if inside & {"td", "th"} and self.tables and self.tables[-1] and self.tables[-1][-1]:
                self.tables[-1][-1][-1] += data
            if not inside & {"pre", "code", "math", "title"}:
                self.text += data


def built(source: Path) -> Page:
    return Page(SITE / source.relative_to(ROOT).with_suffix(".html"))


ALL = sorted(SITE.rglob("*.html"))


def test_the_site_is_built() -> None:
    assert len(ALL) > 80, "make docs"
    assert all((SITE / source.relative_to(ROOT).with_suffix(".html")).exists() for source in SOURCES)


# ---- nothing from another host ---------------------------------------------------------------------------------------


def is_local(address: str, beside: Path) -> bool:
    """Whether an address is data, or a file of the site that is there."""
    parts = urlsplit(address)
    if parts.scheme == "data" or address.startswith("#"):
        return True
    return not parts.scheme and not parts.netloc and (beside.parent / unquote(parts.path)).resolve().is_file()


def addresses_of_styles(css: str) -> Iterator[str]:
    yield from re.findall(r"url\(\s*['\"]?([^'\")]+)", css)
    yield from re.findall(r"@import\s+['\"]([^'\"]+)", css)


def addresses_of_scripts(text: str) -> Iterator[str]:
    """What a module imports, what it fetches, and what it writes into an element's src or href."""
    yield from re.findall(r"\b(?:import|from)\s*\(?\s*['\"](\w+://[^'\"]+|//[^'\"]+)", text)
    yield from re.findall(r"\b(?:fetch|importScripts)\(\s*['\"`](\w+://[^'\"`]+)", text)
    yield from re.findall(r"\b(?:src|href)\s*[=:]\s*['\"`](\w+://[^'\"`]+)", text)


def foreign(page: Page) -> list[str]:
    loads = [*page.loads, *addresses_of_styles(page.styles)]
    return [address for address in loads if not is_local(address, page.file)] + [*addresses_of_scripts(page.scripts)]


def test_no_page_loads_anything_from_another_host() -> None:
    found = {str(file.relative_to(SITE)): foreign(Page(file)) for file in ALL}
    assert {name: loads for name, loads in found.items() if loads} == {}
    assert sum(len(Page(file).loads) for file in ALL) > 500  # scripts and styles were looked at


def test_no_style_or_script_of_the_site_loads_anything_from_another_host() -> None:
    styles, scripts = sorted(SITE.rglob("*.css")), sorted(SITE.rglob("*.js"))
    assert len(styles) >= 3
    assert len(scripts) >= 3
    for style in styles:
        assert [one for one in addresses_of_styles(style.read_text()) if not is_local(one, style)] == [], style
    for script in scripts:
        assert [*addresses_of_scripts(script.read_text())] == [], script


@pytest.mark.parametrize(
    "element",
    [
        '<script src="https://cdn.example/mathjax.js"></script>',
        '<link rel="preload stylesheet" href="//cdn.example/style.css">',
        '<img src="missing.png">',
        '<img src="data:," srcset="https://cdn.example/a.png 2x">',
        "<style>@import 'https://cdn.example/a.css'</style>",
        '<p style="background: url(https://cdn.example/a.png)">',
        '<script type="module">import mermaid from "https://cdn.example/mermaid.mjs"</script>',
    ],
)
def test_what_comes_from_another_host_is_noticed(element: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(f"<html><body>{element}</body></html>")
    assert foreign(Page(file))


# ---- formulas, diagrams ----------------------------------------------------------------------------------------------


def markdown_of(source: Path) -> str:
    """A page's Markdown without code, as its formulas are looked for."""
    if source.suffix == ".ipynb":
        cells = json.loads(source.read_text())["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    else:
        text = source.read_text()
        text = re.sub(r"^```math\n(.*?)^```", r"$$\1$$", text, flags=re.S | re.M)
        text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    return re.sub(r"`[^`\n]*`", "", text)


def formulas(source: Path) -> list[str]:
    """The formulas of a page: $$ … $$, and $ … $ that is no price."""
    text = markdown_of(source)
    displayed = re.findall(r"\$\$(.*?)\$\$", text, flags=re.S)
    inline = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    return displayed + re.findall(r"(?<![\w$])\$(?=\S)((?:(?!\n\n)[^$])*(?<=\S))\$(?!\d)", inline)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_every_formula_is_drawn(source: Path) -> None:
    page = built(source)
    assert len(page.maths) == len(formulas(source))
    assert [drawn for drawn in page.maths if not drawn.strip() or "\\" in drawn or "$" in drawn] == []
    assert not re.search(r"\\[(\[]|\\frac|\\sum|\$\$", page.text)


def test_formulas_hold_their_letters() -> None:
    assert sum(len(formulas(source)) for source in SOURCES) >= 80
    codebook = re.sub(r"[\s\u2061-\u2064]", "", "\n".join(built(ROOT / "notebooks" / "Codebook.ipynb").maths))
    for part in ("relu(Z)=max(0,Z)", "sigmoid(Z)=11+e−Z", "0otherwise", "G"):
        assert part in codebook, part
    concepts = re.sub(r"[\s\u2061-\u2064]", "", "\n".join(built(ROOT / "docs" / "concepts.md").maths))
    for part in ("J=−1m", "∑", "αdWl", "CXT"):
        assert part in concepts, part


def words_of_a_diagram(text: str) -> list[str]:
    """The labels of a Mermaid diagram that stand in quotes, brackets or behind a colon, as words."""
    labels = re.findall(r'"([^"]+)"', text) + re.findall(r"^\s*\S+\s*-[->)x]+\S*\s*\S+: (.+)$", text, flags=re.M)
    return [word for label in labels for word in re.findall(r"\w{4,}", label.replace("<br/>", " "))]


def test_every_diagram_is_a_drawing_with_its_words() -> None:
    diagrams = [fence for fence in fences("mermaid") if fence.page in SOURCES]
    assert len(diagrams) >= 6
    for source in {fence.page for fence in diagrams}:
        page = built(source)
        drawn = [page.file.parent / unquote(address) for _, address in page.pictures if "mermaid-" in address]
        here = [fence for fence in diagrams if fence.page == source]
        assert len(drawn) == len(here)
        for file, fence in zip(drawn, here, strict=True):
            text = file.read_text()
            assert text.lstrip().startswith(("<svg", "<?xml"))
            assert not re.search(r"@import|(?:href|src)=.https?:|url\(.?https?:|<script", text)
            wanted = words_of_a_diagram(fence.text)
            assert wanted or fence.text.startswith("flowchart")
            assert [word for word in wanted if word not in text] == []


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_no_table_stands_as_raw_markdown() -> None:
    raw = {
        str(file.relative_to(SITE)): re.findall(r"\|\s*:?-{2,}:?\s*\|.*|^\s*\|.*\|\s*$", Page(file).text, flags=re.M)
        for file in ALL
    }
    assert {name: lines for name, lines in raw.items() if lines} == {}


class Output(Page):
    """The tables in a piece of HTML."""

    def __init__(self, html: str) -> None:
        self.__dict__.update({"html": html})
        HTMLParser.__init__(self)
        self.loads, self.text, self.styles, self.scripts, self.maths = [], "", "", "", []
        self.tables, self.pictures, self.open = [], [], []
        self.feed(html)
        self.close()


def shown_tables(notebook: Path) -> list[list[list[str]]]:
    """The tables that the cells of a notebook show: as rows of cells, from their text, which any reader has."""
    found = []
    for cell in json.loads(notebook.read_text())["cells"]:
        for output in cell.get("outputs", []):
            data: dict[str, Any] = output.get("data", {})
            if "text/html" in data and "<table" in "".join(data["text/html"]):
                found.append([re.split(r" {2,}", line.strip()) for line in "".join(data["text/plain"]).splitlines()])
            markdown = "".join(data.get("text/markdown", ""))
            if rows := [line for line in markdown.splitlines() if line.startswith("|")]:
                cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
                found.append([row for row in cells if not re.fullmatch(r"[:\-]+", "".join(row))])
    return found


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_every_table_that_a_notebook_shows_is_one_with_its_numbers(notebook: Path) -> None:
    drawn = [[[cell.strip() for cell in row if cell.strip()] for row in table] for table in built(notebook).tables]
    wanted = [[[cell for cell in row if cell] for row in table] for table in shown_tables(notebook)]
    assert wanted
    assert all(re.search(r"\d", " ".join(map(" ".join, table))) for table in wanted)
    assert [table for table in wanted if table not in drawn] == []


def test_tables_of_pages_are_tables() -> None:
    for source in SOURCES:
        if source.suffix == ".md":
            heads = re.findall(
                r"^\|[-:| ]*-[-:| ]*\|$", re.sub(r"^```.*?^```", "", source.read_text(), flags=re.S | re.M), flags=re.M
            )
            assert len(built(source).tables) >= len(heads), source
