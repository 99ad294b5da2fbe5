"""The command line: whatever it is given, it ends with 0, or with 1 or 2 and one line that says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from badinput.given import damaged, no_file
from badinput.hdf5_files import FILES, good
from badinput.tally import check_line, generated, judge, some
from badinput.test_images import BAD, GOOD
from hypothesis import given
from typer.testing import CliRunner

from snn.errors import InvalidInput
from snn_cli.main import app
from snn_data.dataset import load_dataset

DOOR = "command line"


def ask(*words: str | Path) -> str:
    """Run a command; return its output, or raise InvalidInput with the one line of its refusal."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    if not isinstance(done.exception, SystemExit | None):
        raise done.exception
    if done.exit_code == 0:
        return done.stdout
    assert done.exit_code in (1, 2), done.output
    assert done.stdout == ""
    if done.exit_code == 2:  # Typer's own: usage, and a frame with the line
        assert "Usage: " in done.stderr
        raise InvalidInput(" ".join(done.stderr.split("─ Error ─")[1].split("│")[1].split()))
    *before, line = done.stderr.splitlines()
    assert [each for each in before if not each.startswith(("stack ", "run ", "estimate"))] == []
    assert line.startswith("error: ")
    raise InvalidInput(line)


@pytest.mark.parametrize("name", some(FILES))
def test_checking_the_list_of_data_sets(name: str, tmp_path: Path) -> None:
    path = tmp_path / "given.h5"
    path.write_bytes(FILES[name][0]())
    said = judge(DOOR, "dataset check, list", lambda: ask("dataset", "check", path), InvalidInput)
    assert (said is None) == bool(FILES[name][1])
    assert said is None or "24 (" in said


@generated
@given(damaged(good()))
def test_checking_a_damaged_data_set(content: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"snn-bad-input-{os.getpid()}.h5"
    try:
        path.write_bytes(content)
        judge(DOOR, "dataset check, some bytes changed", lambda: ask("dataset", "check", path), InvalidInput)
    finally:
        path.unlink()


@pytest.mark.parametrize("name", [*BAD, "pipe", "folder", "dangling link"])
def test_a_folder_with_one_bad_picture_makes_no_data_set(name: str, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out.h5"
    for kind in ("a", "b"):
        (photos / kind).mkdir(parents=True)
        for number in range(3):
            (photos / kind / f"{number}.png").write_bytes(GOOD["PNG"][0]())
    bad = photos / "b" / "bad\n.png"
    if name in BAD:
        bad.write_bytes(BAD[name]())
    else:
        no_file(name, bad)
    words = ("dataset", "make", photos, out, "--size", "6")
    said = judge(DOOR, "dataset make", lambda: ask(*words), InvalidInput)
    if name != "folder":
        assert (said, out.exists()) == (None, False)
    else:  # an empty one holds no photos
        assert len(load_dataset(out).train) + len(load_dataset(out).test) == 6
    assert {each.name for each in tmp_path.iterdir()} == ({"photos", "out.h5"} if said else {"photos"})


OTHERS: dict[str, list[str]] = {
    "no such command": ["fly"],
    "no such option": ["dataset", "check", "--fast", "x"],
    "nothing to check": ["dataset", "check"],
    "no file": ["dataset", "check", "nowhere.h5"],
    "a folder": ["dataset", "check", "/"],
    "a device": ["dataset", "check", "/dev/zero"],
    "a name with control characters": ["dataset", "check", "\x1b[2J\u202e.h5"],
    "a name of 5,000 letters": ["dataset", "check", "x" * 5_000],
    "a name with markup": ["dataset", "check", "[bold]x[/]"],
    "size 0": ["dataset", "make", "a", "b", "--size", "0"],
    "size NaN": ["dataset", "make", "a", "b", "--size", "nan"],
    "share NaN": ["dataset", "make", "/tmp", "b", "--test-share", "nan"],
    "no folder": ["dataset", "make", "/dev/null", "b"],
    "a place that may not be written": ["dataset", "faces", "/proc/snn/x.h5"],
    "a place below a file": ["dataset", "samples", "/dev/null/x"],
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_list(name: str) -> None:
    assert judge(DOOR, "list", lambda: ask(*OTHERS[name]), InvalidInput) is None


def test_the_command_itself(tmp_path: Path) -> None:
    """In a process of its own, as a person meets it."""
    path = tmp_path / "bad.h5"
    path.write_bytes(good()[:3_000])
    words: list[Any] = [sys.executable, "-m", "snn_cli.main", "dataset", "check", path]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    check_line(done.stderr.removesuffix("\n"))
    assert done.stderr.startswith(f"error: {path}: cannot be read as HDF5: ")
