"""The task before training, and the command, against a real stack: the champion's data, another run's, and none."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowSkipException

from snn_client.data.staging import versions_below
from snn_client.models.champion import promote
from snn_client.runs.lists import size
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_data.dataset import save_dataset
from snn_operators.compat import AirflowFailException
from snn_operators.drift import FormerDataLink, NewDataLink, SnnDriftOperator
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

AWS: Any = {"aws_conn_id": None}  # boto3's own search: the environment leads to the emulator
PARAMETERS = {
    "epochs": 3,
    "layers": 1,
    "activations": {"layer1": "sigmoid"},
    "neurons": {"layer1": 1},
    "learning_rate": 0.05,
    "seed": 3,
}


def photos(path: Path, seed: int, *, brighter: int = 0, size: int = 6) -> Path:
    """Write 200 photos, none of which another seed has."""
    chance = np.random.default_rng(seed)
    base = chance.integers(20, 150, (220, 1, 1, 1)) + brighter
    pixels = np.clip(base + chance.normal(0, 15, (220, size, size, 3)), 0, 255).astype(np.uint8)
    labels = np.arange(220) % 2
    save_dataset(path, pixels[:200], labels[:200], pixels[200:], labels[200:], ("even", "odd"))
    return path


@pytest.fixture
def staged(stack: StackOutputs, request: pytest.FixtureRequest) -> Any:
    def staged(dataset: Path) -> Any:
        return SnnStageOperator(
            task_id="stage", stack=stack.to_dict(), dataset=str(dataset), parameters=PARAMETERS,
            run_id=f"{request.node.name} {time.time_ns()}", **AWS,
        ).execute({})  # fmt: skip

    return staged


@pytest.fixture
def champion(clients: Clients, stack: StackOutputs, staged: Any, tmp_path: Path) -> Any:
    """A run whose model is promoted, as (run_id, key of its data)."""
    made = staged(photos(tmp_path / "former.h5", 1))
    context: Any = {"ti": SimpleNamespace(try_number=1, max_tries=0, xcom_push=lambda key, value: None)}
    wanted = {name: made[name] for name in ("run_id", "dataset_key", "parameters")}
    SnnTrainOperator(task_id="train", stack=stack.to_dict(), poll_interval=0.2, **wanted, **AWS).execute(context)
    promote(clients, stack.bucket, made["run_id"])
    return made["run_id"], made["dataset_key"]


@pytest.fixture(autouse=True)
def _no_champion(clients: Clients, stack: StackOutputs) -> None:
    """Each test begins without a champion, whoever was it before."""
    for key in (places.PROMOTED_PARAMS, places.PROMOTED_RESULTS, places.PREVIOUS_PARAMS, places.PREVIOUS_RESULTS):
        clients.s3.delete_object(Bucket=stack.bucket, Key=key)


def drift(stack: StackOutputs, dataset_key: str, **options: Any) -> tuple[SnnDriftOperator, Any, dict[str, Any]]:
    """Run the task; return it, what it returned or raised, and what it pushed before."""
    pushed: dict[str, Any] = {}
    task = SnnDriftOperator(task_id="drift", stack=stack.to_dict(), dataset_key=dataset_key, **options, **AWS)
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))}
    try:
        return task, task.execute(context), pushed
    except (AirflowFailException, AirflowSkipException) as ended:
        return task, ended, pushed


def snn(*words: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("snn")), "drift", *words, "--stack", "snn-test"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_first_training_has_nothing_to_be_compared_with(stack: StackOutputs, staged: Any, tmp_path: Path) -> None:
    new = staged(photos(tmp_path / "new.h5", 2))
    task, found, pushed = drift(stack, new["dataset_key"], on_drift="fail")
    assert (found["drifted"], found["outcome"], found["tests"], pushed) == (False, "no champion", [], {})
    assert found["reason"] == "there is no champion yet whose data these could be compared with"
    assert task.files == ([f"s3://{stack.bucket}/{new['dataset_key']}"], [])
    done = snn(str(tmp_path / "new.h5"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "there is no champion yet" in done.stderr


def test_data_that_are_alike_pass_and_data_that_are_not_warn_fail_or_skip(
    stack: StackOutputs, champion: Any, staged: Any, tmp_path: Path
) -> None:
    run_id, former = champion
    alike = staged(photos(tmp_path / "alike.h5", 3))
    _, found, pushed = drift(stack, alike["dataset_key"], on_drift="fail")
    assert (found["drifted"], found["outcome"], found["findings"], pushed) == (False, "compared", [], {})
    assert (found["reference"], found["new"]) == (200, 200)
    assert {test["name"] for test in found["tests"]} >= {"labels", "brightness", "sharpness", "red"}

    bright = staged(photos(tmp_path / "bright.h5", 4, brighter=60))
    task, found, pushed = drift(stack, bright["dataset_key"])
    assert (found["drifted"], pushed) == (True, {})
    assert found["findings"][0]["name"] == "brightness"
    assert size(found) < 48_000
    sources = [f"s3://{stack.bucket}/{key}" for key in (bright["dataset_key"], former)]
    assert (found["data"], found["against"]) == tuple(sources)
    assert task.files == (sources, [])
    for link, key in ((NewDataLink(), bright["dataset_key"]), (FormerDataLink(), former)):
        assert link.get_link(task, ti_key=None).endswith(f"/{stack.bucket}/{key}")  # type: ignore[arg-type]
    for on_drift, ending in (("fail", AirflowFailException), ("skip", AirflowSkipException)):
        _, ended, pushed = drift(stack, bright["dataset_key"], on_drift=on_drift)
        assert type(ended) is ending
        assert str(ended).startswith("the data have changed: brightness (mean luma, 0 to 1) is higher")
        assert pushed == {"return_value": found}

    for against in ("champion", run_id, str(tmp_path / "former.h5")):
        done = snn(str(tmp_path / "bright.h5"), "--against", against, "--json")
        assert done.returncode == 1, done.stderr
        told = json.loads(done.stdout)
        assert (told["tests"], told["findings"]) == (found["tests"], found["findings"])


def test_data_that_the_champion_has_are_nothing_new(stack: StackOutputs, champion: Any) -> None:
    _, found, _ = drift(stack, champion[1], on_drift="fail")
    assert (found["drifted"], found["outcome"]) == (False, "nothing new")
    assert found["reason"] == "all 200 samples are in the former data: there is nothing new"


def test_other_photos_than_the_champion_s_fail_by_their_shape(
    stack: StackOutputs, champion: Any, staged: Any, tmp_path: Path
) -> None:
    larger = staged(photos(tmp_path / "larger.h5", 5, size=7))
    _, ended, _ = drift(stack, larger["dataset_key"], on_drift="fail")
    assert str(ended) == "the data have changed: samples are 7×7×3, in the training data 6×6×3"


def test_where_the_champion_s_data_are_gone_the_task_passes_and_the_command_does_not(
    clients: Clients, stack: StackOutputs, champion: Any, staged: Any, tmp_path: Path
) -> None:
    run_id, former = champion
    new = staged(photos(tmp_path / "new.h5", 6))
    for version in list(versions_below(clients, stack.bucket, former)):
        clients.s3.delete_object(Bucket=stack.bucket, **version)
    _, found, _ = drift(stack, new["dataset_key"], on_drift="fail")
    assert (found["drifted"], found["outcome"], found["tests"]) == (False, "unreadable", [])
    assert found["reason"].startswith("the data that the champion was trained on cannot be read any more: s3://")
    assert former in found["reason"]
    done = snn(str(tmp_path / "new.h5"))
    assert done.returncode == 1
    assert "cannot be read any more" in done.stderr
    named = snn(str(tmp_path / "new.h5"), "--against", run_id)
    assert named.returncode == 1
    assert former in named.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_drift": "panic"}, "on_drift: is 'panic' (one of warn, fail, skip)"),
        ({"alpha": "2"}, "alpha: is 2.0"),
        ({"alpha": "often"}, "alpha: 'often' is of type str, expected a number"),
        ({"against": "no-such-run"}, "has no run 'no-such-run'"),
        ({"dataset_key": "runs/gone/input/datasets-0123456789ab.h5"}, "runs/gone/input/datasets-0123456789ab.h5"),
    ],
)
def test_a_mistake_fails_in_one_line(
    options: dict[str, Any], message: str, stack: StackOutputs, champion: Any, staged: Any, tmp_path: Path
) -> None:
    key = options.pop("dataset_key", "") or staged(photos(tmp_path / "new.h5", 7))["dataset_key"]
    task = SnnDriftOperator(task_id="drift", stack=stack.to_dict(), dataset_key=key, **options, **AWS)
    with pytest.raises(AirflowException) as ended:
        task.execute({})  # type: ignore[arg-type]
    assert message in str(ended.value)
    assert "\n" not in str(ended.value)
