"""Data sets that people, broken disks and enemies make, by name; each with what must be said of it ("": it is good)."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import oracle
from small import photos

from snn_data.hdf5 import FILTERS

PIXELS, LABELS = oracle.photos_and_labels()
Plant = Callable[[h5py.File], Any]


def good() -> bytes:
    return photos()


def compressed() -> bytes:
    """The same in the newest format, in compressed, shuffled and summed chunks: other structures."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="latest") as h5:
        for name, count in (("train", 24), ("test", 6)):
            options = {"chunks": (5, 3, 3, 3), "compression": "gzip", "shuffle": True, "fletcher32": True}
            h5.create_dataset(f"{name}_set_x", data=PIXELS[:count], **options)
            h5.create_dataset(f"{name}_set_y", data=LABELS[:count])
        h5["list_classes"] = ["no", "yes"]
    return buffer.getvalue()


def with_change(plant: Plant, *gone: str) -> bytes:
    buffer = io.BytesIO(good())
    with h5py.File(buffer, "a") as h5:
        for name in gone:
            del h5[name]
        plant(h5)
    return buffer.getvalue()


def _put(name: str, **options: Any) -> bytes:
    return with_change(lambda h5: h5.create_dataset(name, **options), name)


def _virtual(h5: h5py.File) -> None:
    layout = h5py.VirtualLayout(PIXELS.shape, np.uint8)
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", PIXELS.shape)
    h5.create_virtual_dataset("train_set_x", layout)


def _linked(kind: Any) -> bytes:
    def plant(h5: h5py.File) -> None:
        h5["train_set_x"] = kind

    return with_change(plant, "train_set_x")


def _soft_cycle(h5: h5py.File) -> None:
    h5["a"], h5["train_set_x"] = h5py.SoftLink("/train_set_x"), h5py.SoftLink("/a")


def _references(h5: h5py.File) -> None:
    h5.create_dataset("list_classes", data=[h5["train_set_y"].ref, h5["test_set_y"].ref], dtype=h5py.ref_dtype)


def _region(h5: h5py.File) -> None:
    region = h5["train_set_y"].regionref[:2]
    h5.create_dataset("list_classes", data=[region, region], dtype=h5py.regionref_dtype)


def _sequences(h5: h5py.File) -> None:
    h5.create_dataset("list_classes", (2,), dtype=h5py.vlen_dtype(np.int32))


def _bomb(height: int, width: int, chunks: tuple[int, ...], written: bool) -> bytes:
    """Photos of zeros in a few kilobytes: compressed a thousandfold, or not even there."""

    def plant(h5: h5py.File) -> None:
        options = {"compression": "gzip"} if written else {}
        packed = zlib.compress(bytes(math.prod(chunks)), 9) if written else b""
        for name, count in (("train_set_x", 24), ("test_set_x", 6)):
            shape = (count, height, width, 3)
            item = h5.create_dataset(name, shape, np.uint8, chunks=chunks, maxshape=(None, *shape[1:]), **options)
            for start in range(0, count if written else 0, chunks[0]):
                item.id.write_direct_chunk((start, 0, 0, 0), packed)

    return with_change(plant, "train_set_x", "test_set_x")


def _filtered(number: int) -> bytes:
    """Photos that were compressed by a filter which is not here: it is named, and its bytes are there."""

    def plant(h5: h5py.File) -> None:
        how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        how.set_chunk(X.shape)
        how.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple(X.shape)
        made = h5py.h5d.create(h5.id, b"train_set_x", h5py.h5t.NATIVE_UINT8, space, how)
        made.write_direct_chunk((0, 0, 0, 0), bytes(100))

    return with_change(plant, "train_set_x")


def _many_names(h5: h5py.File) -> None:
    for number in range(3_000):
        h5[f"name {number}"] = 0


def _user_block() -> bytes:
    return b"#!/bin/sh\n".ljust(512, b"\0") + good()


def _odd_attributes(h5: h5py.File) -> None:
    for name, value in {
        "a": np.zeros((3, 3)),
        "b": h5py.Empty("f8"),
        "c": "x" * 60_000,
        "d": h5["test_set_y"].ref,
    }.items():
        h5["train_set_x"].attrs[name] = value
        h5.attrs[name] = value


X, Y = PIXELS, LABELS
FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "good": (good, ""),
    "newest format, compressed": (compressed, ""),
    "user block": (_user_block, ""),
    "odd attributes": (lambda: with_change(_odd_attributes), ""),
    "more than is asked for": (lambda: with_change(lambda h5: h5.create_group("more/and/more")), ""),
    "labels as floats": (lambda: _put("train_set_y", data=Y.astype(">f4")), ""),
    "labels as truths": (lambda: _put("train_set_y", data=Y.astype(bool)), ""),
    "a column of labels": (lambda: _put("train_set_y", data=Y.reshape(-1, 1)), ""),
    "three names": (lambda: _put("list_classes", data=["a", "b", "c"]), ""),
    "labels in a row": (lambda: _put("train_set_y", data=Y.reshape(1, -1)), ""),
    "class names of any length": (lambda: _put("list_classes", data=["é" * 200, "x"]), ""),
    "nothing": (bytes, "cannot be read as HDF5"),
    "text": (lambda: b"train_set_x\n" * 1_000, "cannot be read as HDF5"),
    "only the signature": (lambda: b"\x89HDF\r\n\x1a\n", "cannot be read as HDF5"),
    "no data sets": (lambda: _empty(), "train_set_x: is missing"),
    "three thousand others": (lambda: with_change(_many_names, "train_set_x"), "train_set_x: is missing"),
    "soft link": (lambda: _linked(h5py.SoftLink("/test_set_x")), "train_set_x: is a link"),
    "soft link to nowhere": (lambda: _linked(h5py.SoftLink("/x/y")), "train_set_x: is (a link|missing)"),
    "soft links in a circle": (lambda: with_change(_soft_cycle, "train_set_x"), "train_set_x: is (a link|missing)"),
    "external link": (lambda: _linked(h5py.ExternalLink("/etc/passwd", "/x")), "train_set_x: is (a link|missing)"),
    "virtual": (lambda: with_change(_virtual, "train_set_x"), "train_set_x: is not a plain data set"),
    "external storage": (
        lambda: _put("train_set_x", shape=X.shape, dtype=np.uint8, external=[("/etc/passwd", 0, X.size)]),
        "train_set_x: is not a plain data set",
    ),
    "a group": (
        lambda: with_change(lambda h5: h5.create_group("train_set_x"), "train_set_x"),
        "is not a plain data set",
    ),
    "a named type": (
        lambda: with_change(lambda h5: h5.__setitem__("train_set_x", np.dtype("u1")), "train_set_x"),
        "train_set_x: is not a plain data set",
    ),
    "null data space": (lambda: _put("train_set_x", data=h5py.Empty("u1")), "train_set_x: "),
    "null labels": (lambda: _put("train_set_y", data=h5py.Empty("i8")), "train_set_y: "),
    "a scalar": (lambda: _put("train_set_x", data=np.uint8(5)), r"train_set_x: is \(\) uint8"),
    "signed pixels": (lambda: _put("train_set_x", data=X.astype(np.int8)), "train_set_x: .*int8"),
    "16-bit pixels": (lambda: _put("train_set_x", data=X.astype(np.uint16)), "train_set_x: .*uint16"),
    "compound pixels": (lambda: _put("train_set_x", data=np.zeros(X.shape, [("r", "u1")])), "train_set_x: is "),
    "photos of no height": (lambda: _put("train_set_x", data=X[:, :0]), "at least one sample"),
    "no test photos": (lambda: _put("test_set_x", data=X[:0]), "test_set_x: .*at least one sample"),
    "grey photos to train on only": (lambda: _put("train_set_x", data=X[..., :1]), "test_set_x: .*make both the same"),
    "two channels": (lambda: _put("train_set_x", data=X[..., :2]), r"train_set_x: is \(24, 3, 3, 2\)"),
    "33 dimensions": (lambda: _put("train_set_x", data=np.zeros((1,) * 31, np.uint8)), "train_set_x: is "),
    "NaN among labels": (lambda: _put("train_set_y", data=np.where(Y == 1, np.nan, 0)), "train_set_y: .*0 and 1"),
    "half labels": (lambda: _put("train_set_y", data=Y * 0.5), "train_set_y: .*0 and 1"),
    "labels from -1": (lambda: _put("train_set_y", data=Y * 2 - 1), "train_set_y: .*0 and 1"),
    "labels 1 and 2": (lambda: _put("test_set_y", data=Y[:6] + 1), "test_set_y: .*0 and 1"),
    "complex labels": (lambda: _put("train_set_y", data=Y.astype(complex)), "train_set_y: is .*complex"),
    "labels as text": (lambda: _put("train_set_y", data=[b"1"] * 24), "train_set_y: is "),
    "two columns of labels": (lambda: _put("train_set_y", data=np.stack([Y, Y], 1)), "24 samples"),
    "too many labels": (lambda: _put("train_set_y", data=np.tile(Y, 2)), "24 samples"),
    "names by reference": (lambda: with_change(_references, "list_classes"), "list_classes: .*names"),
    "names by region": (lambda: with_change(_region, "list_classes"), "list_classes: .*names"),
    "names as sequences": (lambda: with_change(_sequences, "list_classes"), "list_classes: .*names"),
    "names as numbers": (lambda: _put("list_classes", data=[0.0, 1.0]), "list_classes: .*names"),
    "a class too few": (lambda: _put("list_classes", data=["a"]), "list_classes: .*two or more"),
    "no class": (lambda: _put("list_classes", shape=(0,), dtype=h5py.string_dtype()), "list_classes: .*two or more"),
    "a name that is a book": (lambda: _put("list_classes", data=["x" * 100_000, "y"]), "100,000 characters"),
    "ten exabytes": (
        lambda: _put("train_set_x", shape=(2**40, 2**10, 2**10, 3), dtype=np.uint8, chunks=(1, 64, 64, 3)), "claims "
    ),
    **{
        f"compressed by {name}": (lambda number=number: _filtered(number), f"train_set_x: is compressed by {name} ")  # type: ignore[misc]
        for number, name in FILTERS.items()
    },
    "compressed by nobody knows what": (lambda: _filtered(999), "a filter that is not registered .999., which is not"),
    "shape bomb": (lambda: _bomb(3_000, 9_000, (1, 300, 300, 3), False), "train_set_x: claims 1,944 MB"),
    "compressed bomb": (lambda: _bomb(2_000, 3_000, (1, 2_000, 3_000, 3), True), "train_set_x: claims 432 MB"),
    "one chunk of 120 MB": (
        lambda: _bomb(1_000, 1_000, (40, 1_000, 1_000, 3), True), "chunks of 120 MB"
    ),
    "labels without photos": (lambda: _put("train_set_y", shape=(9_000_000,), dtype="u1"), "24 samples"),
}  # fmt: skip


def _empty() -> bytes:
    buffer = io.BytesIO()
    h5py.File(buffer, "w").close()
    return buffer.getvalue()
