"""What a trainer has kept however its run ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from answers import Answers
from scenes.common import RUN, SETTINGS, Ledgers, objects

from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_cloud.train.reporter import Reporter
from snn_cloud.train.training import advance
from snn_data.kept import load_epoch


def ended(**fields: Any) -> tuple[Run, list[str], dict[str, bytes]]:
    """Train a run; return it, the kinds of objects it stored, in order, and all that it kept, by its range."""
    assert RUN.parameters is not None
    chosen = Parameters.load({**RUN.parameters.model_dump(mode="json", exclude_none=True), **fields})
    answers = Answers({**Ledgers(replace(RUN, parameters=chosen)).answers, "s3.GetObject": objects()})
    run = advance("r1", "me", lambda: 900.0, SETTINGS, answers.clients)
    bodies = {asked["Key"]: asked["Body"] for asked in answers.asked("s3.PutObject")}
    stored = {key: body if isinstance(body, bytes) else body.getvalue() for key, body in bodies.items()}
    kept = {key.rpartition("/")[2]: content for key, content in stored.items() if places.kept_range(key)}
    return run, [key.split("/")[2] for key in stored], kept


def test_a_completed_run() -> None:
    run, kinds, kept = ended(epochs=3)
    assert (run.state, kinds, list(kept)) == (
        State.COMPLETED, ["epochs", "params.h5", "results.json"], ["00000000-00000003-1.h5"],
    )  # fmt: skip
    assert ended(epochs=3, keep_epochs=False)[1] == ["params.h5", "results.json"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverged_run_has_the_last_state_that_was_good() -> None:
    run, kinds, kept = ended(epochs=3_000, learning_rate=1_000.0, l2=1.0, first_layer="direct")
    assert run.state is State.FAILED
    assert "is nan" in run.reason or "is inf" in run.reason or "no longer finite" in run.reason
    assert kinds == ["epochs"]
    (content,) = kept.values()
    assert load_epoch(content, 0).epoch == 0


@pytest.mark.parametrize("granted", ["cancel_requested", "_over_budget"])
def test_a_cancelled_run_and_one_out_of_budget(monkeypatch: pytest.MonkeyPatch, granted: str) -> None:
    tick = Reporter.tick

    def stopping(self: Reporter, now: float) -> None:
        tick(self, now)
        setattr(self, granted, self.training.epoch == 12)

    monkeypatch.setattr(Reporter, "tick", stopping)
    monkeypatch.setattr("snn_cloud.cost.budget.spent", lambda run, platform: "max_usd" if run.epoch == 12 else "")
    run, kinds, kept = ended(epochs=300)
    assert run.state is (State.CANCELLED if granted == "cancel_requested" else State.FAILED)
    assert (kinds, list(kept)) == (["epochs", "checkpoint.h5"], ["00000000-00000012-1.h5"])
    assert load_epoch(next(iter(kept.values())), 12).epoch == 12
