"""What the task log says of a run, and how often."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from snn_client.runs.progress import Narrator, estimate_line, summary
from snn_cloud.cost.formats import duration
from snn_cloud.ledger.ledger import EpochRow
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage

PARAMETERS = Parameters.load(
    {
        "epochs": 1000,
        "layers": 1,
        "activations": {"layer1": "sigmoid"},
        "neurons": {"layer1": 1},
        "learning_rate": 0.01,
    }
)
RUNNING = Run("run-1", State.RUNNING, PARAMETERS, "runs/run-1/input/d.h5", started_at=1000.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def follow(epochs_per_look: int, looks: int, every: float, seconds_per_look: float = 1.0) -> list[str]:
    clock = Clock()
    narrator, said, done = Narrator(every, clock=clock), [], 0
    for _ in range(looks):
        rows = [EpochRow(epoch, 1 / (epoch + 1)) for epoch in range(done, done + epochs_per_look)]
        done += epochs_per_look
        said += narrator.lines(replace(RUNNING, epoch=done, cost=rows[-1].cost if rows else None), rows)
        clock.now += seconds_per_look
    ended = replace(RUNNING, state=State.COMPLETED, epoch=done, ended_at=1000.0 + looks * seconds_per_look)
    return said + narrator.lines(ended, [])


def test_first_and_last_epoch_are_said_and_every_few_seconds_between() -> None:
    lines = follow(epochs_per_look=10, looks=12, every=5.0)
    assert [line.split(",")[0] for line in lines] == [
        "epoch 1 of 1000",
        "epoch 10 of 1000",
        "epoch 60 of 1000",
        "epoch 110 of 1000",
        "epoch 120 of 1000",
    ]
    assert lines[2] == "epoch 60 of 1000, cost 0.016667, 10 epochs/s, about 1 min 34 s left"
    assert lines[-1] == "epoch 120 of 1000, cost 0.008333, 10 epochs/s"


def test_the_last_epoch_is_said_once_when_it_came_with_a_line_before_the_end() -> None:
    lines = follow(epochs_per_look=3, looks=1, every=5.0)
    assert [line.split(",")[0] for line in lines] == ["epoch 1 of 1000", "epoch 3 of 1000"]


def test_a_run_over_at_the_first_look_is_two_lines_at_the_speed_of_the_whole_run() -> None:
    ended = replace(RUNNING, state=State.COMPLETED, epoch=1000, ended_at=1004.0)
    assert Narrator().lines(ended, [EpochRow(epoch, 0.5) for epoch in range(1000)]) == [
        "epoch 1 of 1000, cost 0.500000, 250 epochs/s",
        "epoch 1000 of 1000, cost 0.500000, 250 epochs/s",
    ]


def test_a_line_says_what_the_run_has_cost_so_far() -> None:
    said = Narrator(price=lambda run: run.epoch / 3e5).lines(
        replace(RUNNING, epoch=2), [EpochRow(0, 0.5), EpochRow(1, 0.4)]
    )
    assert said == [f"epoch {n} of 1000, cost 0.{6 - n}00000, 0.0000067 USD so far" for n in (1, 2)]
    assert Narrator(price=lambda run: 0.0).lines(RUNNING, [EpochRow(0, 0.5)])[0].endswith("0.00 USD so far")


def test_a_line_says_what_validation_found() -> None:
    run = replace(RUNNING, epoch=1)
    assert Narrator().lines(run, [EpochRow(0, 0.5, 0.7, 0.8125)]) == [
        "epoch 1 of 1000, cost 0.500000, validation cost 0.700000, accuracy 0.8125"
    ]
    numbers = PARAMETERS.model_copy(update={"activations": {"layer1": "identity"}})
    (line,) = Narrator().lines(replace(run, parameters=numbers), [EpochRow(0, 0.5, 0.7, -0.25)])
    assert line.endswith("validation cost 0.700000, r2 -0.2500")


def test_a_long_epoch_is_told_by_its_steps_and_they_make_the_speed() -> None:
    clock = Clock()
    narrator, said = Narrator(5.0, clock=clock), []
    for second in range(21):
        run = replace(RUNNING, step=10 * second, steps=400)
        said += narrator.lines(run, [])
        clock.now += 1.0
    assert said == [
        "epoch 1 of 1000, step 10 of 400", "epoch 1 of 1000, step 60 of 400", "epoch 1 of 1000, step 110 of 400",
        "epoch 1 of 1000, step 160 of 400",
    ]  # fmt: skip
    assert narrator.epochs_per_second(run) == pytest.approx(10 / 400)
    assert narrator.record(run)["seconds_left"] == pytest.approx((1000 - 0.5) * 40, rel=0.01)


def test_nothing_new_is_nothing_to_say() -> None:
    assert Narrator().lines(RUNNING, []) == []
    assert follow(epochs_per_look=0, looks=20, every=1.0) == []


def test_the_speed_is_that_of_the_last_half_minute() -> None:
    clock = Clock()
    narrator = Narrator(1.0, clock=clock)
    done = 0
    for second in range(120):
        step = 100 if second < 60 else 2
        done += step
        narrator.lines(replace(RUNNING, epoch=done), [EpochRow(done - 1, 0.5)])
        clock.now += 1.0
    assert narrator.epochs_per_second(replace(RUNNING, epoch=done)) == pytest.approx(2.0, rel=0.01)


def test_progress_is_a_handful_of_numbers_whatever_the_run() -> None:
    clock = Clock()
    narrator = Narrator(1.0, lambda run: run.epoch / 1e5, clock)
    narrator.lines(replace(RUNNING, epoch=1), [EpochRow(0, 0.7)])
    clock.now = 2.0
    run = replace(RUNNING, epoch=101, cost=0.25)
    narrator.lines(run, [EpochRow(epoch, 0.25) for epoch in range(1, 101)])
    assert narrator.record(run) == {
        "run_id": "run-1",
        "state": "RUNNING",
        "epoch": 101,
        "epochs": 1000,
        "step": 0,
        "steps": 0,
        "cost": 0.25,
        "validation_cost": None,
        "validation_metric": None,
        "epochs_per_second": 50.0,
        "seconds_left": 18.0,
        "usd": 0.00101,
    }
    assert Narrator().record(RUNNING)["seconds_left"] is None


def test_summary_tells_how_a_run_ended() -> None:
    run = replace(
        RUNNING,
        state=State.COMPLETED,
        epoch=420,
        cost=0.01,
        ended_at=1012.5,
        stopped_by=StoppedBy.THRESHOLD,
        usage={"trainer": Usage(2, 1000, 1769)},
    )
    assert summary(run) == {
        "run_id": "run-1",
        "state": "COMPLETED",
        "epochs_run": 420,
        "epochs_configured": 1000,
        "final_cost": 0.01,
        "stopped_by": "threshold",
        "seconds": 12.5,
        "granularity": "batch",
        "strategy": "full-batch",
        "validation_cost": None,
        "validation_metric": None,
        "best_epoch": None,
        "dataset_key": "runs/run-1/input/d.h5",
        "invocations": {"launch": 0, "trainer": 2, "neuron": 0},
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.97, "1 min 0 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("usd", "neurons", "said"),
    [
        (0.000201, 0, "≤ 0.00021 USD for 3,000 epochs, batch granularity: 1 TrainerLambda, ≈ 5.5 s ("),
        (12.301, 5_280, "≤ 12.31 USD for 3,000 epochs, batch granularity: 1 TrainerLambda and 5,280 NeuronLambda, ≈"),
    ],
)
def test_the_estimate_is_one_line_that_rounds_up(usd: float, neurons: int, said: str) -> None:
    line = estimate_line(estimate_of(usd, neurons))
    assert line.startswith(f"estimate: {said}")
    assert line.endswith("(list prices of 2026-11-01, us-east-1)")


def estimate_of(usd: float, neurons: int, region: str = "us-east-1", unpriced: tuple[str, ...] = ()) -> Any:
    return {
        "usd": usd, "epochs": 3_000, "granularity": "batch", "seconds": 5.5, "unpriced": list(unpriced),
        "invocations": {"launch": 1, "trainer": 1, "neuron": neurons},
        "prices": {"date": "2026-11-01", "region": "us-east-1", "requests_region": region},
    }  # fmt: skip


def test_the_estimate_says_whose_prices_it_takes_and_what_has_none() -> None:
    line = estimate_line(estimate_of(0.2, 0, "eu-west-1", ("cache node cache.x9.huge",)))
    assert "≤ 0.20 USD (without cache node cache.x9.huge: its price is not known) for 3,000 epochs" in line
    assert line.endswith("(list prices of 2026-11-01, eu-west-1 and us-east-1)")
