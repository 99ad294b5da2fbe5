"""The threshold that a recipe asks for is chosen on the samples held out, of the weights that are kept, and is kept."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from oracle import small_network
from training import photos, trained
from training import saved as written

from snn.decision import choose
from snn.errors import InvalidModel, InvalidParameters
from snn.validation import hold_out
from snn_client.reports.report import judge_model
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_header
from snn_data.fitting import check_recipe
from snn_data.model import load_model, save_model


def parameters(**fields: Any) -> Parameters:
    return Parameters.load(small_network(**fields))


def saved(attributes: dict[str, Any], lesson: Any) -> Any:
    file = io.BytesIO()
    save_model(file, lesson.params, lesson.parameters.activation_per_layer, attributes)
    return load_model(io.BytesIO(file.getvalue()))


@pytest.mark.parametrize("path", ["direct", "span"])
@pytest.mark.parametrize("rule", ["best_f1", {"recall": 1.0}, {"precision": 0.9}])
def test_it_is_chosen_by_the_kept_weights_on_what_was_held_out(rule: Any, path: str) -> None:
    data = photos(samples=60)
    chosen = parameters(epochs=12, validation=0.3, decision_threshold=rule, first_layer=path, learning_rate=0.05)
    lesson = trained(chosen, data)
    decision = lesson.job.decision()
    model = saved({"threshold": decision.threshold, "classes": data.classes}, lesson)
    _, held = hold_out(data.train, 0.3, chosen.seed, 2)
    said = model.judge(held)[0]
    assert decision.threshold == pytest.approx(choose(rule, said, held.y).threshold, rel=1e-9)
    assert "18 validation samples" in decision.rule
    assert judge_model(model, data)["threshold"] == decision.threshold


def test_the_threshold_decides_the_test_set() -> None:
    data = photos(samples=60)
    lesson = trained(parameters(epochs=3), data)
    answers = saved({"classes": data.classes}, lesson).judge(data.test)[0]
    middle = float(np.median(answers))
    low, high = (judge_model(saved({"threshold": t, "classes": data.classes}, lesson), data) for t in (0.0, 1.0))
    assert (low["confusion_matrix"]["tn"], high["confusion_matrix"]["tp"]) == (0, 0)
    between = judge_model(saved({"threshold": middle, "classes": data.classes}, lesson), data)["confusion_matrix"]
    assert between["fp"] + between["tp"] == int((answers > middle).sum()) > 0
    assert low["roc_auc"] == high["roc_auc"]


@pytest.mark.parametrize("odd", ["0.5", 1.5, -0.1, float("nan")])
def test_a_file_that_says_no_probability_is_refused(odd: Any) -> None:
    model = saved({"threshold": odd}, trained(parameters(epochs=1), photos()))
    with pytest.raises(InvalidModel, match=r"threshold: is .*set the attribute to a number in 0\.\.1"):
        _ = model.threshold


def test_a_model_that_says_nothing_decides_at_one_half() -> None:
    assert saved({}, trained(parameters(epochs=1), photos())).threshold == 0.5


def test_a_validation_set_without_class_1_is_refused_before_anything_is_trained() -> None:
    data = photos(samples=20)
    x, y = data.train.stored, data.train.y
    held = x[:4], np.zeros(4, dtype=np.int64)
    file = written(x, y, x, y, classes=data.classes, validation_x=held[0], validation_y=held[1])
    asked = parameters(validation="file", decision_threshold="best_f1")
    with pytest.raises(InvalidParameters, match="decision_threshold: is chosen on the validation set, which has no"):
        check_recipe(asked, load_header(io.BytesIO(file)))
    check_recipe(parameters(validation="file", decision_threshold=0.4), load_header(io.BytesIO(file)))
