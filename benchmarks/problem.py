"""What is trained: itsacat's photos and network, the same grown, and jobs as files for whoever shall train them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from snn_cli.datasets import build_faces
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset, save_dataset

ROOT = Path(__file__).parents[1]
ITSACAT = ROOT.parent / "shared" / "datasets" / "datasets.h5"
LAYERS = (20, 7, 5, 1)
RATE = 0.0075
BATCH_SIZE = 64


def photos(folder: Path) -> tuple[Path, str]:
    """Return the data set to measure on, and what to call it: itsacat's where it is, otherwise the faces."""
    if ITSACAT.exists():
        return ITSACAT, "itsacat"
    faces = folder / "faces.h5"
    if not faces.exists():
        build_faces(faces)
    return faces, "faces"


def describe(dataset: Path, name: str) -> dict[str, Any]:
    """Return what the data set is, in numbers."""
    loaded = load_dataset(dataset)
    return {"name": name, "samples": len(loaded.train), "features": loaded.features}


def parameters(neurons: tuple[int, ...] = LAYERS, **fields: Any) -> Parameters:
    """Return the parameters of a network of ReLU layers under a sigmoid, itsacat's unless told otherwise."""
    last = len(neurons)
    return Parameters.load(
        {
            "epochs": 3000,
            "layers": last,
            "neurons": {f"layer{i}": count for i, count in enumerate(neurons, start=1)},
            "activations": {f"layer{i}": "sigmoid" if i == last else "relu" for i in range(1, last + 1)},
            "learning_rate": RATE,
            **fields,
        }
    )


def widened(factor: int) -> tuple[int, ...]:
    """Return itsacat's layers with `factor` times the neurons, the last one's single neuron excepted."""
    return (*(count * factor for count in LAYERS[:-1]), 1)


def grown(dataset: Path, factor: int, folder: Path, every: int = 1) -> Path:
    """Return a data set with `factor` times the training photos: shifted and mirrored copies, no two the same.

    Of every photo the rows and columns 0, `every`, 2·`every` … are kept.
    """
    if factor == every == 1:
        return dataset
    file = folder / f"{dataset.stem}-x{factor}-every{every}.h5"
    if not file.exists():
        loaded = load_dataset(dataset)
        small, test_small = loaded.train.stored[:, ::every, ::every], loaded.test.stored[:, ::every, ::every]
        width = small.shape[2]
        copies = []
        for number in range(factor):
            copy = np.roll(small, (number // (2 * width), number // 2 % width), axis=(1, 2))
            copies.append(copy[:, :, ::-1] if number % 2 else copy)
        labels = np.tile(loaded.train.y, factor)
        unfinished = file.with_suffix(".part")
        test = test_small, loaded.test.y
        save_dataset(unfinished, np.concatenate(copies), labels, *test, loaded.classes)
        unfinished.replace(file)
    return file


def save_job(file: Path, dataset: Path, chosen: Parameters) -> Path:
    """Write what `reference.Job` and `classify.Job` read: the samples as they are stored, first weights, and how."""
    loaded = load_dataset(dataset)
    params = chosen.network(loaded.features).first_params(chosen.seed, chosen.dtype)
    about = {
        "layers": chosen.layers,
        "functions": list(chosen.activation_per_layer),
        "rate": chosen.learning_rate,
        "strategy": chosen.strategy,
        "threshold": chosen.threshold,
        "batch_size": chosen.batch_size,
        "seed": chosen.seed,
        "epochs": chosen.epochs,
        "recipe": json.loads(chosen.to_json()),
    }
    arrays: dict[str, Any] = {"about": json.dumps(about)}
    for part, samples in (("train", loaded.train), ("test", loaded.test)):
        arrays |= {f"{part}_stored": samples.stored, f"{part}_y": samples.y}
    for number in range(chosen.layers):
        arrays |= {f"W{number}": params[f"W{number + 1}"], f"b{number}": params[f"b{number + 1}"]}
    np.savez(file, **arrays)
    return file
