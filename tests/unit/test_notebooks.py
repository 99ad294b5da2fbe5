"""The notebooks as they are committed: executed to the end, from these sources, with nothing of a machine in them."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from snn.span import Gram
from snn.strategies import STRATEGIES

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "notebooks"))  # the notebooks are no part of what is installed

import execute  # noqa: E402
import pictures  # noqa: E402

MAX_BYTES = 1_000_000
# Folders of a machine, addresses of servers on it, times of day.
OF_A_MACHINE = r"/(?:home|root|tmp|work|opt|usr|Users|private|mnt)/|\.local\b|127\.0\.0\.1|localhost|\b\d\d:\d\d:\d\d\b"


@pytest.fixture(params=execute.NAMES)
def book(request: pytest.FixtureRequest) -> Any:
    return execute.read(request.param)


def test_every_cell_was_executed_in_order_and_none_failed(book: Any) -> None:
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"display_data", "stream", "execute_result"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 7
    assert execute.figures(book)


def test_what_is_shown_is_the_work_of_these_sources(book: Any) -> None:
    assert book.metadata.executed_sources == execute.sources(book), "make notebooks"
    book.cells[1].source += " "
    assert book.metadata.executed_sources != execute.sources(book)


def test_the_sources_that_the_codebook_shows_are_those_of_today() -> None:
    shown = [
        output.data["text/markdown"]
        for cell in execute.read("Codebook").cells
        for output in cell.get("outputs", [])
        if "```python" in output.get("data", {}).get("text/markdown", "")
    ]
    assert len(shown) >= 20
    assert shown == [pictures.source_of(text.split("`")[1]) for text in shown], "make notebooks"


def test_every_section_of_the_codebook_checks_its_formula() -> None:
    sections: dict[str, str] = {}
    title = ""
    for cell in execute.read("Codebook").cells:
        if cell.cell_type == "code":
            sections[title] = sections.get(title, "") + cell.source
        titles = re.findall(r"^## (\d+\. .*)", cell.source, re.M) if cell.cell_type == "markdown" else []
        title = titles[-1] if titles else title
    numbered = {title: source for title, source in sections.items() if title}
    assert [int(title.partition(".")[0]) for title in numbered] == list(range(1, len(numbered) + 1))
    assert len(numbered) >= 12
    assert [title for title, source in numbered.items() if not re.search(r"^ *assert ", source, re.M)] == []


def test_a_source_is_found_by_its_name() -> None:
    method = textwrap.dedent(inspect.getsource(Gram.times)).rstrip()
    assert pictures.source_of("snn.span.Gram.times") == f"`snn.span.Gram.times`\n```python\n{method}\n```"
    decorated = pictures.source_of("snn.optimizers.GradientDescent")
    assert decorated.startswith("`snn.optimizers.GradientDescent`\n```python\n@dataclass(frozen=True)\nclass Gradient")
    assert pictures.source_of("snn.strategies.STRATEGIES").count("Strategy(") == len(STRATEGIES)
    with pytest.raises(StopIteration):
        pictures.source_of("snn.span.Gram.nothing")


def test_a_table_is_html_and_reads_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(pictures, "display", lambda data, raw: shown.append(data))
    pictures.table(["", "n", "<cost>"], [["a & b", 5, "0.10"], ["long name", 12, "7"]])
    pictures.table(["", ""], [["network", "5 relu"]])
    with_header, without = shown
    assert with_header["text/plain"].splitlines() == [
        "            n  <cost>",
        "a & b       5    0.10",
        "long name  12       7",
    ]
    rows = re.findall(r"<tr>(.*?)</tr>", with_header["text/html"])
    assert re.findall(r">([^<]+)</th>", rows[0]) == ["n", "&lt;cost&gt;"]
    assert [re.findall(r">([^<]+)</td>", row) for row in rows[1:]] == [
        ["a &amp; b", "5", "0.10"],
        ["long name", "12", "7"],
    ]
    assert [re.findall(r"text-align: (\w+)", row) for row in rows] == [["left", "right", "right"]] * 3
    assert without["text/plain"] == "network  5 relu"
    assert "<th" not in without["text/html"]


def test_nothing_of_a_machine_or_a_moment_is_in_them(book: Any) -> None:
    assert set(book.metadata) == {"kernelspec", "language_info", "executed_sources"}
    assert {key for cell in book.cells for key in cell.metadata} <= {"tags"}
    texts = [cell.source for cell in book.cells]
    for output in (output for cell in book.cells for output in cell.get("outputs", [])):
        kinds = output.get("data", {})
        texts += [output.get("text", ""), *(value for kind, value in kinds.items() if kind != "image/png")]
    found = [match for text in texts for match in re.findall(OF_A_MACHINE, "".join(text))]
    assert found == []


@pytest.mark.parametrize("name", execute.NAMES)
def test_they_are_small_and_read_on_the_web(name: str) -> None:
    text = (ROOT / "notebooks" / f"{name}.ipynb").read_text()
    assert len(text.encode()) < MAX_BYTES
    book = execute.read(name)
    shown = [output.get("data", {}) for cell in book.cells for output in cell.get("outputs", [])]
    sources = {"text/markdown"} if name == "Codebook" else set()
    assert {kind for kinds in shown for kind in kinds} == {"image/png", "text/html", "text/plain"} | sources
    assert not any("| ---" in kinds.get("text/markdown", "") for kinds in shown)  # which the site shows as it stands
    for other in execute.NAMES:
        links = re.findall(rf"\(({other}\.ipynb)\)", text)
        assert all((ROOT / "notebooks" / link).is_file() for link in links)


def test_they_were_executed_on_the_photos_that_may_be_published() -> None:
    assert execute.figures(execute.read("Introduction"))["photos"] == [160, 40]
    assert execute.figures(execute.read("Analysis"))["run_id"] == execute.RUN == "notebook-faces"
    with_features = [
        output.text
        for cell in execute.read("Introduction").cells
        for output in cell.get("outputs", [])
        if "1,875 numbers" in output.get("text", "")
    ]
    assert len(with_features) == 1
