"""What several scenes have in common: a run, its files, a table that remembers, a stack."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import oracle
from answers import ABSENT, ACCOUNT, REGION, Given, Refused, body
from small import first_checkpoint, photos

from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.settings import Settings
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, to_item
from snn_data.model import save_model

BUCKET, TABLE, KEY = "snn-data", "snn-runs", "runs/r1/input/datasets-000000000000.h5"
SETTINGS = Settings(BUCKET, TABLE, f"arn:aws:sns:{REGION}:{ACCOUNT}:snn-news", "snn-TrainerLambda", "snn-NeuronLambda")
PARAMETERS = Parameters.load(oracle.small_network((3, 1), ("relu", "sigmoid")))
RUN = Run(
    "r1", parameters=PARAMETERS, dataset=KEY, dataset_version="v1", checkpoint_version="v1", created_at=1.0,
    features=27, samples=24,
)  # fmt: skip
STACK_ID = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/snn/1"
ARTIFACTS = f"snn-artifacts-{ACCOUNT}-{REGION}"
STACK: dict[str, Any] = {
    "StackName": "snn", "StackId": STACK_ID, "StackStatus": "CREATE_COMPLETE", "EnableTerminationProtection": False,
    "Parameters": [{"ParameterKey": "ArtifactBucket", "ParameterValue": ARTIFACTS}],
}  # fmt: skip
OUTPUTS = StackOutputs(
    "snn", BUCKET, TABLE, "snn-LaunchLambda", "snn-TrainerLambda", "snn-NeuronLambda", SETTINGS.topic_arn, False,
    "arm64", REGION, ARTIFACTS, version=2,
)  # fmt: skip
NO_STACK = Refused("ValidationError", 400, "Stack with id snn does not exist")
NO_KEY = Refused("NoSuchKey", 404)
NOT_THERE = Refused("404", 404)


@cache
def data() -> bytes:
    """The data set that the run trains on."""
    return photos()


@cache
def model(run_id: str) -> bytes:
    """A model file of a run."""
    buffer = io.BytesIO()
    params = PARAMETERS.network(27).first_params(1, "float64")
    told = {"run_id": run_id, "image_shape": (3, 3, 3), "classes": ("no", "yes"), "parameters": PARAMETERS.to_json()}
    save_model(buffer, params, PARAMETERS.activation_per_layer, told)
    return buffer.getvalue()


def objects(**more: bytes) -> Given:
    """Return answers to GetObject: by keys the run's files, and others by the ends of their keys."""
    files = {KEY: data(), places.checkpoint("r1"): first_checkpoint(PARAMETERS), places.params("r1"): model("r1")}

    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        key = asked["Key"]
        content = files.get(key) or next(value for end, value in more.items() if key.endswith(f"/{end}"))
        part = {"ContentRange": f"bytes 0-{len(content) - 1}/{len(content)}"} if "Range" in asked else {}
        return {**body(content), **part}

    return answer


class Ledgers:
    """A table that remembers runs, and what the registry keeps beside them: enough of DynamoDB for what these ask.

    Conditions always hold.
    """

    def __init__(self, *runs: Run) -> None:
        self.items = {run.run_id: to_item(run) for run in runs}
        self.answers: dict[str, Given] = {
            "dynamodb.GetItem": self._get, "dynamodb.PutItem": self._put, "dynamodb.UpdateItem": self._update,
        }  # fmt: skip

    @staticmethod
    def _name(key: Mapping[str, Any]) -> str:
        """Return what an item is remembered by: a run by its own; what is no run's has a # in its key."""
        name = str(key["run_id"]["S"])
        return f"{name}/{key['item']['S']}" if "#" in name else name

    def _get(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        return {"Item": self.items.get(self._name(asked["Key"]), ABSENT)}

    def _put(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        name = self._name(asked["Item"])
        if asked["Item"]["item"]["S"] == "run" or "#" in name:
            self.items[name] = asked["Item"]
        return {}

    def _update(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        name, values = self._name(asked["Key"]), asked["ExpressionAttributeValues"]
        item = self.items.setdefault(name, dict(asked["Key"])) if "#" in name else self.items[name]
        for name, value in re.findall(r"#(\w+) = (:\w+)", asked["UpdateExpression"]):
            item[name] = values[value]
        for name, value in re.findall(r"(\w+) (:\w+)", asked["UpdateExpression"]):
            item[name] = {"N": str(int(item.get(name, {"N": "0"})["N"]) + int(values[value]["N"]))}
        return {"Attributes": item}
