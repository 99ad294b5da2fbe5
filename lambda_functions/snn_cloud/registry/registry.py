"""The registry in the ledger's table. A model's items share the key model#<name>, which is no run's:

    version#<run_id>      a version; a run is registered once for a model, however often it is asked
    count                 the number of the newest version
    trial                 the candidate on trial
    champion              the run of the champion, as it was noted last: for events and checks
    served#<run_id>       what a version was asked, all counters
    #models / <name>      that there is such a model (their key is "#models", which is no run's either)

Which version is the champion is not here: the object in S3 that serves says so (`snn_client.models.champion`), so there
are no two that could differ. Every change is one conditional write; of two that want to decide, the first one wins.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from botocore.exceptions import ClientError

from snn.errors import InvalidInput, one_line
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.record import pack, unpack
from snn_cloud.registry.record import Decided, Metric, Served, Status, Trial, Version, check_model
from snn_cloud.registry.trials import rule_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

COUNTERS = ("requests", "samples", "errors", "milliseconds", "compared", "disagreed")
_MODELS, _ENDPOINT = "#models", "#endpoint"  # keys; the name of a run has no #
_JSON = ("parameters", "metrics", "decided", "rule")  # as text: DynamoDB has no floats


class AlreadyDecided(CloudError):
    """Somebody decided on the version before; the message says who, and what."""


class Registry:
    """The models of one stack."""

    def __init__(self, dynamodb: DynamoDBClient, table: str) -> None:
        self._dynamodb, self.table = dynamodb, table

    def register(
        self, model: str, run_id: str, *, dataset: str, sha256: str, parameters: Mapping[str, Any],
        metrics: Mapping[str, Metric], backbone: str = "", by: str = "",
    ) -> Version:  # fmt: skip
        """Make a run a candidate of a model and return it; one that is registered already is returned as it is."""
        if known := self.of_run(check_model(model), run_id):
            return known
        counted = self._update(model, "count", "ADD #newest :one", {":one": 1})
        self._put(_MODELS, model, {}, "")
        version: Version = {
            "model": model, "number": int(counted["newest"]), "run_id": run_id, "status": Status.CANDIDATE,
            "dataset": dataset, "sha256": sha256, "parameters": dict(parameters), "backbone": backbone,
            "metrics": dict(metrics), "by": by, "created": time.time(), "asked_at": 0.0, "decided": None,
            "promoted_at": 0.0,
        }  # fmt: skip
        self._put(_key(model), f"version#{run_id}", version, "attribute_not_exists(run_id)")
        return self.held(model, run_id)  # another's, if that was quicker; then a number is left out

    def find(self, model: str, version: str | int) -> Version | None:
        """Return a version by its run or its number; None if there is none."""
        if isinstance(version, int) or version.isdigit():
            return next((one for one in self.versions(model) if one["number"] == int(version)), None) or (
                self.of_run(model, version) if isinstance(version, str) else None
            )
        return self.of_run(model, version)

    def of_run(self, model: str, run_id: str) -> Version | None:
        """Return the version that a run became, None if it became none: a run may be called 7, as may a number."""
        key = pack({"run_id": _key(model), "item": f"version#{run_id}"})
        answer = self._dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        return _version(unpack(answer["Item"])) if "Item" in answer else None

    def held(self, model: str, run_id: str) -> Version:
        """Return the version that a run became. Raises CloudError if it became none."""
        found = self.of_run(model, run_id)
        if found is None:
            raise CloudError(f"run {run_id} is no version of {model}")
        return found

    def get(self, model: str, version: str | int) -> Version:
        """Return a version by its run or its number. Raises InvalidInput if there is none."""
        found = self.find(model, version)
        if found is None:
            hint = "snn models list shows what there is"
            raise InvalidInput(f"the model {model} has no version {version}", field="version", hint=hint)
        return found

    def versions(self, model: str) -> list[Version]:
        """Return all versions of a model, the newest first."""
        found = [_version(item) for item in self._query(_key(model), "version#")]
        return sorted(found, key=lambda one: -one["number"])

    def models(self) -> list[str]:
        """Return the names of all models."""
        return [str(item["item"]) for item in self._query(_MODELS, "")]

    def decide(self, model: str, version: str | int, status: Status, by: str, reason: str = "") -> Version:
        """Approve or reject a candidate, and return it. The same decision again changes nothing.

        A candidate that is rejected on trial answers nothing any more.
        Raises AlreadyDecided if it was decided otherwise before.
        """
        run_id = self.get(model, version)["run_id"]
        decided: Decided = {"status": status, "by": by, "at": time.time(), "reason": one_line(reason)}
        self._try_update(
            _key(model), f"version#{run_id}", "SET #status = :new, #decided = :decided", "#status = :candidate",
            {":new": str(status), ":decided": json.dumps(decided), ":candidate": str(Status.CANDIDATE)},
        )  # fmt: skip
        found = self.held(model, run_id)
        told = found["decided"]
        who = f" by {told['by']}" if told and told["by"] else ""
        if found["status"] != status:
            raise AlreadyDecided(f"version {found['number']} of {model} is {found['status']}{who}")
        if found["status"] == Status.REJECTED:
            trial = self.trial(model)
            if trial and not trial["ended"] and trial["run_id"] == run_id:
                self.end_trial(model, trial["id"], "withdrawn", f"it was rejected{who}")
        return found

    def crowned(self, model: str, run_id: str) -> None:
        """Note who is champion, for events and checks: what serves is the object in S3, whatever stands here."""
        self._try_update(
            _key(model), "champion", "SET #run = :run", "attribute_not_exists(#run) OR #run <> :run", {":run": run_id}
        )

    def ask(self, model: str, run_id: str) -> bool:
        """Note that people are asked about a version from now on; False, changing nothing, if they were before."""
        return self._try_update(
            _key(model), f"version#{run_id}", "SET #asked_at = :at",
            "attribute_exists(run_id) AND (attribute_not_exists(#asked_at) OR #asked_at = :never)",
            {":at": repr(time.time()), ":never": "0.0"},
        )  # fmt: skip

    def champion(self, model: str) -> str:
        """Return the run that was noted last as the champion, "" if none was."""
        answer = self._dynamodb.get_item(TableName=self.table, Key=pack({"run_id": _key(model), "item": "champion"}))
        return str(unpack(answer["Item"])["run"]) if "Item" in answer else ""

    def promoted(self, model: str, run_id: str, at: float) -> None:
        """Note that a version is, or was, the champion."""
        self._try_update(
            _key(model), f"version#{run_id}", "SET #promoted_at = :at",
            "attribute_exists(run_id) AND #promoted_at = :never", {":at": repr(at), ":never": "0.0"},
        )  # fmt: skip

    def trial(self, model: str) -> Trial | None:
        """Return the newest trial of a model, None if there was none."""
        key = pack({"run_id": _key(model), "item": "trial"})
        answer = self._dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        return _trial(unpack(answer["Item"])) if "Item" in answer else None

    def begin_trial(
        self, model: str, version: str | int, kind: str, share: float = 1.0, rule: Mapping[str, float] | None = None,
        by: str = "",
    ) -> Trial:  # fmt: skip
        """Put a version on trial, in place of another one. Raises InvalidInput, naming the field."""
        found = self.get(model, version)
        if found["status"] == Status.REJECTED:
            raise InvalidInput(f"version {found['number']} of {model} was rejected", field="version")
        if kind not in ("canary", "shadow"):
            raise InvalidInput(f"{kind!r} is no trial", field="kind", hint="use canary or shadow")
        if not 0 < share <= 1:
            raise InvalidInput(f"is {share!r}", field="share", hint="give a share of the requests, such as 0.1")
        trial: Trial = {
            "id": uuid4().hex, "kind": kind, "run_id": found["run_id"], "number": found["number"], "share": share,
            "rule": rule_of(rule or {}), "by": by, "since": time.time(), "ended": "", "reason": "",
        }  # fmt: skip
        for run_id in self.served(model):  # counters begin with the trial
            self._dynamodb.delete_item(
                TableName=self.table, Key=pack({"run_id": _key(model), "item": f"served#{run_id}"})
            )
        self._put(_key(model), "trial", trial, "")
        return trial

    def end_trial(self, model: str, trial_id: str, ended: str, reason: str) -> bool:
        """End a trial; return False, changing nothing, if it has ended or another one has begun."""
        return self._try_update(
            _key(model), "trial", "SET #ended = :ended, #reason = :reason", "#id = :id AND #ended = :no",
            {":ended": ended, ":reason": one_line(reason), ":id": trial_id, ":no": ""},
        )  # fmt: skip

    def has_drifted(self, model: str, run_id: str) -> bool:
        """Return whether the last check found that what a version is asked has drifted."""
        key = pack({"run_id": _key(model), "item": f"drift#{run_id}"})
        answer = self._dynamodb.get_item(TableName=self.table, Key=key, ConsistentRead=True)
        return "Item" in answer and bool(unpack(answer["Item"])["drifted"])

    def count(self, model: str, run_id: str, served: Mapping[str, int]) -> Served:
        """Add to what a version was asked; return it all."""
        names = [name for name in COUNTERS if served.get(name)]
        change = "ADD " + ", ".join(f"#{name} :{name}" for name in names)
        return _served(self._update(model, f"served#{run_id}", change, {f":{name}": served[name] for name in names}))

    def served(self, model: str) -> dict[str, Served]:
        """Return what each version was asked, by its run, since the last trial began."""
        found = self._query(_key(model), "served#")
        return {str(item["item"]).removeprefix("served#"): _served(item) for item in found}

    def spend(self, day: str, nano_usd: int) -> int:
        """Add what the endpoint cost to a day (2026-12-01); return what that day has cost, in billionths of a USD."""
        values = pack({":usd": nano_usd})
        answer = self._dynamodb.update_item(
            TableName=self.table, Key=pack({"run_id": _ENDPOINT, "item": f"spend#{day}"}),
            UpdateExpression="ADD nano_usd :usd", ExpressionAttributeValues=values, ReturnValues="ALL_NEW",
        )  # fmt: skip
        return int(unpack(answer["Attributes"])["nano_usd"])

    def _query(self, key: str, begins: str) -> Iterator[dict[str, Any]]:
        values = {":key": key, **({":begins": begins} if begins else {})}
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self.table,
            ConsistentRead=True,
            KeyConditionExpression="run_id = :key" + (" AND begins_with(#item, :begins)" if begins else ""),
            ExpressionAttributeValues=pack(values),
            **({"ExpressionAttributeNames": {"#item": "item"}} if begins else {}),  # type: ignore[arg-type]
        )
        return (unpack(item) for page in pages for item in page["Items"])

    def _put(self, key: str, item: str, content: Mapping[str, Any], condition: str) -> bool:
        plain = {name: json.dumps(value) if name in _JSON else value for name, value in content.items()}
        # A run's own items call the run `run_id`; here that is the model's key, and the run goes by another name.
        plain = {("run" if name == "run_id" else name): value for name, value in plain.items()}
        asked: dict[str, Any] = {"ConditionExpression": condition} if condition else {}
        try:
            self._dynamodb.put_item(TableName=self.table, Item=pack({**plain, "run_id": key, "item": item}), **asked)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def _update(self, model: str, item: str, change: str, values: Mapping[str, Any]) -> dict[str, Any]:
        answer = self._dynamodb.update_item(
            TableName=self.table, Key=pack({"run_id": _key(model), "item": item}), UpdateExpression=change,
            ExpressionAttributeNames=_names(change), ExpressionAttributeValues=pack(values), ReturnValues="ALL_NEW",
        )  # fmt: skip
        return unpack(answer["Attributes"])

    def _try_update(self, key: str, item: str, change: str, condition: str, values: Mapping[str, Any]) -> bool:
        try:
            self._dynamodb.update_item(
                TableName=self.table, Key=pack({"run_id": key, "item": item}), UpdateExpression=change,
                ConditionExpression=condition, ExpressionAttributeNames=_names(f"{change} {condition}"),
                ExpressionAttributeValues=pack(values),
            )  # fmt: skip
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            return False
        return True


def shown_status(version: Version, champion: str) -> Status:
    """Return where a version stands, given the run of the champion."""
    if version["run_id"] == champion:
        return Status.CHAMPION
    if version["promoted_at"] and version["status"] != Status.REJECTED:
        return Status.RETIRED
    return Status(version["status"])


def _key(model: str) -> str:
    return f"model#{model}"


def _names(text: str) -> dict[str, str]:
    return {placeholder: placeholder[1:] for placeholder in re.findall(r"#\w+", text)}


def _plain(item: Mapping[str, Any]) -> dict[str, Any]:
    said = {name: json.loads(value) if name in _JSON else value for name, value in item.items()}
    return {**said, "run_id": said["run"]}


def _version(item: Mapping[str, Any]) -> Version:
    said = _plain(item)
    return {
        "model": said["model"], "number": int(said["number"]), "run_id": said["run_id"], "status": said["status"],
        "dataset": said["dataset"], "sha256": said["sha256"], "parameters": said["parameters"],
        "backbone": said["backbone"], "metrics": said["metrics"], "by": said["by"], "created": float(said["created"]),
        "asked_at": float(said.get("asked_at", 0.0)), "decided": said["decided"],
        "promoted_at": float(said["promoted_at"]),
    }  # fmt: skip


def _trial(item: Mapping[str, Any]) -> Trial:
    said = _plain(item)
    return {
        "id": said["id"], "kind": said["kind"], "run_id": said["run_id"], "number": int(said["number"]),
        "share": float(said["share"]), "rule": said["rule"], "by": said["by"], "since": float(said["since"]),
        "ended": said["ended"], "reason": said["reason"],
    }  # fmt: skip


def _served(item: Mapping[str, Any]) -> Served:
    told = {name: int(item.get(name, 0)) for name in COUNTERS}
    return {
        "requests": told["requests"], "samples": told["samples"], "errors": told["errors"],
        "milliseconds": told["milliseconds"], "compared": told["compared"], "disagreed": told["disagreed"],
    }  # fmt: skip
