"""Whether a run fits: 10 features, 6 photos and layers of 3, 2 and 1, as in test_estimate, in functions of any size."""

from __future__ import annotations

from typing import Any

import pytest

from snn.errors import InvalidInput
from snn_cloud.aws.settings import Settings
from snn_cloud.cost import kept
from snn_cloud.cost.memory import MIB, check_fits
from snn_cloud.cost.workload import Size, Workload
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.neurons.task import EMPTY_BYTES

NETWORK = {
    "epochs": 100,
    "layers": 3,
    "activations": {"layer1": "relu", "layer2": "relu", "layer3": "sigmoid"},
    "neurons": {"layer1": 3, "layer2": 2, "layer3": 1},
    "learning_rate": 0.1,
    "keep_epochs": False,
}


def fits(samples: int, features: int, sizes: dict[str, int], test_samples: int = 0, **fields: Any) -> None:
    settings = Settings("bucket", "table", "", "trainer", **sizes)
    check_fits(Parameters.load({**NETWORK, **fields}), Size(features, samples, others=test_samples), settings, "d.h5")


def test_weights_are_counted() -> None:
    # 3·(10 + 1) + 2·(3 + 1) + 1·(2 + 1)
    assert Workload(Parameters.load(NETWORK), Size(10, 6)).weight_bytes == 8 * 44


@pytest.mark.parametrize("size", ["trainer_mb", "memory_mb", "neuron_mb"])
def test_a_size_that_is_not_known_refuses_nothing(size: str) -> None:
    fits(10**6, 10**5, {size: 0}, granularity="layer")


def test_a_trainer_is_filled_to_the_last_byte_and_no_further() -> None:
    features = 3_000
    # directly: a byte and a float64 a number, what 6 neurons give three times; the test photos as bytes; four times the
    # weights
    weights = 4 * 8 * (3 * (features + 1) + 8 + 3)
    test = 100
    samples = (500 * MIB - EMPTY_BYTES - weights - features * test) // (9 * features + 3 * 8 * 6)
    fits(samples, features, {"trainer_mb": 500}, test, first_layer="direct")
    with pytest.raises(
        InvalidInput,
        match=r"need 500 MB, but TrainerLambda has 500 \(choose dtype float32, use fewer or smaller samples, or",
    ):
        fits(samples + 1, features, {"trainer_mb": 500}, test, first_layer="direct")
    with pytest.raises(InvalidInput, match="TrainerLambda has 500"):
        fits(samples, features, {"trainer_mb": 500}, test + 100, first_layer="direct")


def test_states_that_wait_to_be_stored_are_counted() -> None:
    given = {**NETWORK, "keep_epochs": True, "first_layer": "direct"}
    work = Workload(Parameters.load(given), Size(10, 6))
    waiting = kept.waiting_bytes(work)
    assert waiting == 3 * 33 * 8 * 44
    exact = work.trainer_bytes + work.weight_copies * work.weight_bytes + waiting
    samples = (500 * MIB - exact) // (10 + 8 * 10 + 3 * 8 * 6)
    fits(6 + samples, 10, {"trainer_mb": 500}, first_layer="direct", keep_epochs=True)
    with pytest.raises(InvalidInput, match="TrainerLambda has 500"):
        fits(6 + samples + 1, 10, {"trainer_mb": 500}, first_layer="direct", keep_epochs=True)
    fits(6 + samples + 1, 10, {"trainer_mb": 500}, first_layer="direct")


def test_the_refusal_names_the_numbers_and_the_hint() -> None:
    with pytest.raises(InvalidInput) as refused:
        fits(40_000, 12_288, {"trainer_mb": 1769}, first_layer="span")
    as_numbers = 40_000**2 + (2 * 512 + 512) * 40_000 + 3 * 6 * 40_000 + 4 * (3 * 12_289 + 11)
    needed = (EMPTY_BYTES + 40_000 * 12_288 + 8 * as_numbers) / MIB
    assert str(refused.value) == (
        f"d.h5: 40,000 samples of 12,288 numbers and 36,878 weights need {needed:,.0f} MB, but TrainerLambda has "
        "1,769 (choose dtype float32, choose first_layer direct, use fewer or smaller samples, or enlarge "
        "TrainerLambda in cloudformation/training.yaml)"
    )
    with pytest.raises(InvalidInput, match=r"NeuronLambda has 512 \(choose a smaller batch_size, use fewer"):
        fits(6_000, 12_288, {"neuron_mb": 512}, granularity="layer", batch_size=5_000)
    with pytest.raises(
        InvalidInput, match=r"LaunchLambda has 1,024 \(use fewer neurons or smaller samples, or enlarge"
    ):
        fits(6, 12_288, {"memory_mb": 1024}, neurons={"layer1": 3_000, "layer2": 2, "layer3": 1})
