"""What differs between releases of Airflow stands in one module, and the page about releases says what is so."""

from __future__ import annotations

import ast
import asyncio
import re
import threading
from pathlib import Path

import pytest

from snn_cli import mwaa
from snn_operators import compat

ROOT = Path(__file__).parents[3]
SOURCES = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "dags").glob("*.py")]
PAGE = (ROOT / "docs" / "versions.md").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_name_that_moved_is_imported_from_one_place(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    moved = {
        f"{node.module}.{name.name}"
        for node in imports
        for name in node.names
        if str(node.module).startswith("airflow") and name.name in compat.__all__
    }
    if path.name != "compat.py":
        assert moved == set()
        # A thread of asyncio's own cannot ask Airflow for a connection in 3.2.1.
        assert "to_thread" not in path.read_text()


def test_who_is_cancelled_leaves_the_call_in_its_thread_alone() -> None:
    begun, go, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go.wait(10)
        ended.set()

    async def cancelled() -> None:
        task = asyncio.create_task(compat.in_thread(work))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not ended.is_set()
        go.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(cancelled(), 10))
    assert asyncio.run(compat.in_thread(divmod, 7, 2)) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(compat.in_thread(divmod, 7, 0))


def test_the_page_has_every_image_and_the_locked_release() -> None:
    releases, images = PAGE.split("## Amazon's images")
    assert re.findall(r"^\| ([\d.]+) \| ([\d.]+) \|", images, flags=re.M) == list(mwaa.IMAGES.items())
    locked = re.search(r"^apache-airflow==(\S+)", (ROOT / "requirements" / "dev.txt").read_text(), flags=re.M)
    assert locked is not None
    assert locked[1] in re.findall(r"^\| ([\d.]+) \|", releases, flags=re.M)
