"""`make mwaa` makes its folder anew, and therefore touches none that holds anything of anybody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from snn.errors import InvalidInput
from snn_cli import mwaa


@pytest.fixture
def dags(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    (folder / "snn_training.py").write_text("# a DAG")
    return folder


def test_a_folder_that_it_made_is_made_anew(dags: Path, tmp_path: Path) -> None:
    target = tmp_path / "dist" / "for MWAA"
    for _ in range(2):
        mwaa.build(target, dags)
        assert sorted(path.name for path in target.rglob("*")) == [
            "dags", "plugins.zip", "requirements.txt", "snn_training.py",
        ]  # fmt: skip
        (target / "requirements.txt").write_text("old")
    mwaa.build(target, dags)
    assert (target / "requirements.txt").read_text().startswith("# MWAA with Airflow")


def test_a_folder_with_the_dags_of_others_stays_as_it_is(dags: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "bucket" / "dags" / "payroll.py"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("# theirs")
    with pytest.raises(InvalidInput) as raised:
        mwaa.build(tmp_path / "bucket", dags)
    assert str(raised.value) == (
        f"{tmp_path}/bucket: MWAA: holds dags/payroll.py (name a separate folder: its contents are replaced)"
    )
    assert [path.name for path in (tmp_path / "bucket").rglob("*") if path.is_file()] == ["payroll.py"]
    with pytest.raises(InvalidInput, match="MWAA: is not a folder"):
        mwaa.build(theirs, dags)
