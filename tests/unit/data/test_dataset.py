import io

import h5py
import numpy as np
import pytest

from snn.dataset import batches, load_dataset, load_header, save_dataset
from snn.errors import InvalidDataset


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
    assert dataset.train_x.shape == (60, 10)
    assert dataset.test_x.shape == (60, 4)
    assert dataset.image_shape == (4, 5, 3)
    assert dataset.features == 60
    assert dataset.classes == ("non-cat", "cat")
    photo = dataset.train_pixels[3]
    assert dataset.train_x[(2 * 5 + 1) * 3 + 2, 3] == photo[2, 1, 2] / 255
    assert dataset.test_y.tolist() == [[1, 0, 0, 1]]


def test_it_reads_an_open_file_too(file):
    assert load_dataset(io.BytesIO(file.read_bytes())).features == 60


@pytest.mark.parametrize("name", ["train_set_x", "train_set_y", "test_set_x", "test_set_y", "list_classes"])
def test_a_missing_part_is_named(file, name):
    with pytest.raises(InvalidDataset) as refused:
        load_dataset(change(file, name))
    assert refused.value.field == name
    assert str(refused.value).startswith(f"{file}: {name}: is missing")


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("train_set_x", np.zeros((10, 4, 5, 3)), "float64"),
        ("train_set_x", np.zeros((10, 4, 5), np.uint8), r"\(10, 4, 5\)"),
        ("train_set_x", np.zeros((10, 4, 5, 4), np.uint8), r"\(10, 4, 5, 4\)"),
        ("train_set_x", np.zeros((0, 4, 5, 3), np.uint8), "at least one sample"),
        ("test_set_x", np.zeros((4, 8, 8, 3), np.uint8), "same size"),
        ("train_set_y", np.zeros(9, np.int64), "10 photos"),
        ("train_set_y", np.arange(10), "0 and 1"),
        ("test_set_y", np.array([b"a"] * 4), "label"),
        ("list_classes", np.array([b"cat"]), "two classes"),
        ("list_classes", np.array([0, 1]), "two classes"),
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
        with pytest.raises(InvalidDataset, match=r"test_set_y: is (a link|no plain data set)"):
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
    assert (header.image_shape, header.features, header.samples) == (dataset.image_shape, dataset.features, 10)
    assert header.classes == dataset.classes
    assert np.array_equal(header.train_y, dataset.train_y)
    assert np.array_equal(header.test_y, dataset.test_y)
    with pytest.raises(InvalidDataset, match=r"train_set_y: holds other values than 0 and 1"):
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
    assert (header.features, header.samples) == (19_200, 100_000)
    with h5py.File(file, "a") as h5:
        del h5["train_set_x"]
        h5.create_dataset("train_set_x", (10_000_001, 1, 1, 3), np.uint8, chunks=(1000, 1, 1, 3))
    with pytest.raises(InvalidDataset, match=r"train_set_x: claims 10,000,001 photos \(at most 10,000,000\)"):
        load_header(file)


def test_batches_share_out_every_photo_once(file):
    dataset = load_dataset(file)
    cut = batches(dataset, 4, seed=3)
    assert [batch.size for batch in cut] == [4, 4, 2]
    assert [batch.index for batch in cut] == [0, 1, 2]
    together = np.hstack([np.vstack([batch.X, batch.Y]) for batch in cut])
    everything = np.vstack([dataset.train_x, dataset.train_y])
    order = [np.flatnonzero((everything == column[:, None]).all(axis=0)).item() for column in together.T]
    assert sorted(order) == list(range(10))
    assert order != list(range(10))
    again = batches(dataset, 4, seed=3)
    assert all(np.array_equal(one.X, two.X) for one, two in zip(cut, again, strict=True))
    assert not np.array_equal(cut[0].X, batches(dataset, 4, seed=4)[0].X)


def test_without_a_batch_size_one_batch_holds_the_data_as_it_lies(file):
    dataset = load_dataset(file)
    for size in (None, 10, 64):
        (batch,) = batches(dataset, size, seed=3)
        assert np.array_equal(batch.X, dataset.train_x)
        assert np.array_equal(batch.Y, dataset.train_y)
