"""`docs/your-data.md`: every line that makes or checks a data set is run, on data as the page describes them.

Lines that train run in `tests/integration/test_your_data.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from your_data import lay_out, lines_of

from snn_cli.main import app
from snn_data.dataset import load_dataset

LINES = lines_of("dataset")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yours")
    lay_out(folder)
    return folder


def test_the_page_makes_data_sets() -> None:
    assert len([words for words in LINES if words[1] == "make"]) >= 8


@pytest.mark.parametrize("words", LINES, ids=" ".join)
def test_a_line_runs(words: list[str], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    if words[1] == "check":
        Path("datasets").mkdir(exist_ok=True)
        CliRunner().invoke(app, ["dataset", "make", "my-photos", words[2]], catch_exceptions=False)
    ended = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    made = load_dataset(words[3] if words[1] == "make" else words[2])
    assert set(made.classes) <= {"cat", "dog", "non-cat"}
    assert len(made.train) > len(made.test) > 0
    shutil.rmtree("datasets")
