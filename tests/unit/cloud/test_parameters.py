import json
import math

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn.activations import ACTIVATIONS
from snn.errors import InvalidParameters
from snn.losses import LOSSES
from snn.optimizers import OPTIMIZERS, Adam, GradientDescent
from snn.recipe import Recipe
from snn.schedules import SCHEDULES, Cosine, Schedule
from snn.strategies import STRATEGIES
from snn_cloud.ledger.parameters import MAX_JSON, Execution, Granularity, Parameters

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
    assert parameters.activation_per_layer == ("relu", "relu", "relu", "sigmoid")
    assert (parameters.epochs, parameters.learning_rate, parameters.batch_size) == (3000, 0.0075, None)
    assert (parameters.strategy, parameters.granularity, parameters.seed) == (
        "full-batch",
        Granularity.BATCH,
        1,
    )


def test_batch_size_makes_best_batch_the_default_strategy():
    assert Parameters.load(ITSACAT, batch_size=64, threshold=0.0019).strategy == "best-batch"


def test_overrides_replace_single_fields_and_none_is_no_override():
    parameters = Parameters.load(ITSACAT, epochs=5, seed=None, granularity="neuron")
    assert (parameters.epochs, parameters.seed, parameters.granularity) == (5, 1, Granularity.NEURON)


def test_text_round_trip_keeps_every_field():
    fields = {
        "batch_size": 64, "threshold": 0.25, "seed": 7, "strategy": "sgd", "sub_batches": 4, "dtype": "float32",
        "optimizer": {"name": "adamw", "weight_decay": 0.1}, "schedule": {"name": "cosine", "warmup": 2.5}, "l2": 0.5,
        "clip_norm": 1.5, "dropout": {"layer0": 0.1}, "augmentation": {"mirror": True, "shift": 2}, "validation": 0.1,
        "patience": 3, "min_delta": 0.01, "restore_best_weights": False, "class_weights": [1.0, 2.0], "workers": 4,
        "label_smoothing": 0.1, "loss": "binary_crossentropy", "max_usd": 0.5, "max_seconds": 60.0,
    }  # fmt: skip
    parameters = Parameters.load(ITSACAT, **fields)
    assert Parameters.load(parameters.to_json()) == parameters
    text = json.loads(parameters.to_json())
    options = {"name": "adamw", "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "weight_decay": 0.1}
    assert {name: text[name] for name in fields} == {
        **fields, "optimizer": options, "schedule": {"name": "cosine", "warmup": 2.5, "final": 0.0}
    }  # fmt: skip


def test_a_recipe_and_an_execution_share_no_field_and_are_all_of_it():
    recipe, execution = set(Recipe.model_fields), set(Execution.model_fields)
    assert recipe & execution == set()
    assert recipe | execution == set(Parameters.model_fields)
    assert list(Parameters.model_fields)[:3] == ["epochs", "layers", "activations"]


def test_what_is_not_said_is_itsacats():
    parameters = Parameters.load(ITSACAT)
    assert (parameters.optimizer, parameters.schedule) == (GradientDescent(), Schedule())
    assert parameters.network(10).loss.output == "sigmoid"
    assert (parameters.classes, parameters.dtype, parameters.validation, parameters.l2) == (2, "float64", None, 0.0)
    chosen = Parameters.load(ITSACAT, optimizer="adam", schedule={"name": "cosine", "final": 0.5})
    assert (chosen.optimizer, chosen.schedule) == (Adam(), Cosine(final=0.5))


def test_what_itsacats_sample_file_has_and_never_reads_is_left_out_with_a_warning(caplog):
    parameters = Parameters.load({**json.loads(ITSACAT), "weight": 0.01, "bias": 0}, source="theirs.json")
    assert parameters == Parameters.load(ITSACAT)
    assert caplog.messages == ["theirs.json: weight and bias: ignored, as in itsacat"]


def test_a_strategy_without_mini_batches_drops_those_of_the_file_if_it_overrides_its_strategy():
    file = {**json.loads(ITSACAT), "batch_size": 64}
    assert Parameters.load(file, strategy="full-batch").batch_size is None
    with pytest.raises(InvalidParameters, match="batch_size is given"):
        Parameters.load(file, strategy="full-batch", batch_size=8)
    with pytest.raises(InvalidParameters, match="batch_size is given"):
        Parameters.load({**file, "strategy": "full-batch"})


def test_the_schema_has_every_name_and_option_of_the_registries():
    schema = Parameters.model_json_schema()["properties"]
    assert schema["strategy"]["enum"] == list(STRATEGIES)
    assert schema["activations"]["additionalProperties"]["enum"][:7] == list(ACTIVATIONS)
    assert {one["enum"][0] for one in schema["loss"]["anyOf"] if "enum" in one} <= set(LOSSES)
    for field, registry in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES)):
        names, *options = schema[field]["anyOf"]
        assert names["enum"] == list(registry)
        assert [one["properties"]["name"]["const"] for one in options] == list(registry)
    assert schema["optimizer"]["anyOf"][3]["properties"]["beta_2"]["exclusiveMaximum"] == 1


@pytest.mark.parametrize("document", [json.loads(ITSACAT)])
def test_the_schema_agrees_with_what_is_loaded(document):
    schema = Parameters.model_json_schema()
    jsonschema.validate(json.loads(Parameters.load(document).to_json()), schema)
    for change in (
        {"optimizer": {"name": "adam", "beta": 1}},
        {"strategy": "x"},
        {"schedule": {"name": "step", "gamma": 2}},
    ):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document, **change}, schema)


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
        ({"activations": dict.fromkeys(LAYERS, "relu")}, "activations.layer4", "relu cannot be the last layer's"),
        ({"activations": dict.fromkeys(LAYERS, "softmax")}, "activations.layer1", "softmax is only for the last layer"),
        ({"activations": dict.fromkeys(LAYERS, "softsing")}, "activations.layer1", "'softsing' is no activation"),
        ({"activations": {**dict.fromkeys(LAYERS, "relu"), "layer4": "softmax"}}, "neurons.layer4", "one neuron per"),
        ({"activations": {**dict.fromkeys(LAYERS, "relu"), "layer4": "identity"},
          "neurons": {"layer1": 20, "layer2": 7, "layer3": 5, "layer4": 2}}, "neurons.layer4", "predicts one number"),
        ({"activations": [1]}, "activations", "object"),
        ({"optimizer": "adm"}, "optimizer", "did you mean adam?"),
        ({"optimizer": 3}, "optimizer", "names no optimizer"),
        ({"optimizer": {"beta_1": 0.5}}, "optimizer", "names no optimizer"),
        ({"optimizer": {"name": "adam", "beta": 0.5}}, "optimizer.beta", "did you mean beta_2? adam has beta_1, "),
        ({"optimizer": {"name": "adam", "beta_1": 1}}, "optimizer.beta_1", "less than 1"),
        ({"optimizer": {"name": "gradient_descent", "nesterov": 1}}, "optimizer.nesterov", "valid boolean"),
        ({"schedule": "cosinus"}, "schedule", "did you mean cosine?"),
        ({"schedule": {"name": "step", "step_size": 0}}, "schedule.step_size", "greater than 0"),
        ({"loss": "mean_squared_error"}, "loss", "does not go with sigmoid"),
        ({"loss": "hinge"}, "loss", "'hinge' is no loss"),
        ({"label_smoothing": 1}, "label_smoothing", "less than 1"),
        ({"class_weights": [1.0]}, "class_weights", "has 1 for 2 classes"),
        ({"class_weights": [1.0, 0.0]}, "class_weights", "cannot be used (give a positive number per class"),
        ({"class_weights": "even"}, "class_weights", "or balanced"),
        ({"l2": -1}, "l2", "greater than or equal to 0"),
        ({"clip_norm": 0}, "clip_norm", "greater than 0"),
        ({"dropout": 1}, "dropout", "cannot be used (give a share from 0 to below 1"),
        ({"dropout": {"layer4": 0.5}}, "dropout.layer4", "is not a layer that can have dropout"),
        ({"augmentation": {"flip": True}}, "augmentation.flip", "known are"),
        ({"augmentation": {"shift": -1}}, "augmentation.shift", "greater than or equal to 0"),
        ({"augmentation": {"mirror": 1}}, "augmentation.mirror", "valid boolean"),
        ({"validation": 1}, "validation", "share of the training set between 0 and 1"),
        ({"validation": "test"}, "validation", "the file's own validation set"),
        ({"patience": 3}, "patience", "needs samples to validate by"),
        ({"patience": 0, "validation": 0.1}, "patience", "greater than or equal to 1"),
        ({"decision_threshold": 0}, "decision_threshold", 'cannot be used (give a probability between 0 and 1'),
        ({"decision_threshold": "f1"}, "decision_threshold", "best_f1"),
        ({"decision_threshold": {"f1": 0.9}}, "decision_threshold", '{"precision": 0.9} or {"recall": 0.9}'),
        ({"decision_threshold": {"recall": 0.9, "precision": 0.9}}, "decision_threshold", "cannot be used"),
        ({"decision_threshold": {"recall": 1.5}, "validation": 0.1}, "decision_threshold", "cannot be used"),
        ({"decision_threshold": "best_f1"}, "decision_threshold", "add validation, such as 0.1, or give a number"),
        ({"decision_threshold": 0.3, "activations": {**dict.fromkeys(LAYERS, "relu"), "layer4": "identity"}},
         "decision_threshold", "is for two classes only"),
        ({"dtype": "float16"}, "dtype", "'float32' or 'float64'"),
        ({"sub_batches": 2}, "sub_batches", "has no effect with full-batch"),
        ({"strategy": "sgd", "batch_size": 8, "workers": 2}, "workers", "set sub_batches to 2 or more"),
        ({"first_layer": "span", "optimizer": "adam"}, "first_layer", "adam cannot be computed in the span"),
        ({"first_layer": "span", "clip_norm": 1.0}, "first_layer", "clip_norm cannot be computed in the span"),
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"threshold": 0}, "threshold", "greater than 0"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"strategy": "bestbatch"}, "strategy", "'bestbatch' is no strategy (did you mean best-batch?"),
        ({"strategy": "average"}, "batch_size", "mini-batches"),
        ({"strategy": "full-batch", "batch_size": 64}, "strategy", "batch_size is given"),
        ({"granularity": "matrix"}, "granularity", "'neuron'"),
        ({"first_layer": "span", "granularity": "layer"}, "first_layer", "computes every neuron directly"),
        ({"neurons_per_invocation": 3}, "neurons_per_invocation", "has no effect with batch"),
        ({"workers": 2}, "workers", "mini-batches"),
        ({"workers": 2, "batch_size": 64, "granularity": "layer"}, "workers", "batch granularity"),
        ({"epoch": 5}, "epoch", "is not a parameter (did you mean epochs?"),
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


def test_more_than_xcom_can_hold_is_refused():
    def load(classes):
        given = {"epochs": 1, "layers": 1, "activations": {"layer1": "softmax"}, "neurons": {"layer1": classes}}
        weights = [0.1234567890123456] * classes  # 20 bytes each, with comma and space
        return Parameters.load({**given, "learning_rate": 0.1, "class_weights": weights}, source="mine.json")

    beside = len(json.dumps(json.loads(load(900).to_json()))) - 900 * 20
    most = (MAX_JSON - beside) // 20
    assert MAX_JSON - 20 < len(json.dumps(json.loads(load(most).to_json()))) <= MAX_JSON
    with pytest.raises(InvalidParameters) as refused:
        load(most + 1)
    assert str(refused.value) == (
        f"mine.json: take {beside + 20 * (most + 1):,} bytes as JSON (at most 20,000; for class_weights write "
        "balanced, or numbers with fewer digits)"
    )


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
        ('{"epochs": NaN}', "NaN is not a finite number"),
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
