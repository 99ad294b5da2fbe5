"""The recipe chosen by itself: what it is for which data, and what it reaches beside scikit-learn's network."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from training import trained

from snn.batches import Samples
from snn.errors import InvalidParameters
from snn.validation import metric
from snn_client.runs.recipe import choose, parameters_for, summary
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import Dataset


def table(samples: int, classes: int = 2, features: int = 5, validation: bool = False) -> Dataset:
    random = np.random.default_rng(3)
    y: Any = np.arange(samples) % classes if classes else random.normal(100, 20, samples)
    part = Samples(random.normal(size=(samples, features)).astype(np.float32), y)
    return Dataset(part, part, tuple(f"class {k}" for k in range(classes)), part if validation else None)


def photos(samples: int, shape: tuple[int, ...]) -> Dataset:
    part = Samples(np.zeros((samples, *shape), np.uint8), np.arange(samples) % 2)
    return Dataset(part, part, ("no", "yes"))


@pytest.mark.parametrize(
    "data",
    [
        table(2), table(30), table(999, 3), table(1_000), table(1_000, 0), table(30_000, 7), table(40, 2, 5, True),
        photos(10, (25, 25)), photos(5_000, (32, 32, 3)), photos(25_000, (28, 28)), photos(60, (64, 64, 3)),
    ],
)  # fmt: skip
def test_a_recipe_fits_its_data_and_is_a_file_that_one_can_keep(data: Dataset) -> None:
    chosen = parameters_for(data)
    assert Parameters.load(json.loads(chosen.to_json())) == chosen
    assert chosen.classes == len(data.classes)
    assert (chosen.dtype, chosen.strategy, chosen.optimizer.linear) == ("float32", "sgd", False)
    assert summary(chosen).startswith("layers ")


def test_what_is_chosen_follows_size_kind_and_classes() -> None:
    outputs = [parameters_for(table(50, classes)).activation_per_layer[-1] for classes in (0, 2, 3)]
    assert outputs == ["identity", "sigmoid", "softmax"]
    assert [choose(table(samples)).get("validation") for samples in (999, 1_000)] == [None, 0.1]
    assert choose(table(50, validation=True))["validation"] == "file"
    assert "patience" not in choose(table(999))
    assert choose(photos(60, (64, 64, 3)))["augmentation"] == {"mirror": True}
    assert choose(photos(60, (64, 64, 3)))["input_scaling"] == {"mean": 0.5, "scale": 0.25}
    assert not {"input_scaling"} & (choose(photos(60, (64, 64, 1))).keys() | choose(table(60)).keys())
    assert choose(photos(60, (28, 28)))["augmentation"] == {"shift": 1}
    assert choose(photos(60, (64, 64, 1)))["augmentation"] == {"shift": 2}
    assert "augmentation" not in choose(table(60))
    data = table(50, 0)
    assert choose(data)["target_scaling"] == {"mean": data.train.y.mean(), "scale": data.train.y.std()}


def test_a_class_too_rare_to_validate_by_is_no_obstacle() -> None:
    data = table(2_000)
    data.train.y[:] = 0
    data.train.y[:1] = 1
    assert "validation" not in choose(data)


def test_single_fields_can_be_replaced() -> None:
    data = table(60)
    assert parameters_for(data, epochs=3, seed=9).epochs == 3
    whole = parameters_for(data, strategy="full-batch")
    assert (whole.strategy, whole.batch_size) == ("full-batch", None)
    with pytest.raises(InvalidParameters, match="the recipe chosen by itself: epochs: "):
        parameters_for(data, epochs=0)


def test_a_number_is_learned_standardised_and_answered_in_its_own_units() -> None:
    data = table(60, 0)
    mean, scale = data.train.y.mean(), data.train.y.std()
    small = Dataset(Samples(data.train.stored, (data.train.y - mean) / scale), data.test, ())
    chosen = parameters_for(data, epochs=5, dtype="float64")
    by_hand = Parameters.load({**json.loads(chosen.to_json()), "target_scaling": None})
    ours, theirs = trained(chosen, data), trained(by_hand, small)
    assert ours.training.history.costs == theirs.training.history.costs
    X = data.train.inputs()
    answers = chosen.network(5).answers(ours.params, X)
    assert_allclose(answers, chosen.network(5).answers(theirs.params, X) * scale + mean, rtol=1e-12)


def test_a_scaled_number_is_validated_as_it_is_learned() -> None:
    data = table(60, 0, validation=True)
    lesson = trained(parameters_for(data, epochs=8), data)
    said = lesson.parameters.network(5).answers(lesson.params, data.train.inputs(dtype=np.float32))
    best = lesson.training.history.validation_metrics[lesson.training.best_epoch]
    assert_allclose(metric(lesson.parameters.loss_function, said, data.train.y), best, atol=1e-4)


def test_target_scaling_says_nothing_to_classes() -> None:
    with pytest.raises(
        InvalidParameters, match="target_scaling: has no effect on a network that distinguishes classes"
    ):
        parameters_for(table(60), target_scaling={"mean": 1.0, "scale": 2.0})


def folds(data: Any, splitter: Any) -> list[tuple[Dataset, Any]]:
    made = []
    for train, test in splitter.split(data.data, data.target):
        scaler = StandardScaler().fit(data.data[train])
        x = [scaler.transform(data.data[part]).astype(np.float32) for part in (train, test)]
        classes = tuple(map(str, getattr(data, "target_names", ())))
        parts = [Samples(rows, data.target[part]) for rows, part in zip(x, (train, test))]
        made.append((Dataset(*parts, classes), (train, test)))
    return made


def reached(made: list[tuple[Dataset, Any]]) -> float:
    found = []
    for data, _ in made:
        chosen = parameters_for(data)
        said = chosen.network(data.features).answers(trained(chosen, data).params, data.test.inputs(dtype=np.float32))
        found.append(metric(chosen.loss_function, said, data.test.y))
    return float(np.mean(found))


@pytest.mark.parametrize("load", [load_iris, load_wine])
def test_it_is_as_good_as_scikit_learns_network(load: Any) -> None:
    data = load()
    made = folds(data, StratifiedKFold(5, shuffle=True, random_state=0))
    theirs = [
        make_pipeline(StandardScaler(), MLPClassifier(max_iter=1000, random_state=0))
        .fit(data.data[train], data.target[train])
        .score(data.data[test], data.target[test])
        for _, (train, test) in made
    ]
    assert reached(made) >= np.mean(theirs) - 0.01


def test_diabetes_is_explained_as_well_as_by_a_line() -> None:
    assert reached(folds(load_diabetes(), KFold(5, shuffle=True, random_state=0))) >= 0.44
