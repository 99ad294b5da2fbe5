"""The DAG snn_retraining in a real Airflow: an upload starts it; what is promoted, what is not, and what comes back."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import pytest

from snn_cli.datasets import build_faces
from snn_cli.local.airflow_api import ENDED, AirflowError
from snn_cli.local.emulator import Emulator
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions

DAG = "snn_retraining"
STACK = "snn"  # what the form says when nobody fills it in, as in a run that an upload starts
CHAMPION = ("predict_input/params.h5", "training_results/results.json")
PREVIOUS = ("predict_input/previous/params.h5", "predict_input/previous/results.json")
WEAK = {
    "epochs": 1,
    "layers": 1,
    "neurons": {"layer1": 1},
    "activations": {"layer1": "sigmoid"},
    "learning_rate": 1e-6,
    "seed": 1,
}
STEPS = ("deploy", "choose", "stage", "drift", "train", "compare", "register", "report")


@dataclass
class Retraining:
    """The machine, the deployed stack's bucket, and what one does with them."""

    machine: Any
    bucket: str
    queue: str
    before: int  # how many runs the DAG had

    def upload(self, path: Path, key: str) -> str:
        answer = self.machine.clients.s3.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        return f"s3://{self.bucket}/{key}?versionId={answer['VersionId']}"

    @property
    def runs(self) -> list[dict[str, Any]]:
        runs: list[dict[str, Any]] = self.machine.api.runs(DAG)[self.before :]
        return runs

    def wait_for_run(self, number: int) -> str:
        """Wait until the DAG has so many more runs, and the last has ended well; nobody triggers it."""
        deadline = time.monotonic() + 240
        while len(runs := self.runs) < number or runs[-1]["state"] not in ENDED:
            assert time.monotonic() < deadline, runs
            time.sleep(0.5)
        assert len(runs) == number
        return self.ended(runs[-1]["dag_run_id"])

    def trigger(self, **form: Any) -> str:
        run_id = self.machine.api.trigger(DAG, form)
        deadline = time.monotonic() + 240
        while self.machine.api.run_state(DAG, run_id) not in ENDED:
            assert time.monotonic() < deadline, self.machine.api.task_instances(DAG, run_id)
            time.sleep(0.3)
        return self.ended(run_id)

    def ended(self, run_id: str) -> str:
        if self.machine.api.run_state(DAG, run_id) == "failed":
            raise AssertionError(self.machine.api.failure(DAG, run_id))
        return run_id

    def states(self, run_id: str) -> dict[str, str]:
        return {task["task_id"]: task["state"] for task in self.machine.api.task_instances(DAG, run_id)}

    def xcom(self, run_id: str, task: str, key: str = "return_value") -> Any:
        return self.machine.api.xcom(DAG, run_id, task, key)

    def told(self, run_id: str) -> dict[str, tuple[str, Any]]:
        """Return what a run's tasks told of assets."""
        events = self.machine.api.asset_events(DAG, run_id)
        return {event["source_task_id"]: (event["uri"], event["extra"]) for event in events}

    def read(self, key: str) -> bytes:
        return self.machine.clients.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def hashes(self, keys: tuple[str, str]) -> list[str]:
        return [hashlib.sha256(self.read(key)).hexdigest() for key in keys]

    def of_run(self, run_id: str) -> list[str]:
        return self.hashes((f"runs/{run_id}/params.h5", f"runs/{run_id}/results.json"))


@pytest.fixture(scope="module")
def retraining(machine: Any) -> Retraining:
    machine.api.wait_for_dag(DAG)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in Emulator("", "", 0).environment().items():
            if name.startswith("SNN_"):
                patch.setenv(name, value)
        outputs = deploy_stack(machine.clients, StackOptions.from_environment(stack_name=STACK, with_cache=False))
    return Retraining(machine, outputs.bucket, outputs.new_data_queue, len(machine.api.runs(DAG)))


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "faces.h5"
    build_faces(path)
    return path


@pytest.fixture(scope="module")
def other_faces(faces: Path) -> Path:
    """The same photos where the world has changed: what was class 1 is class 0."""
    path = faces.with_name("other.h5")
    shutil.copy(faces, path)
    with h5py.File(path, "a") as h5:
        for name in ("train_set_y", "test_set_y"):
            h5[name][...] = 1 - h5[name][()]
    return path


def test_uploads_start_it_and_only_a_better_model_is_promoted_and_a_rollback_restores_the_bytes(
    retraining: Retraining, faces: Path, other_faces: Path
) -> None:
    # An upload starts it: nobody else does. The first model is the champion.
    address = retraining.upload(faces, "retraining_input/my faces.h5")
    first = retraining.wait_for_run(1)
    assert retraining.runs[0]["run_type"] == "asset_triggered"
    assert retraining.states(first) == {
        **dict.fromkeys(("way", *STEPS, "promote"), "success"),
        **dict.fromkeys(("roll_back", "approve"), "skipped"),
    }
    assert retraining.xcom(first, "choose")["dataset"] == address
    champion = retraining.xcom(first, "train")["run_id"]
    assert retraining.xcom(first, "compare", "champion") is None
    assert retraining.xcom(first, "promote") == {"champion": champion, "previous": ""}
    promoted = f"s3://{retraining.bucket}/{CHAMPION[0]}"
    told = retraining.told(first)
    assert told.keys() == {"stage", "train", "promote"}
    assert told["stage"][0] == f"s3://{retraining.bucket}/{retraining.xcom(first, 'stage', 'dataset_key')}"
    assert told["train"][0] == f"s3://{retraining.bucket}/runs/{champion}/params.h5"
    assert told["promote"] == (promoted, {"champion": champion, "previous": ""})
    assert retraining.hashes(CHAMPION) == retraining.of_run(champion)
    former = retraining.hashes(CHAMPION)

    # A worse challenger is not promoted.
    worse = retraining.trigger(dataset=str(faces), parameters=WEAK, stack_name=STACK)  # as snn_sweep hands over
    assert WEAK.items() <= retraining.xcom(worse, "stage", "parameters").items()
    assert retraining.states(worse) == {
        **dict.fromkeys(("way", *STEPS), "success"),
        **dict.fromkeys(("approve", "promote", "roll_back"), "skipped"),
    }
    assert retraining.told(worse).keys() == {"stage", "train"}
    found = retraining.xcom(worse, "compare")
    assert found["decision"]["promote"] is False
    assert found["decision"]["reason"].startswith("the challenger is not better: accuracy 0.")
    assert found["champion"]["run_id"] == champion
    assert found["champion"]["test_set"]["accuracy"] == found["decision"]["champion"] > 0.75
    assert found["challenger"]["test_set"]["accuracy"] == found["decision"]["challenger"] < 0.7
    assert retraining.hashes(CHAMPION) == former

    # A better one is. It is trained as the champion was.
    retraining.upload(other_faces, "retraining_input/other.h5")
    better = retraining.wait_for_run(3)
    found = retraining.xcom(better, "compare")
    assert found["decision"]["promote"] is True
    assert found["decision"]["challenger"] - found["decision"]["champion"] > 0.5
    challenger = retraining.xcom(better, "train")["run_id"]
    assert retraining.xcom(better, "stage", "parameters") == retraining.xcom(first, "stage", "parameters")
    assert retraining.xcom(better, "promote") == {"champion": challenger, "previous": champion}
    assert retraining.hashes(CHAMPION) == retraining.of_run(challenger)
    assert retraining.hashes(PREVIOUS) == former
    assert retraining.xcom(better, "report")["artifacts"]["report_html"].endswith(f"{challenger}/report/report.html")

    # A rollback restores the former bytes; another one undoes it.
    back = retraining.trigger(roll_back=True)
    assert retraining.states(back) == {
        **dict.fromkeys(("way", "roll_back"), "success"),
        **dict.fromkeys((*STEPS, "approve", "promote"), "skipped"),
    }
    assert retraining.xcom(back, "roll_back") == {"champion": champion, "previous": challenger}
    assert retraining.told(back) == {"roll_back": (promoted, {"champion": champion, "previous": challenger})}
    assert retraining.hashes(CHAMPION) == former
    assert retraining.hashes(PREVIOUS) == retraining.of_run(challenger)
    retraining.trigger(roll_back=True)
    assert retraining.hashes(CHAMPION) == retraining.of_run(challenger)
    assert retraining.hashes(PREVIOUS) == former

    # S3's test message started nothing, no upload is told of twice, and what Airflow has stored has left the queue.
    assert [run["run_type"] for run in retraining.runs] == [
        "asset_triggered",
        "manual",
        "asset_triggered",
        "manual",
        "manual",
    ]
    counts = retraining.machine.clients.sqs.get_queue_attributes(QueueUrl=retraining.queue, AttributeNames=["All"])
    assert {
        name: value for name, value in counts["Attributes"].items() if name.startswith("ApproximateNumberOfMessages")
    } == dict.fromkeys((f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")), "0")


def test_a_run_by_hand_without_data_says_what_to_do_and_a_bad_form_is_refused(retraining: Retraining) -> None:
    with pytest.raises(AirflowError, match="400: Invalid input for param margin: -1 is less than the minimum of 0"):
        retraining.machine.api.trigger(DAG, {"margin": -1})
    with pytest.raises(AssertionError, match=r"task choose failed: dataset: was neither uploaded nor given"):
        retraining.trigger()
