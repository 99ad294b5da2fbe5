"""scikit-learn as a witness of the recipe that is chosen by itself: real tables, as CSV and as Parquet, by folds.

The bar is that of somebody who knows: StandardScaler and MLPClassifier(max_iter=1000), on the same folds.
"""

from __future__ import annotations

import tarfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training import trained

from snn.validation import metric
from snn_client.data import tables
from snn_client.data.options import Logged, Options
from snn_client.runs.recipe import parameters_for
from snn_data.dataset import load_dataset

SHARED = Path(__file__).parents[3] / "shared" / "datasets"
SEEDS, FOLDS, MARGIN = 3, 5, 0.01


def judged(path: Path, seed: int) -> float:
    """The accuracy, or R², of the recipe that is chosen for a table whose column `part` says the split."""
    target = path.with_suffix(".h5")
    tables.make(path, Options(split="part", label="target"), target, Logged())
    data = load_dataset(target)
    chosen = parameters_for(data, seed=seed + 1)
    said = chosen.network(data.features).answers(trained(chosen, data).params, data.test.inputs(dtype=np.float32))
    return metric(chosen.loss_function, said, data.test.y)


def written(folder: Path, X: Any, y: Any, test: Any, kind: str) -> Path:
    part = np.where(np.isin(np.arange(len(y)), test), "test", "train")
    table = pa.table({**{f"x{k}": X[:, k] for k in range(X.shape[1])}, "part": part, "target": y})
    path = folder / f"table.{kind}"
    if kind == "csv":
        pa_csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    return path


def theirs(X: Any, y: Any, train: Any, test: Any, seed: int, epochs: int) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how far it comes in so many epochs is the question
        network = make_pipeline(StandardScaler(), MLPClassifier(max_iter=epochs, random_state=seed))
        return float(network.fit(X[train], y[train]).score(X[test], y[test]))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("load", [load_digits, load_breast_cancer, load_wine, load_iris])
def test_tables_of_classes(tmp_path: Path, load: Any, kind: str) -> None:
    X, y = load(return_X_y=True)
    ours, bar = [], []
    for seed in range(SEEDS):
        for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(X, y):
            ours.append(judged(written(tmp_path, X, y, test, kind), seed))
            bar.append(theirs(X, y, train, test, seed, 1000))
    print(f"{load.__name__} as {kind}: ours {np.mean(ours):.4f}, scikit-learn {np.mean(bar):.4f}")  # noqa: T201
    assert np.mean(ours) >= np.mean(bar) - MARGIN


def test_diabetes(tmp_path: Path) -> None:
    X, y = load_diabetes(return_X_y=True)
    ours = [
        judged(written(tmp_path, X, y, test, "csv"), seed)
        for seed in range(SEEDS)
        for _, test in KFold(FOLDS, shuffle=True, random_state=seed).split(X)
    ]
    print(f"diabetes: R² {np.mean(ours):.4f}")  # noqa: T201
    assert np.mean(ours) >= 0.44


@pytest.mark.skipif(not (SHARED / "mnist.tar.xz").exists(), reason="MNIST is not on this machine")
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_mnist_as_a_table(tmp_path: Path, kind: str) -> None:
    with tarfile.open(SHARED / "mnist.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    paths = sorted((tmp_path / "mnist" / "train").glob("*/*.png"))
    X = np.stack([np.asarray(Image.open(path)).ravel() for path in paths])
    y = np.array([int(path.parent.name) for path in paths])
    train, test = next(StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(X, y))
    ours = judged(written(tmp_path, X, y, test, kind), 0)
    bar = theirs(X, y, train, test, 0, 20)
    print(f"MNIST as {kind}: ours {ours:.4f}, scikit-learn {bar:.4f}")  # noqa: T201
    assert ours >= bar - MARGIN
