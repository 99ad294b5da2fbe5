"""The recipe of whoever has none: chosen by how many samples there are, of what kind, and what is to be told of them.

The reasons, and what it reaches beside scikit-learn, are in docs/your-data.md; `tests/unit/data/test_recipe.py` and
`make test-witness` hold it to that.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from snn.errors import InvalidInput
from snn.validation import check_held_out
from snn_client.tables.splits import VALIDATED_FROM, VALIDATION_SHARE
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset, Header, backbone_name

AUTO = "auto"
"""What stands in place of a `parameters.json` for a recipe chosen by itself."""

LARGE = 20_000
"""Samples from which wider networks pay."""

STEPS = 1_200
"""Steps that a small table, or the features of a few photos, take to be learned, however few they are."""

PATIENCE = 10
"""Epochs without a better validation cost, then the training stops; the best epoch's weights are the model."""


class _Size(NamedTuple):
    """What depends on the size of the training part and on its kind alone."""

    hidden: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    batch_size: int
    epochs: int
    dropout: float = 0.0


def choose(data: Dataset | Header) -> dict[str, Any]:
    """Return a recipe for a data set, as the contents of a `parameters.json`."""
    samples, photos, classes = len(data.train), len(data.shape) > 1, len(data.classes)
    size = _of_photos(samples) if photos else _of_features(samples) if data.backbone else _of_rows(samples)
    outputs, output = (1, "identity") if not classes else (1, "sigmoid") if classes == 2 else (classes, "softmax")
    layers = [f"layer{number}" for number in range(1, len(size.hidden) + 2)]
    recipe: dict[str, Any] = {
        "epochs": size.epochs,
        "layers": len(layers),
        "activations": {**dict.fromkeys(layers, "relu"), layers[-1]: output},
        "neurons": dict(zip(layers, (*size.hidden, outputs), strict=True)),
        "learning_rate": size.learning_rate,
        "batch_size": min(size.batch_size, samples),
        "strategy": "sgd",
        "optimizer": {"name": "adamw", "weight_decay": size.weight_decay},
        "schedule": {"name": "cosine"},
        "dtype": "float32",
        "dropout": size.dropout,
    }
    if photos:
        recipe |= _seen(data)
    if not classes:
        recipe["target_scaling"] = _scaling(data)
    if data.backbone:
        recipe["backbone"] = backbone_name(data.backbone)
    return {**recipe, **_stopping(data)}


def parameters_for(data: Dataset | Header, **overrides: Any) -> Parameters:
    """Return the chosen recipe, single fields of it replaced by overrides. Raises InvalidParameters."""
    return Parameters.load(choose(data), source="the recipe chosen by itself", **overrides)


def summary(chosen: Parameters) -> str:
    """Return what a person wants to know of a recipe in one line."""
    layers = "-".join(map(str, chosen.neurons_per_layer))
    name = chosen.model_dump(include={"optimizer"})["optimizer"]["name"]
    stops = f", stops after {chosen.patience} epochs that validate no better" if chosen.patience else ""
    changes = f", photos changed by {' and '.join(chosen.augmentation)}" if chosen.augmentation else ""
    batches = f" in mini-batches of {chosen.batch_size}" if chosen.batch_size else ""
    return (
        f"layers {layers}, {name}, learning rate {chosen.learning_rate:g}, up to {chosen.epochs} epochs{batches}"
        f"{changes}{stops}"
    )


def _of_rows(samples: int) -> _Size:
    batch_size = 128 if samples >= LARGE else 32
    steps, epochs = -(-samples // batch_size), 40
    if samples < VALIDATED_FROM:
        epochs = min(300, max(30, -(-STEPS // steps)))
    # The same shrinking over the whole training, however many steps that is.
    decay = min(1.0, round(STEPS / (epochs * steps), 3))
    return _Size((256, 128) if samples >= LARGE else (128,), 0.003, decay, batch_size, epochs)


def _of_features(samples: int) -> _Size:
    """Return what suits a backbone's features: it has learned to see, so one layer tells the classes apart."""
    batch_size = 128 if samples >= LARGE else 32
    epochs = 30 if samples >= VALIDATED_FROM else min(300, -(-STEPS // -(-samples // batch_size)))
    return _Size((), 0.001, 0.05, batch_size, epochs)


def _of_photos(samples: int) -> _Size:
    if samples < VALIDATED_FROM:
        return _Size((64,), 0.001, 0.05, 32, 100, dropout=0.2)
    if samples < LARGE:
        return _Size((256,), 0.0005, 0.05, 64, 20)
    return _Size((512, 256), 0.001, 0.05, 128, 10, dropout=0.2)


def _seen(data: Dataset | Header) -> dict[str, Any]:
    """Return how photos are changed: coloured ones mirrored; grey ones, which may be signs, moved by a pixel of 28.

    Coloured ones are also seen in numbers from -2 to 2: with those in 0..1 the first layer learns brightness for long.
    """
    height, _, *channels = data.shape
    if channels == [3]:
        return {"augmentation": {"mirror": True}, "input_scaling": {"mean": 0.5, "scale": 0.25}}
    return {"augmentation": {"shift": max(1, round(height / 28))}}


def _scaling(data: Dataset | Header) -> dict[str, float]:
    """Return what makes the labels of the training part a mean of 0 and a deviation of 1."""
    y = np.asarray(data.train.y, np.float64)
    deviation = float(y.std())
    return {"mean": float(y.mean()), "scale": deviation if deviation > 0 else 1.0}


def _stopping(data: Dataset | Header) -> dict[str, Any]:
    """Return what validates: the file's own samples, or a share from 1,000 samples on, if no class is too rare."""
    if data.validation is not None:
        return {"validation": "file", "patience": PATIENCE}
    if len(data.train) < VALIDATED_FROM:
        return {}
    try:
        check_held_out(data.train.y, data.train.groups, VALIDATION_SHARE, 0, len(data.classes))
    except InvalidInput:
        return {}
    return {"validation": VALIDATION_SHARE, "patience": PATIENCE}
