"""The network against an independent oracle and against finite differences."""

import itertools
import math

import numpy as np
import oracle
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from training import Lesson, photos, table, trained

from snn.activations import ACTIVATIONS, normal_cdf, sigmoid
from snn.batches import Feed
from snn.layers import Dense, gradients, slope_below
from snn.losses import LOSSES, Targets
from snn.network import Network, walk
from snn.optimizers import OPTIMIZERS
from snn.schedules import SCHEDULES, rate_at
from snn.span import Direct, choose_path
from snn.strategies import STRATEGIES
from snn.training import Diverged, Stop
from snn.validation import Validation
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.train.job import Data
from snn_data.checkpoint import dump_checkpoint, load_checkpoint

IN_BATCHES = {"batch_size": 7}
HIDDEN = [name for name in ACTIVATIONS if name != "identity"]
"""An identity in a hidden layer is held to the oracle too, in the tests of all combinations."""


def parameters(**fields):
    return Parameters.load(oracle.small_network(**fields))


@pytest.fixture(scope="module")
def two_classes():
    return photos()


def agree(chosen, data, tolerance=1e-10):
    params, costs = oracle.train(chosen, data.train.stored, data.train.y)
    lesson = trained(chosen, data)
    assert lesson.training.history.costs == pytest.approx(costs, abs=tolerance)
    assert lesson.params.keys() == params.keys()
    for name, array in params.items():
        assert lesson.params[name].dtype == np.dtype(chosen.dtype)
        # Rounding grows with the numbers, and differs between processors.
        assert np.abs(lesson.params[name] - array).max() < tolerance * max(1, np.abs(array).max()), name
        assert np.abs(array - oracle_start(chosen, data)[name]).max() > 1e-6 or name.startswith("b"), name
    return lesson


def oracle_start(chosen, data):
    Ws, bs = oracle.first_weights(chosen, data.features)
    return {f"W{i}": W for i, W in enumerate(Ws, 1)} | {f"b{i}": b for i, b in enumerate(bs, 1)}


STRATEGY_FIELDS = {
    "full-batch": {},
    "best-batch": IN_BATCHES,
    "average": {**IN_BATCHES, "strategy": "average"},
    "sgd": {**IN_BATCHES, "strategy": "sgd"},
    "sgd, shared": {**IN_BATCHES, "strategy": "sgd", "sub_batches": 3},
}
KINDS = {
    "sigmoid": (lambda: photos(), {"sizes": (5, 4, 1), "functions": ("relu", "tanh", "sigmoid")}),
    "softmax": (lambda: table(classes=3), {"sizes": (5, 4, 3), "functions": ("relu", "tanh", "softmax")}),
    "identity": (lambda: table(), {"sizes": (5, 4, 1), "functions": ("relu", "tanh", "identity")}),
}


def test_the_tables_name_every_strategy():
    assert {"sgd" if name.startswith("sgd") else name for name in STRATEGY_FIELDS} == set(STRATEGIES)
    assert set(KINDS) == {loss.output for loss in LOSSES.values()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["direct", "span"])
@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
def test_every_strategy_equals_the_oracle(kind, strategy, path):
    data, network = KINDS[kind]
    chosen = parameters(epochs=20, first_layer=path, learning_rate=0.05, **network, **STRATEGY_FIELDS[strategy])
    lesson = agree(chosen, data(), 1e-11)
    costs = lesson.training.history.costs
    assert len(costs) == 20
    assert min(costs[1:]) < costs[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("optimizer", [
    *OPTIMIZERS, {"name": "gradient_descent", "momentum": 0.9},
    {"name": "gradient_descent", "momentum": 0.8, "nesterov": True}, {"name": "rmsprop", "momentum": 0.5},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("strategy", ["full-batch", "sgd"])
def test_every_optimizer_equals_the_oracle(kind, optimizer, strategy):
    data, network = KINDS[kind]
    fields = {**network, **STRATEGY_FIELDS[strategy], "optimizer": optimizer, "learning_rate": 0.01}
    agree(parameters(epochs=8, **fields), data(), 1e-11)
    agree(parameters(epochs=8, **fields, l2=0.1), data(), 1e-11)


@pytest.mark.parametrize("optimizer", [
    {"name": "gradient_descent", "momentum": 0.9}, {"name": "gradient_descent", "momentum": 0.8, "nesterov": True},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
def test_momentum_and_l2_are_exact_in_the_span(two_classes, optimizer, strategy):
    fields = {**STRATEGY_FIELDS[strategy], "optimizer": optimizer, "l2": 0.05, "first_layer": "span"}
    lesson = agree(parameters(epochs=15, learning_rate=0.03, **fields), two_classes, 1e-11)
    assert "C1" in lesson.training.params
    assert lesson.training.params["s1"].item() < 0.99


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_activation_equals_the_oracle(kind, activation):
    data, network = KINDS[kind]
    network = {**network, "functions": (activation, activation, network["functions"][-1])}
    agree(parameters(epochs=10, learning_rate=0.02, **network), data(), 1e-11)


@pytest.mark.parametrize("schedule", [
    *SCHEDULES, {"name": "step", "step_size": 2, "gamma": 0.5}, {"name": "exponential", "gamma": 0.9, "warmup": 1.5},
    {"name": "cosine", "final": 0.1, "warmup": 2.0}, {"name": "constant", "warmup": 3.0},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("strategy", ["full-batch", "sgd"])
def test_every_schedule_equals_the_oracle(two_classes, schedule, strategy):
    agree(parameters(epochs=6, schedule=schedule, **STRATEGY_FIELDS[strategy]), two_classes, 1e-12)


@pytest.mark.parametrize("fields", [
    {"label_smoothing": 0.1}, {"class_weights": "balanced"}, {"label_smoothing": 0.2, "class_weights": "balanced"},
    {"clip_norm": 0.05}, {"dropout": 0.4}, {"dropout": {"layer0": 0.2, "layer2": 0.5}},
    {"dropout": {"layer0": 0.3}, "optimizer": "adam", "clip_norm": 0.1, "l2": 0.01, "label_smoothing": 0.1},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
def test_every_extra_equals_the_oracle(kind, fields, strategy):
    data, network = KINDS[kind]
    agree(parameters(epochs=5, **network, **fields, **STRATEGY_FIELDS[strategy]), data(), 1e-11)


@pytest.mark.parametrize("kind", ["sigmoid", "softmax"])
def test_weights_of_classes_equal_the_oracle(kind):
    data, network = KINDS[kind]
    weights = [0.5, 2.0, 1.0][: 2 if kind == "sigmoid" else 3]
    for strategy in ("sgd, shared", "average", "best-batch"):
        agree(parameters(epochs=5, class_weights=weights, **network, **STRATEGY_FIELDS[strategy]), data(), 1e-11)


@pytest.mark.parametrize(
    "augmentation",
    [
        {"mirror": True}, {"shift": 1}, {"rotation": 15}, {"brightness": 0.4},
        {"mirror": True, "shift": 2, "rotation": 40, "brightness": 1},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
def test_augmentation_equals_the_oracle(augmentation, strategy):
    fields = {**STRATEGY_FIELDS[strategy], "augmentation": augmentation}
    agree(parameters(epochs=5, **fields), photos(height=5, width=4), 1e-11)
    grey = parameters(epochs=3, sizes=(5, 4, 1), functions=("relu", "tanh", "sigmoid"), **fields)
    agree(grey, photos(height=5, width=4, grey=True), 1e-11)


@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_learned_from_scaled_inputs_takes_them_as_they_are(kind, strategy):
    data, network = KINDS[kind]
    fields = {**network, **STRATEGY_FIELDS[strategy], "input_scaling": {"mean": 0.5, "scale": 0.25}, "dropout": 0.2}
    kept = data().train.rows.copy()
    lesson = agree(parameters(epochs=5, **fields), data(), 1e-11)
    assert np.array_equal(data().train.rows, kept)
    seen_so = trained(parameters(epochs=5, **{**fields, "input_scaling": None}), data())
    assert np.abs(lesson.params["W1"] - seen_so.params["W1"]).max() > 1e-3


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_what_validates_a_network_of_scaled_inputs_is_its_answers_to_inputs_as_they_are(two_classes, dtype):
    scaling = {"mean": 0.4, "scale": 0.3}
    chosen = parameters(epochs=4, validation=0.25, input_scaling=scaling, augmentation={"mirror": True}, dtype=dtype)
    lesson = trained(chosen, two_classes)
    samples, held_out = Data(two_classes).split(chosen)
    as_they_are = Direct(Feed(samples, dtype, chosen.augment, chosen.seed), 0.0, chosen.seed)
    judge = Validation(lesson.job.network, as_they_are, held_out, chosen.targets(held_out.y))
    told = lesson.training.history
    wanted = pytest.approx(judge(lesson.params), rel=1e-9 if dtype == "float64" else 1e-4)
    assert (told.validation_costs[-1], told.validation_metrics[-1]) == wanted


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_small_training_equals_the_oracle(data):
    draw = data.draw
    kind, strategy = draw(st.sampled_from([*KINDS])), draw(st.sampled_from([*STRATEGY_FIELDS]))
    output = KINDS[kind][1]["functions"][-1]
    last = 3 if kind == "softmax" else 1
    fields = {
        "sizes": (draw(st.integers(1, 6)), draw(st.integers(1, 6)), last),
        "functions": (*draw(st.tuples(*[st.sampled_from([*ACTIVATIONS])] * 2)), output),
        **STRATEGY_FIELDS[strategy],
        "seed": draw(st.integers(0, 1000)),
        "optimizer": draw(st.sampled_from([*OPTIMIZERS])),
        "schedule": draw(st.sampled_from([*SCHEDULES])),
        "l2": draw(st.sampled_from([0.0, 0.1])),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "learning_rate": 0.01,
    }
    if "batch_size" in fields:
        fields["batch_size"] = draw(st.integers(1, 30))
    chosen = parameters(**fields)
    samples = KINDS[kind][0]()
    with np.errstate(all="ignore"):
        params, costs = oracle.train(chosen, samples.train.stored, samples.train.y)
    assume(np.max(costs) < 1e6)  # not of one that runs away: its last digits are noise, and then there are no numbers
    lesson = trained(chosen, samples)
    assert lesson.training.history.costs == pytest.approx(costs, rel=1e-9, abs=1e-9)
    assert all(np.abs(lesson.params[name] - array).max() < 1e-8 for name, array in params.items())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_match_finite_differences(kind, activation):
    data, network = KINDS[kind]
    functions = (activation, activation, network["functions"][-1])
    lesson = Lesson(parameters(seed=0, **{**network, "functions": functions}), data())
    params = {name: array + 0.1 for name, array in lesson.training.params.items()}  # no bias is 0
    (batch,) = lesson.epoch(0).step(0)

    def cost():
        return next(iter(lesson.here.gradients_of(params, [batch])))[0]

    slopes = {n: g.copy() for n, g in next(iter(lesson.here.gradients_of(params, [batch])))[1]().items()}
    nudge = 1e-6
    for name, array in params.items():
        numeric = np.empty_like(array)
        for place in np.ndindex(array.shape):
            before, costs = array[place], []
            for sign in (1, -1):
                array[place] = before + sign * nudge
                costs.append(cost())
            array[place] = before
            numeric[place] = (costs[0] - costs[1]) / (2 * nudge)
        assert np.abs(slopes[name] - numeric).max() < 1e-6 * max(1.0, np.abs(numeric).max())
    assert max(np.abs(slope).max() for slope in slopes.values()) > 1e-3


def test_a_neuron_alone_computes_what_its_layer_computes():
    random = np.random.default_rng(2)
    W, b, A_prev = random.standard_normal((6, 27)), random.standard_normal((6, 1)), random.random((27, 24))
    W_next, dZ_next = random.standard_normal((4, 6)), random.standard_normal((4, 24))
    for activation in ACTIVATIONS.values():
        layer = Dense(6, activation)
        A, kept = layer.forward(layer.sums(W, b, A_prev))
        dZ = layer.error(slope_below(W_next, dZ_next), kept)
        dW, db = gradients(dZ, A_prev)
        for i in range(6):
            row = slice(i, i + 1)
            A_i, kept_i = layer.forward(layer.sums(W[row], b[row], A_prev))
            assert np.abs(A_i - A[row]).max() < 1e-13
            dZ_i = layer.error(slope_below(W_next[:, row], dZ_next), kept_i)
            assert np.abs(dZ_i - dZ[row]).max() < 1e-13
            dW_i, db_i = gradients(dZ_i, A_prev)
            assert np.abs(dW_i - dW[row]).max() < 1e-13
            assert np.abs(db_i - db[row]).max() < 1e-13


def test_first_weights_are_itsacats():
    def first(seed, functions=("relu", "sigmoid", "sigmoid")):
        return parameters(sizes=(400, 300, 1), functions=functions, seed=seed).network(1000).first_params(seed)

    params = first(11)
    assert params["W1"].std() == pytest.approx(np.sqrt(2 / 1000), rel=0.01)  # ReLU
    assert params["W2"].std() == pytest.approx(1 / np.sqrt(400), rel=0.01)  # sigmoid
    assert abs(params["W1"].mean()) < 3e-4
    assert not any(params[f"b{i}"].any() for i in (1, 2, 3))
    assert [params[f"W{i}"].shape for i in (1, 2, 3)] == [(400, 1000), (300, 400), (1, 300)]
    assert np.array_equal(params["W1"], first(11)["W1"])
    assert not np.array_equal(params["W1"], first(12)["W1"])


def test_mini_batches_are_drawn_anew_for_every_epoch_from_the_seed():
    for strategy in ("best-batch", "sgd"):
        chosen = parameters(strategy=strategy, batch_size=7)
        lesson = Lesson(chosen, photos())

        def drawn(epoch, lesson=lesson):
            epoch = lesson.epoch(epoch)
            return [batch.places.tolist() for step in range(epoch.steps) for batch in epoch.step(step)]

        assert [len(places) for places in drawn(0)] == [7, 7, 7, 3]
        assert sorted(itertools.chain(*drawn(0))) == list(range(24))
        assert drawn(0) == drawn(0) != drawn(1)
        other = Lesson(parameters(strategy=strategy, batch_size=7, seed=2), photos()).epoch(0)
        assert other.step(0)[0].places.tolist() != drawn(0)[0]
    lesson = Lesson(parameters(strategy="average", batch_size=7), photos())
    assert [batch.places for batch in lesson.epoch(5).step(0)] == [
        slice(0, 7), slice(7, 14), slice(14, 21), slice(21, 24)
    ]  # fmt: skip


def test_the_threshold_stops_at_the_first_epoch_at_or_below_it(two_classes):
    costs = trained(parameters(epochs=60), two_classes).training.history.costs
    stopped = trained(parameters(epochs=60, threshold=costs[30]), two_classes).training
    assert stopped.history.costs == costs[: next(i for i, cost in enumerate(costs) if cost <= costs[30]) + 1]
    assert stopped.stopped_by(parameters(epochs=60, threshold=costs[30])) is Stop.THRESHOLD


EVERYTHING = {"optimizer": "adam", "dropout": {"layer0": 0.1, "layer1": 0.3},
              "augmentation": {"mirror": True, "shift": 1}, "schedule": {"name": "cosine", "warmup": 1.5},
              "l2": 0.01, "clip_norm": 1.0, "input_scaling": {"mean": 0.5, "scale": 0.25}}  # fmt: skip


@pytest.mark.parametrize("fields", [
    {"first_layer": "direct"}, {"first_layer": "span"},
    {"first_layer": "span", "optimizer": {"name": "gradient_descent", "momentum": 0.9}, "l2": 0.1}, EVERYTHING,
    {**EVERYTHING, "validation": 0.25, "dtype": "float32"}, {"first_layer": "span", "validation": 0.25},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("strategy", STRATEGY_FIELDS)
def test_going_on_from_a_checkpoint_gives_the_same_bits(two_classes, fields, strategy):
    chosen = parameters(epochs=9, **STRATEGY_FIELDS[strategy], **fields)
    whole = trained(chosen, two_classes)
    training, cuts = None, 0
    while training is None or training.stopped_by(chosen) is None:
        lesson = Lesson(chosen, two_classes, training)
        for _ in itertools.islice(lesson.steps(), 3):  # three steps, then a new trainer: also within an epoch
            pass
        stored = dump_checkpoint(lesson.training)
        training, cuts = load_checkpoint(stored), cuts + 1
        assert dump_checkpoint(training) == stored
    assert cuts >= 3
    assert training.history == whole.training.history
    assert len(training.history.costs) == 9
    assert len(training.history.validation_costs) == (9 if "validation" in fields else 0)
    result = lesson.job.first.network(training.result(chosen))
    for name, array in whole.params.items():
        assert array.tobytes() == result[name].tobytes(), name


def test_the_path_is_chosen_by_counting_operations():
    def path(features, samples, **fields):
        return parameters(**fields).path(features, samples)

    # itsacat's photos and network: 3,000 epochs of 4·20·12288·209 against 2·20·209² and 12288·209² + 4·20·12288·209
    assert path(12_288, 209, epochs=3000, sizes=(20, 4, 1)) == (
        True, "first layer span: 6.16e+11 operations directly, 5.98e+09 in the span of 209 samples"
    )  # fmt: skip
    assert not path(12_288, 209, epochs=2, sizes=(1, 4, 1))[0]  # the Gram matrix would not pay
    assert not path(12_288, 12_288, epochs=3000)[0]
    assert not path(100, 5_000, epochs=3000)[0]
    assert not path(12_288, 209, epochs=3000, first_layer="direct")[0]
    assert path(100, 5_000, epochs=1, first_layer="span")[0]
    for fields, why in (
        ({"optimizer": "adam"}, "adam"), ({"optimizer": "rmsprop"}, "rmsprop"), ({"clip_norm": 1.0}, "clip_norm"),
        ({"augmentation": {"mirror": True}}, "augmentation"),
        ({"input_scaling": {"mean": 0.5, "scale": 0.25}}, "input_scaling"),
        ({"dropout": {"layer0": 0.5}}, "dropout of the input"),
    ):  # fmt: skip
        in_span, said = path(12_288, 209, epochs=3000, **fields)
        assert not in_span
        assert said == f"first layer direct: {why} cannot be computed in the span of the data"
    assert path(12_288, 209, epochs=3000, dropout=0.5, l2=0.1, optimizer={"name": "gradient_descent", "momentum": 0.9})[
        0
    ]
    assert choose_path(20, 12_288, 209, 3000)[0]


def test_a_cost_that_is_no_number_ends_the_training_before_it_spoils_the_weights(two_classes):
    lesson = Lesson(parameters(epochs=5), two_classes)
    lesson.training.params["W2"][0, 0] = np.nan
    with pytest.raises(
        Diverged, match=r"cost of epoch 0 is nan \(lower learning_rate, now 0\.1, or set clip_norm to 1\)"
    ):
        list(lesson.steps())
    assert lesson.training.epoch == lesson.training.steps == 0


def test_costs_stay_finite_and_exact_at_the_ends():
    assert sigmoid(np.array([[-1000.0, 0.0, 1000.0]])).tolist() == [[0.0, 0.5, 1.0]]
    for name, logits, y, costs in (
        ("binary_crossentropy", [[-1000.0, 1000.0, 0.0, -2.0]], [1, 1, 1, 0],
         [1000, 0, math.log(2), math.log1p(math.exp(-2))]),
        ("categorical_crossentropy", [[1000.0, 0.0], [0.0, 0.0], [0.0, 0.0]], [1, 2], [1000, math.log(3)]),
    ):  # fmt: skip
        targets = Targets(LOSSES[name], np.array(y), 2 if len(logits) == 1 else len(logits))
        cost, dZ = targets.cost(np.array(logits), slice(None))
        assert cost == pytest.approx(np.mean(costs), rel=1e-12)
        assert np.isfinite(dZ).all()


def test_the_normal_distribution_is_exact_to_the_last_bits():
    Z = np.concatenate([np.linspace(-9, 9, 20_001), [0.0, 1e-300, -1e-8, 40.0, -40.0]])
    exact = np.array([(1 + math.erf(z / math.sqrt(2))) / 2 for z in Z])
    assert np.abs(normal_cdf(Z) - exact).max() < 3e-16
    assert np.abs(normal_cdf(Z.astype(np.float32)) - exact).max() < 2e-7


def test_a_schedule_warms_up_by_steps_and_ends_where_it_says():
    cosine = SCHEDULES["cosine"](final=0.1, warmup=2.0)
    rates = [rate_at(cosine, 0.5, step, 4, 10) for step in range(40)]
    assert rates[0] == pytest.approx(0.5 / 8)
    assert rates[7] == pytest.approx(0.5)
    assert np.all(np.diff(rates[:8]) > 0)
    assert np.all(np.diff(rates[9:]) < 0)
    assert rate_at(cosine, 0.5, 40, 4, 10) == pytest.approx(0.05)
    step = SCHEDULES["step"](step_size=3, gamma=0.5)
    assert [rate_at(step, 1.0, epoch, 1, 9) for epoch in range(7)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]


def test_going_back_for_a_batch_after_another_one_gives_the_same_gradients(two_classes):
    lesson = Lesson(parameters(strategy="best-batch", batch_size=7, dropout=0.3, first_layer="direct"), two_classes)
    batches, params = lesson.epoch(0).step(0), lesson.training.params
    at_once = [{n: g.copy() for n, g in back().items()} for _, back in lesson.here.gradients_of(params, batches)]
    later = list(lesson.here.gradients_of(params, batches))
    for index in (3, 0, 2, 2, 1):
        slopes = later[index][1]()
        assert all(np.array_equal(slopes[name], at_once[index][name]) for name in slopes)


def test_walk_goes_forward_and_back_once_and_in_order():
    seen = []

    class Walker:
        def forward(self, layer, A_prev):
            seen.append(("forward", layer, A_prev))
            return f"A{layer}", f"kept{layer}"

        def cost(self, Z):
            return 0.5, f"error of {Z}"

        def backward(self, layer, dZ, kept, A_prev):
            seen.append(("backward", layer, dZ, kept, A_prev))
            return f"dZ{layer}", {f"W{layer}": layer}

    cost, back = walk(2, Walker(), "X")
    assert cost == 0.5
    assert seen == [("forward", 1, "X"), ("forward", 2, "A1")]
    assert back() == {"W2": 2, "W1": 1}
    assert seen[2:] == [("backward", 2, "error of A2", "kept2", "A1"), ("backward", 1, "dZ2", "kept1", "X")]


def test_an_activation_that_nobody_registered_is_an_error_and_never_another_one():
    with pytest.raises(KeyError, match="softsign"):
        Network.of(4, (3, 1), ("softsign", "sigmoid"))
