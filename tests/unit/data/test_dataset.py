import io
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest

from snn.errors import InvalidDataset
from snn_data.dataset import load_dataset, load_header, save_dataset
from snn_data.hdf5 import LOCKED_SECONDS
from snn_data.isolated import isolated


@pytest.fixture
def file(tmp_path):
    random = np.random.default_rng(1)
    path = tmp_path / "datasets.h5"
    save_dataset(
        path,
        random.integers(0, 256, (10, 4, 5, 3), dtype=np.uint8),
        np.array([0, 1] * 5),
        random.integers(0, 256, (4, 4, 5, 3), dtype=np.uint8),
        np.array([1, 0, 0, 1]),
        ("non-cat", "cat"),
    )
    return path


def change(path, name, **replacement):
    with h5py.File(path, "a") as h5:
        del h5[name]
        if replacement:
            h5.create_dataset(name, **replacement)
    return path


def test_columns_are_photos_in_0_to_1(file):
    dataset = load_dataset(file)
    X = dataset.train.inputs()
    assert (X.shape, X.dtype) == ((60, 10), np.float64)
    assert dataset.test.inputs().shape == (60, 4)
    assert dataset.shape == (4, 5, 3)
    assert (dataset.features, dataset.itemsize, len(dataset.train), len(dataset.test)) == (60, 1, 10, 4)
    assert dataset.classes == ("non-cat", "cat")
    photo = dataset.train.stored[3]
    assert X[(2 * 5 + 1) * 3 + 2, 3] == photo[2, 1, 2] / 255
    assert dataset.train.inputs(slice(3, 4), np.float32).tolist() == (X[:, 3:4].astype(np.float32)).tolist()
    assert dataset.test.y.tolist() == [1, 0, 0, 1]
    assert dataset.validation is None


def test_it_reads_an_open_file_too(file):
    assert load_dataset(io.BytesIO(file.read_bytes())).features == 60


@pytest.mark.parametrize("name", ["train_set_x", "train_set_y", "test_set_x", "test_set_y"])
def test_a_missing_part_is_named(file, name):
    with pytest.raises(InvalidDataset) as refused:
        load_dataset(change(file, name))
    assert refused.value.field == name
    assert str(refused.value).startswith(f"{file}: {name}: is missing")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("train_set_x", np.zeros((10, 4, 5, 3)), "float64"),
        ("train_set_x", np.zeros((10, 4, 5), np.float32), r"\(10, 4, 5\) float32"),
        ("train_set_x", np.zeros(10), r"\(10,\) float64"),
        ("train_set_x", np.zeros((10, 4), complex), "complex"),
        ("train_set_x", np.zeros((10, 4), "S3"), r"\|S3"),
        ("test_set_x", np.zeros((4, 60), np.float64), "the training set's are"),
        ("train_set_x", np.zeros((10, 4, 5, 4), np.uint8), r"\(10, 4, 5, 4\)"),
        ("train_set_x", np.zeros((0, 4, 5, 3), np.uint8), "at least one sample"),
        ("test_set_x", np.zeros((4, 8, 8, 3), np.uint8), "make both the same"),
        ("train_set_y", np.zeros(9, np.int64), "10 samples"),
        ("train_set_y", np.arange(10), "0 and 1"),
        ("test_set_y", np.array([b"a"] * 4), "label"),
        ("train_set_y", np.full(10, 0.5), "holds values other than 0 and 1: 0.5 in row 0"),
        ("train_set_y", np.zeros((10, 2), np.int64), r"\(10, 2\)"),
        ("list_classes", np.array([b"cat"]), "two or more"),
        ("list_classes", np.array([0, 1]), "two or more"),
        ("list_classes", np.array([[b"cat", b"dog"]]), "two or more"),
    ],
)
def test_a_wrong_shape_or_type_is_named(file, name, data, says):
    with pytest.raises(InvalidDataset, match=says) as refused:
        load_dataset(change(file, name, data=data))
    assert refused.value.field == name


def test_what_is_no_hdf5_is_refused(tmp_path, file):
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(InvalidDataset, match=r"text\.h5: cannot be read as HDF5"):
        load_dataset(text)
    text.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InvalidDataset, match="cannot be read as HDF5"):
        load_dataset(text)


def test_a_file_that_another_program_has_open_is_said_to_be_just_that(file):
    script = f"import h5py; h5 = h5py.File({str(file)!r}, 'a'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        with pytest.raises(InvalidDataset) as refused:
            load_dataset(file)
        other.communicate("\n")
    assert (refused.value.problem, refused.value.hint) == (
        "is open in another program, which may be writing to it",
        "close it there, or wait, and then try again",
    )
    assert load_dataset(file).classes


def test_a_child_of_another_thread_keeps_no_file_of_ours_locked(file):
    ours, theirs = socket.socketpair()

    def child(_):
        theirs.sendall(b"begun")  # closed in the child, as all that it did not open: nothing is sent
        return "sent"

    with ours, theirs, pytest.raises(RuntimeError, match="Bad file descriptor"):
        isolated(child)
    with ThreadPoolExecutor(1) as other:
        with h5py.File(file, "a"):
            held = other.submit(isolated, lambda _: time.sleep(3 * LOCKED_SECONDS))
            time.sleep(LOCKED_SECONDS / 2)
        assert load_dataset(file).classes
        assert not held.done()


def test_a_lock_that_is_soon_gone_is_waited_for(file):
    script = f"import h5py; h5 = h5py.File({str(file)!r}, 'a'); print(flush=True); import time; time.sleep(0.3)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as other:
        other.stdout.readline()
        assert load_dataset(file).classes


def test_a_file_that_its_writer_never_closed_is_said_to_be_just_that(tmp_path):
    path = tmp_path / "crashed.h5"
    script = (
        f"import h5py, os; h5 = h5py.File({str(path)!r}, 'w', libver='latest'); h5['a'] = 1; h5.flush(); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(InvalidDataset, match=r"was never closed by the program that wrote it \(close it there; if "):
        load_dataset(path)


def test_links_virtual_and_external_data_are_refused(file, tmp_path):
    def soft(h5):
        h5["test_set_y"] = h5py.SoftLink("/train_set_y")

    def external_link(h5):
        h5["test_set_y"] = h5py.ExternalLink("/etc/passwd", "/x")

    def external_storage(h5):
        h5.create_dataset("test_set_y", (4,), np.uint8, external=[("/etc/passwd", 0, 4)])

    def virtual(h5):
        layout = h5py.VirtualLayout((4,), np.int64)
        layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (4,))
        h5.create_virtual_dataset("test_set_y", layout)

    original = file.read_bytes()
    for plant in (soft, external_link, external_storage, virtual):
        file.write_bytes(original)
        with h5py.File(file, "a") as h5:
            del h5["test_set_y"]
            plant(h5)
        with pytest.raises(InvalidDataset, match=r"test_set_y: is (a link|not a plain data set)"):
            load_dataset(file)


def test_a_shape_bomb_is_refused_before_it_is_read(file):
    with h5py.File(file, "a") as h5:
        del h5["train_set_x"]
        h5.create_dataset("train_set_x", (10_000_000, 64, 64, 3), np.uint8, chunks=(1, 64, 64, 3))
    assert file.stat().st_size < 100_000
    with pytest.raises(InvalidDataset, match=r"train_set_x: claims 122\.9 GB"):
        load_dataset(file)


def test_a_header_says_all_but_the_photos_and_refuses_what_loading_refuses(file):
    dataset, header = load_dataset(file), load_header(file)
    assert (header.shape, header.features, header.itemsize, len(header.train)) == (dataset.shape, 60, 1, 10)
    assert header.classes == dataset.classes
    assert np.array_equal(header.train.y, dataset.train.y)
    assert np.array_equal(header.test.y, dataset.test.y)
    with pytest.raises(InvalidDataset, match=r"train_set_y: holds values other than 0 and 1"):
        load_header(change(file, "train_set_y", data=np.arange(10)))


def test_a_header_is_read_of_a_file_that_could_not_be_held(file):
    with h5py.File(file, "a") as h5:
        for name in ("train_set_x", "train_set_y"):
            del h5[name]
        h5.create_dataset("train_set_x", (100_000, 80, 80, 3), np.uint8, chunks=(1, 80, 80, 3))
        h5.create_dataset("train_set_y", (100_000,), np.int8)
        del h5["test_set_x"]
        h5.create_dataset("test_set_x", (4, 80, 80, 3), np.uint8)
    header = load_header(file)
    assert (header.features, len(header.train)) == (19_200, 100_000)
    with h5py.File(file, "a") as h5:
        del h5["train_set_x"]
        h5.create_dataset("train_set_x", (10_000_001, 1, 1, 3), np.uint8, chunks=(1000, 1, 1, 3))
    with pytest.raises(InvalidDataset, match=r"train_set_x: claims 10,000,001 samples \(at most 10,000,000\)"):
        load_header(file)


def written(tmp_path, *arrays, **options):
    save_dataset(tmp_path / "any.h5", *arrays, **options)
    return load_dataset(tmp_path / "any.h5")


def test_many_classes_are_numbered_in_the_order_of_their_names(tmp_path):
    x, y = np.zeros((5, 2, 2, 3), np.uint8), np.array([0, 1, 2, 2, 1])
    for labels in (y, y[None, :], y[:, None], y.astype(float), y.astype(np.uint8)):
        dataset = written(tmp_path, x, labels, x, labels, classes=("b", "a", "ü"))
        assert dataset.classes == ("b", "a", "ü")
        assert (dataset.train.y.tolist(), dataset.train.y.dtype) == (y.tolist(), np.int64)
    with pytest.raises(InvalidDataset, match=r"train_set_y: holds values other than 0 to 2: 3 in row 4 .number the"):
        written(tmp_path, x, np.array([0, 1, 2, 2, 3]), x, y, classes=("b", "a", "c"))


def test_without_names_of_classes_labels_are_numbers(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    dataset = written(tmp_path, x, np.array([0.5, -2, 1e6, 3]), x, np.arange(4))
    assert dataset.classes == ()
    assert dataset.train.y.tolist() == [0.5, -2, 1e6, 3]
    with pytest.raises(InvalidDataset, match=r"test_set_y: holds nan in row 1 \(give a number\)"):
        written(tmp_path, x, np.arange(4), x, np.array([0, np.nan, 0, 0]))


@pytest.mark.parametrize(("kind", "kept"), [("f4", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), ("f2", "f8")])
def test_features_are_taken_as_they_are(tmp_path, kind, kept):
    x = np.arange(12).reshape(4, 3).astype(kind)
    dataset = written(tmp_path, x, np.arange(4) % 2, x, np.arange(4) % 2, classes=("no", "yes"))
    assert (dataset.train.stored.dtype, dataset.shape, dataset.features) == (np.dtype(kept), (3,), 3)
    assert dataset.train.inputs().tolist() == x.astype(float).T.tolist()  # numbers, though they be bytes: not divided
    assert load_header(tmp_path / "any.h5").itemsize == np.dtype(kept).itemsize


def test_a_feature_that_is_missing_is_named_by_its_place(tmp_path):
    x = np.arange(12.0).reshape(4, 3)
    bad = x.copy()
    bad[2, 1] = np.inf
    with pytest.raises(InvalidDataset, match=r"test_set_x: holds inf in row 2, column 1 \(fill in or leave out"):
        written(tmp_path, x, np.arange(4), bad, np.arange(4))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_grey_photos_are_photos(tmp_path, shape):
    x = np.random.default_rng(0).integers(0, 256, (5, *shape), dtype=np.uint8)
    dataset = written(tmp_path, x, np.arange(5) % 2, x, np.arange(5) % 2, classes=("no", "yes"))
    assert (dataset.shape, dataset.features) == (shape, 24)
    assert np.array_equal(dataset.train.inputs(), x.reshape(5, -1).T / 255)


def test_a_file_may_have_a_validation_set_of_its_own(tmp_path):
    x, y = np.zeros((4, 3), np.float32), np.array([0, 1, 0, 1])
    validation = {"validation_x": x[:2] + 1, "validation_y": y[:2]}
    dataset = written(tmp_path, x, y, x, y, classes=("no", "yes"), **validation)
    assert dataset.validation.stored.tolist() == [[1, 1, 1]] * 2
    assert dataset.validation.y.tolist() == [0, 1]
    assert len(load_header(tmp_path / "any.h5").validation) == 2
    with h5py.File(tmp_path / "any.h5", "a") as h5:
        del h5["validation_set_y"]
    with pytest.raises(InvalidDataset, match="validation_set_y: is missing"):
        load_dataset(tmp_path / "any.h5")
