"""What the tests of drift draw from: real photos where they are, tables with ties, features of a backbone's kind."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from snn.batches import Samples
from snn_data.columns import Category, Columns, Number
from snn_data.dataset import Dataset

SHARED = Path(__file__).parents[2] / "shared" / "datasets"
ITSACAT = SHARED / "datasets.h5"

Pixels = NDArray[np.uint8]


@cache
def photos(name: str) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...]]:
    """Return the 10,000 test photos of "cifar10" or "mnist", labels and classes; "faces": scikit-image's 200.

    Skips the test where they are not.
    """
    if name == "faces":
        import skimage

        grey = np.load(Path(skimage.__file__).parent / "data" / "lfw_subset.npy")
        return np.rint(grey * 255).astype(np.uint8), np.repeat([1, 0], [100, 100]), ("non-face", "face")
    archive = SHARED / f"{name}.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive.name} is not here")
    pixels, labels = list[Pixels](), list[str]()
    with tarfile.open(archive, "r:xz") as members:
        for member in members:
            part = member.name.split("/")
            if member.isfile() and part[1] == "test":
                with Image.open(members.extractfile(member)) as photo:  # type: ignore[arg-type]
                    pixels.append(np.asarray(photo))
                labels.append(part[2])
            if len(pixels) == 10_000:
                break
    classes, numbers = np.unique(labels, return_inverse=True)
    return np.stack(pixels), numbers, tuple(map(str, classes))


def dataset(x: NDArray[Any], y: NDArray[Any] | None = None, classes: tuple[str, ...] = (), **others: Any) -> Dataset:
    """Return a data set whose training part is this; its test part is the first samples of it."""
    y = np.zeros(len(x)) if y is None else y
    return Dataset(Samples(x, y), Samples(x[:5], y[:5]), classes, **others)


CHANGES: dict[str, Any] = {
    "brightness": lambda x, by, _: as_bytes(x.astype(np.float64) + by),
    "blur": lambda x, by, _: as_bytes(gaussian_filter(x.astype(np.float64), (0, by, by, 0)[: x.ndim])),
    "noise": lambda x, by, chance: as_bytes(x + chance.normal(0, by, x.shape)),
    "contrast": lambda x, by, _: as_bytes((x - 127.0) * by + 127),
    "saturation": lambda x, by, _: as_bytes(x.mean(3, keepdims=True) * (1 - by) + by * x),
    "red": lambda x, by, _: as_bytes(x + np.array([by, 0, -by])),
}
"""Photos (m, height, width, 3), changed by so much."""


def as_bytes(numbers: NDArray[Any]) -> Pixels:
    return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def table(
    chance: np.random.Generator, rows: int, *, age: float = 0.0, missing: float = 0.1, new_value: float = 0.0
) -> dict[str, NDArray[Any]]:
    """Return a table by its columns: smooth, skewed, whole numbers with heavy ties, nearly constant, categories.

    `age` is added to the smooth column, in standard deviations; `missing` is the share of incomes that are; `new_value`
    that of a colour that is not among the usual ones.
    """
    colours = np.array(["red", "green", "blue", "rare", "violet"], dtype=object)
    shares = np.array([0.5, 0.3, 0.19, 0.01, 0.0]) * (1 - new_value)
    shares[-1] = new_value
    income = chance.lognormal(10, 1, rows)
    income[chance.random(rows) < missing] = np.nan
    return {
        "age": 40 + 12 * (chance.standard_normal(rows) + age),
        "income": income,
        "children": chance.poisson(1.2, rows).astype(np.float64),
        "stars": chance.integers(1, 6, rows).astype(np.float64),
        "defects": (chance.random(rows) < 0.01).astype(np.float64),
        "colour": chance.choice(colours, rows, p=shares),
        "member": chance.choice(np.array(["no", "yes"], dtype=object), rows, p=[0.8, 0.2]),
    }


def encoded(columns: dict[str, NDArray[Any]]) -> tuple[NDArray[np.float32], str]:
    """Return a table as a data set has it, scaled and spelled by itself as the product does it: rows, columns' text."""
    told, parts = list[Number | Category](), list[NDArray[np.float64]]()
    for name, values in columns.items():
        if values.dtype == object:
            known = tuple(sorted(set(values)))
            category = Category(name, known)
            told.append(category)
            parts.append(category.encode(np.array([category.place(value) for value in values])))
        else:
            number = Number(name, float(np.nanmean(values)), float(np.nanstd(values)) or 1.0)
            told.append(number)
            parts.append(number.encode(values))
    return np.hstack(parts).astype(np.float32), Columns(tuple(told)).to_json()


def table_dataset(chance: np.random.Generator, rows: int, **changes: Any) -> Dataset:
    """Return a data set of such a table, with three classes of uneven size."""
    x, columns = encoded(table(chance, rows, **changes))
    y = chance.choice(3, rows, p=[0.6, 0.3, 0.1])
    return dataset(x, y, ("a", "b", "c"), columns=columns)


def features(chance: np.random.Generator, rows: int, width: int = 256, *, shift: float = 0.0) -> NDArray[np.float32]:
    """Return features as a backbone gives them: not negative, in bunches, of 20 directions and noise.

    `shift` moves them along the first of the directions, in its standard deviations.
    """
    world = np.random.default_rng(77)
    directions, bunches = world.normal(0, 1, (20, width)), world.normal(0, 2, (5, 20))
    inner = bunches[chance.integers(0, 5, rows)] + chance.standard_normal((rows, 20))
    inner[:, 0] += shift * np.sqrt(1 + bunches[:, 0].var())
    return np.maximum(inner @ directions / 5 + chance.normal(0, 0.3, (rows, width)), 0).astype(np.float32)
