"""The network against an independent oracle and against finite differences."""

import io
import itertools

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snn.dataset import batches, load_dataset, save_dataset
from snn.first_layer import Direct, Gram, choose_path
from snn.layers import cross_entropy, forward, gradients, hidden_error, sigmoid
from snn.model import dump_checkpoint, load_checkpoint
from snn.network import Layer, cost_and_gradients, initial_weights
from snn.parameters import Parameters, Path
from snn.training import Diverged, StoppedBy, Training, first_layer, on_this_machine, train


def parameters(**fields):
    return Parameters.load(oracle.small_network(**fields))


@pytest.fixture(scope="module")
def dataset():
    pixels, labels = oracle.photos_and_labels()
    buffer = io.BytesIO()
    save_dataset(buffer, pixels, labels, pixels[:6], labels[:6], ("no", "yes"))
    return load_dataset(buffer)


def run(parameters, dataset):
    training = Training(initial_weights(parameters, dataset.features))
    parts = batches(dataset, parameters.batch_size, parameters.seed)
    first, _ = first_layer(training, parameters, Gram(parts), dataset.features)
    costs = list(train(training, parameters, parts, on_this_machine(parameters, first)))
    assert costs == training.costs
    training.weights = first.network(training.weights)
    return training, parts


@pytest.mark.parametrize("path", ["direct", "span"])
@pytest.mark.parametrize(
    "fields",
    [{}, {"batch_size": 7}, {"batch_size": 7, "strategy": "average"}, {"batch_size": 8, "seed": 4}],
    ids=["full-batch", "best-batch", "average", "best-batch, other seed"],
)
def test_every_strategy_equals_the_oracle(dataset, fields, path):
    chosen = parameters(epochs=40, first_layer=path, **fields)
    training, parts = run(chosen, dataset)
    start = initial_weights(chosen, dataset.features)
    Ws, bs, costs = oracle.train_as(chosen, start, parts)
    assert training.costs == pytest.approx(costs, abs=1e-12)
    for layer, W, b in zip(training.weights, Ws, bs, strict=True):
        assert np.abs(layer.W - W).max() < 1e-12
        assert np.abs(layer.b - b).max() < 1e-12
    assert costs[-1] < costs[0]


@pytest.mark.parametrize("functions", [("relu", "relu", "sigmoid"), ("sigmoid", "relu", "sigmoid")])
def test_gradients_match_finite_differences(dataset, functions):
    chosen = parameters(functions=functions, seed=0)  # a seed whose small ReLU network is alive in every layer
    (batch,) = batches(dataset, None, 0)
    weights = initial_weights(chosen, dataset.features)
    first = Direct(chosen.activation_per_layer[0])
    slopes = cost_and_gradients(weights, batch, chosen.activation_per_layer, first)[1]()
    nudge = 1e-6
    for number, layer in enumerate(weights):
        for which, array in enumerate(layer):
            numeric = np.empty_like(array)
            for place in np.ndindex(array.shape):
                costs = []
                for sign in (1, -1):
                    moved = [Layer(W.copy(), b.copy()) for W, b in weights]
                    moved[number][which][place] += sign * nudge
                    costs.append(cost_and_gradients(moved, batch, chosen.activation_per_layer, first)[0])
                numeric[place] = (costs[0] - costs[1]) / (2 * nudge)
            assert np.abs(slopes[number][which] - numeric).max() < 1e-8
            assert np.abs(numeric).max() > 1e-4


@settings(max_examples=25)
@given(
    sizes=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    functions=st.tuples(*[st.sampled_from(["relu", "sigmoid"])] * 2),
    batch_size=st.one_of(st.none(), st.integers(1, 30)),
    strategy=st.sampled_from(["best-batch", "average"]),
    seed=st.integers(0, 1000),
    path=st.sampled_from(["direct", "span"]),
)
def test_any_small_network_equals_the_oracle(dataset, sizes, functions, batch_size, strategy, seed, path):
    chosen = parameters(
        sizes=(*sizes, 1),
        functions=(*functions, "sigmoid"),
        batch_size=batch_size,
        strategy=strategy if batch_size else None,
        seed=seed,
        first_layer=path,
    )
    training, parts = run(chosen, dataset)
    start = initial_weights(chosen, dataset.features)
    Ws, _, costs = oracle.train_as(chosen, start, parts)
    assert training.costs == pytest.approx(costs, abs=1e-10)
    assert all(np.abs(layer.W - W).max() < 1e-10 for layer, W in zip(training.weights, Ws, strict=True))


def test_a_neuron_alone_computes_what_its_layer_computes(dataset):
    random = np.random.default_rng(2)
    W, b, A_prev = random.standard_normal((6, 27)), random.standard_normal((6, 1)), dataset.train_x
    W_next, dZ_next = random.standard_normal((4, 6)), random.standard_normal((4, 24))
    for activation in ("relu", "sigmoid"):
        A = forward(W, b, A_prev, activation)
        dZ = hidden_error(W_next, dZ_next, A, activation)
        dW, db = gradients(dZ, A_prev)
        for i in range(6):
            row = slice(i, i + 1)
            assert np.abs(forward(W[row], b[row], A_prev, activation) - A[row]).max() < 1e-13
            dZ_i = hidden_error(W_next[:, row], dZ_next, A[row], activation)
            assert np.abs(dZ_i - dZ[row]).max() < 1e-13
            dW_i, db_i = gradients(dZ_i, A_prev)
            assert np.abs(dW_i - dW[row]).max() < 1e-13
            assert np.abs(db_i - db[row]).max() < 1e-13


def test_first_weights_are_itsacats():
    weights = initial_weights(parameters(sizes=(400, 300, 1), seed=11), features=1000)
    assert weights[0].W.std() == pytest.approx(np.sqrt(2 / 1000), rel=0.01)  # ReLU
    assert weights[1].W.std() == pytest.approx(1 / np.sqrt(400), rel=0.01)  # sigmoid
    assert abs(weights[0].W.mean()) < 3e-4
    assert all(not layer.b.any() for layer in weights)
    assert [layer.W.shape for layer in weights] == [(400, 1000), (300, 400), (1, 300)]
    again = initial_weights(parameters(sizes=(400, 300, 1), seed=11), features=1000)
    other = initial_weights(parameters(sizes=(400, 300, 1), seed=12), features=1000)
    assert np.array_equal(weights[0].W, again[0].W)
    assert not np.array_equal(weights[0].W, other[0].W)


def test_the_threshold_stops_at_the_first_epoch_at_or_below_it(dataset):
    costs = run(parameters(epochs=60), dataset)[0].costs
    threshold = costs[30]
    stopped, _ = run(parameters(epochs=60, threshold=threshold), dataset)
    assert stopped.costs == costs[: next(i for i, cost in enumerate(costs) if cost <= threshold) + 1]
    assert stopped.stopped_by(parameters(epochs=60, threshold=threshold)) is StoppedBy.THRESHOLD


@pytest.mark.parametrize("path", ["direct", "span"])
@pytest.mark.parametrize("fields", [{}, {"batch_size": 7}, {"batch_size": 7, "strategy": "average"}])
def test_going_on_from_a_checkpoint_gives_the_same_bits(dataset, path, fields):
    chosen = parameters(epochs=20, first_layer=path, **fields)
    whole, parts = run(chosen, dataset)
    training = Training(initial_weights(chosen, dataset.features))
    for _ in range(10):
        training = load_checkpoint(dump_checkpoint(training))
        first, _ = first_layer(training, chosen, Gram(parts), dataset.features)
        # two epochs, then a new trainer
        for _ in itertools.islice(train(training, chosen, parts, on_this_machine(chosen, first)), 2):
            pass
    assert training.costs == whole.costs
    for one, two in zip(first.network(training.weights), whole.weights, strict=True):
        assert np.array_equal(one.W, two.W)
        assert np.array_equal(one.b, two.b)


def test_the_path_is_chosen_by_counting_operations():
    def path(features, samples, **fields):
        return choose_path(parameters(**fields), features, samples)

    # itsacat's photos and network: 3,000 epochs of 4·20·12288·209 against 2·20·209² and 12288·209² + 4·20·12288·209
    chosen, why = path(12_288, 209, epochs=3000, sizes=(20, 4, 1))
    assert chosen is Path.SPAN
    assert why == "first layer span: 6.16e+11 operations directly, 5.98e+09 in the span of 209 samples"
    assert path(12_288, 209, epochs=2, sizes=(1, 4, 1))[0] is Path.DIRECT  # the Gram matrix would not pay
    assert path(12_288, 12_288, epochs=3000)[0] is Path.DIRECT
    assert path(100, 5_000, epochs=3000)[0] is Path.DIRECT
    assert path(12_288, 209, epochs=3000, first_layer="direct")[0] is Path.DIRECT
    assert path(100, 5_000, epochs=1, first_layer="span")[0] is Path.SPAN


def test_a_cost_that_is_no_number_ends_the_training_before_it_spoils_the_weights(dataset):
    chosen = parameters(epochs=5)
    training = Training(initial_weights(chosen, dataset.features))
    training.weights[0].W[0, 0] = np.nan
    parts = batches(dataset, None, 0)
    first, _ = first_layer(training, chosen, Gram(parts), dataset.features)
    with pytest.raises(Diverged, match=r"epoch 0 is nan \(lower learning_rate, now 0\.1\)"):
        list(train(training, chosen, parts, on_this_machine(chosen, first)))
    assert training.epoch == 0


def test_cost_and_sigmoid_stay_finite_at_the_ends():
    assert sigmoid(np.array([[-1000.0, 0.0, 1000.0]])).tolist() == [[0.0, 0.5, 1.0]]
    assert cross_entropy(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])) == pytest.approx(36.04, abs=0.01)
    assert cross_entropy(np.array([[0.25]]), np.array([[1.0]])) == pytest.approx(np.log(4))
