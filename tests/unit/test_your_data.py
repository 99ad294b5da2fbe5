"""`docs/your-data.md`: every line that makes or checks a data set is run, on data as the page describes them.

Lines that train run in `tests/integration/test_your_data.py`.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner
from your_data import LINES, lay_out, lines_of

from snn_cli.main import app
from snn_client.runs.recipe import parameters_for
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset

MAKING = lines_of("dataset")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yours")
    lay_out(folder)
    return folder


def test_every_line_is_run_by_a_test() -> None:
    """Those that train or ask in `tests/integration/test_your_data.py`."""
    assert {words[0] for words in LINES} == {"snn"}
    assert {words[1] for words in LINES} == {"dataset", "parameters", "train", "predict"}


def test_the_page_makes_data_sets() -> None:
    assert len([words for words in MAKING if words[1] == "make"]) >= 8


@pytest.mark.parametrize("words", MAKING, ids=" ".join)
def test_a_line_runs(words: list[str], data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    if words[1] == "check":
        Path("datasets").mkdir(exist_ok=True)
        CliRunner().invoke(app, ["dataset", "make", "my-photos", words[2]], catch_exceptions=False)
    ended = CliRunner().invoke(app, words, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    made = load_dataset(words[3] if words[1] == "make" else words[2])
    assert set(made.classes) <= {"cat", "dog", "non-cat"} or made.classes == ("no", "yes")
    assert len(made.train) > len(made.test) > 0
    shutil.rmtree("datasets")


def test_the_recipe_is_written_as_a_file_that_one_can_keep(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_table, of_file = lines_of("parameters")
    monkeypatch.chdir(data)
    making = ["dataset", "make", "patients.csv", of_file[of_file.index("--for") + 1]]
    kept = []
    for line in (making, of_table, of_file):
        ended = CliRunner().invoke(app, line, catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        if line is not making:
            kept.append(Parameters.load(Path("parameters.json")))
            Path("parameters.json").unlink()
    assert kept == 2 * [parameters_for(load_dataset("datasets/patients.h5"))]
    assert (kept[0].neurons_per_layer, kept[0].activation_per_layer) == ((128, 1), ("relu", "sigmoid"))
    shutil.rmtree("datasets")
