"""The notebooks as they are committed: executed to the end, from these sources, with nothing of a machine in them."""

from __future__ import annotations

import re
import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "notebooks"))  # the notebooks are no part of what is installed

import execute  # noqa: E402
import pictures  # noqa: E402

MOST_BYTES = 1_000_000
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
    today = []
    for text in shown:
        package, module, *names = text.partition("`\n")[0].removeprefix("`").split(".")
        today.append(pictures.source_of(reduce(getattr, names, import_module(f"{package}.{module}"))))
    assert len(shown) >= 20
    assert shown == today, "make notebooks"


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
    assert len(text.encode()) < MOST_BYTES
    book = execute.read(name)
    shown = {kind for cell in book.cells for output in cell.get("outputs", []) for kind in output.get("data", {})}
    assert shown == {"image/png", "text/markdown", "text/plain"}
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
