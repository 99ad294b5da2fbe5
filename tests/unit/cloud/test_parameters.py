import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.errors import InvalidParameters
from snn.parameters import Activation, Granularity, Parameters, Strategy

# itsacat's own file, to the letter.
LAYERS = ["layer1", "layer2", "layer3", "layer4"]
ITSACAT = """{
    "epochs": 3000,
    "layers": 4,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "relu", "layer4": "sigmoid"},
    "neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 1},
    "learning_rate": 0.0075
}"""


def test_itsacats_file_works_unchanged():
    parameters = Parameters.load(ITSACAT)
    assert parameters.neurons_per_layer == (20, 7, 5, 1)
    assert parameters.activation_per_layer == (Activation.RELU,) * 3 + (Activation.SIGMOID,)
    assert (parameters.epochs, parameters.learning_rate, parameters.batch_size) == (3000, 0.0075, None)
    assert (parameters.strategy, parameters.granularity, parameters.seed) == (
        Strategy.FULL_BATCH,
        Granularity.BATCH,
        1,
    )


def test_batch_size_makes_best_batch_the_default_strategy():
    assert Parameters.load(ITSACAT, batch_size=64, threshold=0.0019).strategy is Strategy.BEST_BATCH


def test_overrides_replace_single_fields_and_none_is_no_override():
    parameters = Parameters.load(ITSACAT, epochs=5, seed=None, granularity="neuron")
    assert (parameters.epochs, parameters.seed, parameters.granularity) == (5, 1, Granularity.NEURON)


def test_text_round_trip_keeps_every_field():
    parameters = Parameters.load(ITSACAT, batch_size=64, threshold=0.25, seed=7, strategy="average")
    assert Parameters.load(parameters.to_json()) == parameters


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"epochs": 0}, "epochs", "greater than or equal to 1"),
        ({"epochs": "30"}, "epochs", "valid integer"),
        ({"epochs": 2.5}, "epochs", "valid integer"),
        ({"epochs": True}, "epochs", "valid integer"),
        ({"epochs": None}, "epochs", "valid integer"),
        ({"learning_rate": 0}, "learning_rate", "greater than 0"),
        ({"learning_rate": -0.1}, "learning_rate", "greater than 0"),
        ({"learning_rate": "fast"}, "learning_rate", "valid number"),
        ({"layers": 3}, "activations", "layers is 3"),
        ({"layers": 5}, "activations", "layers is 5"),
        ({"neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 2}}, "neurons.layer4", "two classes"),
        ({"neurons": {"layer1": 0, "layer2": 7, "layer3": 5, "layer4": 1}}, "neurons.layer1", "greater than"),
        ({"neurons": [20, 7, 5, 1]}, "neurons", "object"),
        ({"activations": dict.fromkeys(LAYERS, "relu")}, "activations.layer4", "prob"),
        ({"activations": dict.fromkeys(LAYERS, "softmax")}, "activations.layer1", "'relu' or 'sigmoid'"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"threshold": 0}, "threshold", "greater than 0"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"strategy": "best"}, "strategy", "'full-batch'"),
        ({"strategy": "average"}, "batch_size", "mini-batches"),
        ({"strategy": "full-batch", "batch_size": 64}, "strategy", "batch_size is given"),
        ({"granularity": "matrix"}, "granularity", "'neuron'"),
        ({"first_layer": "span", "granularity": "layer"}, "first_layer", "computes every neuron directly"),
        ({"neurons_per_invocation": 3}, "neurons_per_invocation", "says nothing to batch"),
        ({"workers": 2}, "workers", "mini-batches"),
        ({"workers": 2, "batch_size": 64, "granularity": "layer"}, "workers", "batch granularity"),
        ({"epoch": 5}, "epoch", "not a parameter"),
        ({"max_usd": 0}, "max_usd", "greater than 0"),
        ({"max_usd": -0.5}, "max_usd", "greater than 0"),
        ({"max_usd": math.nan}, "max_usd", "finite number"),
        ({"max_usd": "0.50"}, "max_usd", "valid number"),
        ({"max_seconds": 0}, "max_seconds", "greater than 0"),
        ({"max_seconds": -1}, "max_seconds", "greater than 0"),
        ({"max_seconds": math.inf}, "max_seconds", "finite number"),
        ({"max_seconds": "an hour"}, "max_seconds", "valid number"),
        ({"max_seconds": 7 * 86_400 + 1}, "max_seconds", "less than or equal to 604800"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_with_its_file(change, field, says):
    with pytest.raises(InvalidParameters) as refused:
        Parameters.load({**json.loads(ITSACAT), **change}, source="mine.json")
    assert refused.value.field == field
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"mine.json: {field}: ")
    assert "\n" not in str(refused.value)


def test_a_missing_field_is_named():
    fields = json.loads(ITSACAT)
    del fields["neurons"]
    with pytest.raises(InvalidParameters, match=r"^parameters.json: neurons: is missing"):
        Parameters.load(fields)


def test_two_bad_fields_are_both_named():
    with pytest.raises(InvalidParameters) as refused:
        Parameters.load({**json.loads(ITSACAT), "epochs": 0, "rate": 1})
    assert "epochs" in str(refused.value)
    assert "rate" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("[]", "not a JSON object"),
        ("{", "is not JSON"),
        ('{"epochs": NaN}', "NaN is not a number"),
        ('{"epochs": 1, "epochs": 2}', "epochs: stands twice"),
        ("[" * 100_000, "is not JSON"),
        (b"\xff\xfe\x00", "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_refused(text, says):
    with pytest.raises(InvalidParameters, match=says):
        Parameters.load(text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InvalidParameters, match=r"nowhere\.json: no such file"):
        Parameters.load(tmp_path / "nowhere.json")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(field=st.sampled_from(sorted(Parameters.model_fields)), value=json_values)
def test_any_value_in_any_field_gives_parameters_or_a_clear_error(field, value):
    try:
        parameters = Parameters.load(json.dumps({**json.loads(ITSACAT), field: value}))
    except InvalidParameters as refused:
        message = str(refused)
    else:
        message = ""
        assert Parameters.load(parameters.to_json()) == parameters
    assert "\n" not in message
