"""How often a challenger is promoted that is no better, and how often one that is: 200 pairs of models of each kind."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from training import Lesson, saved, trained

from snn.activations import Array
from snn_client.judging.answers import Answers
from snn_client.models.challenge import gather, judge
from snn_client.reports.metrics import evaluate
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset

PAIRS = 200
NAMES = ("no", "yes")


def promoted(challenger: Answers, champion: Answers, metric: str, margin: float) -> bool:
    """Whether it is, by the rule of `compare`; figures are counted by their weights, which is quicker."""
    ones = np.ones((1, len(challenger)))
    new, old = ({metric: float(each.figures[metric](ones)[0])} for each in (challenger, champion))
    return judge(new, old, metric=metric, margin=margin, evidence=gather(metric, challenger, champion))["promote"]


def test_the_quicker_count_is_the_reports_own() -> None:
    y, p = answers_of(np.random.default_rng(1), 500, 0.0)
    for metric in ("accuracy", "log_loss", "roc_auc", "f1"):
        figure = Answers.of(y, p, NAMES).figures[metric](np.ones((1, 500)))[0]
        assert figure == pytest.approx(evaluate(y, p, NAMES)[metric])


def answers_of(random: Any, samples: int, handicap: float, truth: Any = None) -> tuple[Any, Any]:
    """What a model says whose logits are the truth's and noise of its own; without a handicap it is right in 84 %."""
    y = random.integers(2, size=samples) if truth is None else truth
    z = 2.0 * y - 1 - handicap * (2.0 * y - 1) + random.standard_normal(samples)
    return y, 1 / (1 + np.exp(-2 * z))


@pytest.mark.parametrize(
    ("samples", "metric"),
    [(50, "accuracy"), (10_000, "accuracy"), (50, "log_loss"), (1_000, "log_loss"), (50, "roc_auc"), (50, "f1")],
)
def test_of_exactly_equal_models_evidence_alone_promotes_about_one_in_twenty(
    samples: int, metric: str, record_property: Any
) -> None:
    """Without a margin, so that nothing but the evidence holds them back. At most 7 % of them."""
    count = 0
    for seed in range(PAIRS):
        random = np.random.default_rng([7, seed])
        y, new = answers_of(random, samples, 0.0)
        _, old = answers_of(random, samples, 0.0, y)
        count += promoted(Answers.of(y, new, NAMES), Answers.of(y, old, NAMES), metric, 0.0)
    record_property("promoted", count / PAIRS)
    assert count / PAIRS <= 0.07


PROBLEM = np.random.default_rng(0).standard_normal(8)


def drawn(random: Any, samples: int) -> tuple[Any, Any]:
    """Samples of eight numbers, of two classes that overlap: nobody gets more than about 87 % right."""
    x = random.standard_normal((samples, 8))
    z = x @ PROBLEM + 0.8 * np.sin(2 * x[:, 0]) * x[:, 1]
    return x, (random.random(samples) < 1 / (1 + np.exp(-2 * z))).astype(np.int64)


@cache
def network(seed: int) -> Lesson:
    """One of the networks that differ by nothing but their seed."""
    x, y = drawn(np.random.default_rng(1), 600)
    dataset = load_dataset(io.BytesIO(saved(x, y, x[:10], y[:10], classes=NAMES)))
    fields: dict[str, Any] = {
        "epochs": 150, "layers": 2, "neurons": {"layer1": 6, "layer2": 1},
        "activations": {"layer1": "tanh", "layer2": "sigmoid"}, "learning_rate": 0.3, "l2": 0.01,
    }  # fmt: skip
    return trained(Parameters.load({**fields, "seed": seed}), dataset)


def said(lesson: Lesson, x: Any) -> Array:
    return lesson.job.network.answers(lesson.params, np.ascontiguousarray(x.T))


# The bootstrap on 10,000 samples takes a minute; on 1,000 it is in the test above.
@pytest.mark.parametrize(("samples", "metric"), [(50, "accuracy"), (10_000, "accuracy"), (50, "log_loss")])
def test_networks_that_differ_by_their_seed_are_rarely_promoted(
    samples: int, metric: str, record_property: Any
) -> None:
    """Forty networks in 200 pairs, each pair on a test set of its own; margin and evidence as they are by default."""
    count = 0
    for pair in range(PAIRS):
        x, y = drawn(np.random.default_rng([3, pair]), samples)
        new, old = network(pair % 40), network((pair * 7 + 1 + pair // 40) % 40)
        if new is old:
            old = network((pair + 13) % 40)
        count += promoted(Answers.of(y, said(new, x), NAMES), Answers.of(y, said(old, x), NAMES), metric, 0.01)
    record_property("promoted", count / PAIRS)
    assert count / PAIRS <= 0.07


def test_five_points_on_ten_thousand_samples_are_found(record_property: Any) -> None:
    """Each with noise of its own, which makes it hardest to tell; the weaker one is right in five of 100 less."""
    handicap = 1 - 0.806421  # Φ(1) = 0.841345, Φ(0.806421) = 0.790
    count, differences = 0, []
    for seed in range(PAIRS):
        random = np.random.default_rng([9, seed])
        y, new = answers_of(random, 10_000, 0.0)
        _, old = answers_of(random, 10_000, handicap, y)
        better, weaker = Answers.of(y, new, NAMES), Answers.of(y, old, NAMES)
        differences.append(better.right.mean() - weaker.right.mean())
        count += promoted(better, weaker, "accuracy", 0.01)
    assert np.mean(differences) == pytest.approx(0.05, abs=0.003)
    record_property("promoted", count / PAIRS)
    assert count / PAIRS >= 0.95


def test_networks_that_differ_by_five_points_are_promoted(record_property: Any) -> None:
    """The challenger as it was trained; the champion's weights are disturbed until it has lost five points."""
    x, y = drawn(np.random.default_rng(5), 100_000)
    count = 0
    for seed in range(20):
        lesson, random = network(seed), np.random.default_rng([11, seed])
        noise = {name: random.standard_normal(array.shape) for name, array in lesson.params.items()}
        best = float(((said(lesson, x)[0] > 0.5) == y).mean())
        low, high = 0.0, 3.0
        for _ in range(20):
            middle = (low + high) / 2
            worse = {name: array + middle * noise[name] for name, array in lesson.params.items()}
            lost = best - float(
                ((lesson.job.network.answers(worse, x[:20_000].T.copy())[0] > 0.5) == y[:20_000]).mean()
            )
            low, high = (middle, high) if lost < 0.05 else (low, middle)
        for pair in range(10):
            fresh, truth = drawn(np.random.default_rng([13, seed, pair]), 10_000)
            old = lesson.job.network.answers(worse, fresh.T.copy())
            count += promoted(
                Answers.of(truth, said(lesson, fresh), NAMES), Answers.of(truth, old, NAMES), "accuracy", 0.01
            )
    record_property("promoted", count / PAIRS)
    assert count / PAIRS >= 0.95
