"""HDF5 files at every reader of one: staging, commands and trainer read all, LaunchLambda the header."""

from __future__ import annotations

import io
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from badinput.given import NO_FILES, damaged, no_file
from badinput.hdf5_files import FILES, LABELS, PIXELS, compressed, good
from badinput.tally import generated, judge
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidDataset, InvalidModel
from snn_data import isolated as module
from snn_data.dataset import Header, load_dataset, load_header
from snn_data.isolated import Broken, isolated
from snn_data.model import load_model, save_model


def header(file: Any, source: str = "") -> Header:
    """What LaunchLambda reads."""
    found = load_header(file, source)
    found.check_stored(source)
    return found


READERS = {"data set (staging, commands)": load_dataset, "data set's header (LaunchLambda)": header}


class Borrowed(io.BufferedReader):
    """A file that is neither on a disk nor in memory, as an object in S3."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("door", READERS)
def test_the_list(name: str, door: str, tmp_path: Path) -> None:
    make, says = FILES[name]
    content = make()
    path = tmp_path / "given.h5"
    path.write_bytes(content)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    for file in (path, io.BytesIO(content), Borrowed(content)):
        if says:
            with pytest.raises(InvalidDataset, match=f"^given.h5: .*{says}") as refused:
                READERS[door](file, source="given.h5")
            assert judge(door, "list", lambda error=refused.value: _raise(error)) is None
        else:
            found: Any = judge(door, "list", lambda file=file: READERS[door](file, source="given.h5"))
            assert np.array_equal(found.train.y, LABELS)
            assert np.array_equal(found.test.y, LABELS[:6])
            if door.startswith("data set ("):
                assert np.array_equal(found.train.stored, PIXELS)
    # Kilobytes (of children; the largest so far, so it grows only if one of these was larger). No bomb goes off.
    assert len(content) < 5_000_000
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - peak < 150_000


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("door", READERS)
@generated
@given(st.data())
def test_damaged(door: str, data: st.DataObject) -> None:
    content = data.draw(damaged(data.draw(st.sampled_from([good(), compressed()]))))
    found: Any = judge(door, "some bytes changed", lambda: READERS[door](io.BytesIO(content), source="given.h5"))
    if found:
        # Without list_classes, whose name a changed byte may be, labels are numbers to give.
        assert np.isin(found.train.y, (0, 1)).all() if found.classes else np.isfinite(found.train.y).all()
        assert found.train.y.shape == (len(found.train),)
        if door.startswith("data set ("):
            assert found.train.stored.shape == (len(found.train), *found.shape)


@pytest.mark.parametrize("door", READERS)
@generated
@given(st.data())
def test_cut_off(door: str, data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([good(), compressed()]))
    content = whole[: data.draw(st.integers(0, len(whole) - 1))]
    assert judge(door, "cut off", lambda: READERS[door](io.BytesIO(content), source="given.h5")) is None


def model() -> bytes:
    buffer = io.BytesIO()
    params = {"W1": np.ones((3, 12)), "b1": np.zeros((3, 1)), "W2": np.ones((1, 3)), "b2": np.zeros((1, 1))}
    told = {"image_shape": (2, 2, 3), "classes": ("no", "yes")}
    save_model(buffer, params, ("relu", "sigmoid"), told)
    return buffer.getvalue()


@generated
@given(damaged(model()))
def test_a_damaged_model(content: bytes) -> None:
    def ask() -> np.ndarray[Any, Any]:
        found = load_model(io.BytesIO(content), "params.h5")
        assert len(found.classes) in (0, 2)
        return found.answers(np.ones((found.features, 1)))

    answer = judge("model", "some bytes changed", ask)
    assert answer is None or 0 <= answer.item() <= 1


def test_a_model_that_claims_what_it_does_not_hold() -> None:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as h5:
        h5.create_dataset("W1", (1, 100_000_000), "f8", chunks=(1, 1_000_000))
        h5["b1"] = np.zeros((1, 1))
    with pytest.raises(InvalidModel, match=r"^bomb\.h5: W1: claims 800 MB of which the file holds 0\.000 MB"):
        load_model(buffer, "bomb.h5")


@pytest.mark.parametrize("kind", [*NO_FILES, "nothing", "NUL"])
def test_a_path_that_is_no_file(kind: str, tmp_path: Path) -> None:
    path = no_file(kind, tmp_path / ("a\0b.h5" if kind == "NUL" else "given.h5"))
    for door, reader in READERS.items():
        assert judge(door, "paths", lambda reader=reader: reader(path)) is None


# What the child may do: the C library's faults, played by ourselves.


def crash(_: object) -> None:
    os.kill(os.getpid(), 11)


def spin(_: object) -> None:
    while True:
        pass


def hang(_: object) -> None:
    time.sleep(60)


def devour(_: object) -> int:
    return len(bytearray(2**33))


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (crash, r"breaks off \(SIGSEGV\)"),
        (lambda _: os._exit(3), r"breaks off \(exit code 3\)"),
        (spin, "never ends"),
        (hang, "hangs for 1 s"),
        (devour, "asks for more than 512 MB"),
    ],
)
def test_a_child_that_breaks_is_one_word(work: Any, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_SECONDS", 1.0 if work is hang else 60.0)
    monkeypatch.setattr(module, "CPU_SECONDS", 1)
    with pytest.raises(Broken, match=says):
        isolated(work)
    with pytest.raises(ChildProcessError):  # none is left
        os.waitpid(-1, os.WNOHANG)


def test_what_a_child_raises_is_told_and_what_its_parent_s_file_raises_goes_on() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        isolated(lambda _: 1 / 0)

    class Gone(io.BytesIO):
        def readinto(self, buffer: Any) -> int:
            raise ConnectionAbortedError("S3 is gone")

    with pytest.raises(ConnectionAbortedError, match="S3 is gone"):
        load_dataset(io.BufferedReader(Gone(b"x" * 100)), "given.h5")  # type: ignore[type-var]


def test_children_of_many_threads_do_not_wait_for_each_other() -> None:
    content, found = good(), []
    threads = [threading.Thread(target=lambda: found.append(load_dataset(io.BytesIO(content)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(found) == 8
    assert all(np.array_equal(dataset.train.stored, PIXELS) for dataset in found)


def test_a_large_good_file_is_read_as_before(tmp_path: Path) -> None:
    path, pixels = tmp_path / "large.h5", np.random.default_rng(0).integers(0, 256, (3_000, 96, 96, 3), dtype=np.uint8)
    with h5py.File(path, "w") as h5:
        for name in ("train", "test"):
            h5.create_dataset(f"{name}_set_x", data=pixels if name == "train" else pixels[:2], compression="lzf")
            h5[f"{name}_set_y"] = np.arange(3_000 if name == "train" else 2) % 2
        h5["list_classes"] = ["no", "yes"]
    code = "import sys, snn_data.dataset as d\nprint(d.load_dataset(sys.argv[1]).train.stored.sum())"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == pixels.sum(dtype=np.int64)
    assert done.stderr == ""
