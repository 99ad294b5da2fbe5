"""Batches: a version's answers to many photos or rows, computed in parts by PredictLambdas.

    predictions/<batch_id>/plan.json           what is answered, with which version; written first
    predictions/<batch_id>/parts/000001.jsonl  answers, as PredictLambda has stored them
    predictions/<batch_id>/result.<format>     all answers, in order
    predictions/<batch_id>/manifest.json       what became of it; written last

The same call again goes on where it was stopped, and does nothing at all once the manifest is there.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any

from snn.errors import InvalidInput
from snn_client.data.addresses import address_of
from snn_client.data.fetching import fetch
from snn_client.data.options import Logged, Progress
from snn_client.data.staging import read_source
from snn_client.models.champion import find_champion
from snn_client.models.versions import register, registry_of
from snn_client.reports.predicting import model_of
from snn_client.serving import batch_results
from snn_client.serving.asking import VersionLabel
from snn_client.serving.batch_contents import AT_ONCE, FORMATS, MAX_AT_ONCE, Estimate, Format, Manifest, Plan
from snn_client.serving.batch_cost import estimate
from snn_client.serving.batch_inputs import Source, SourceChanged, Survey, check_kind
from snn_client.serving.batch_parts import Parts
from snn_client.serving.batch_photos import PhotosInFolder, PhotosInS3
from snn_client.serving.batch_rows import Rows
from snn_client.stack.outputs import StackOutputs
from snn_client.tables.files import ENDINGS, is_table
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.registry.record import DEFAULT_MODEL, check_model
from snn_data.model import Model


@dataclass(frozen=True)
class Batch:
    """A batch that was looked at: what is to be answered, by which version, and what that will take."""

    plan: Plan
    source: Source
    survey: Survey
    model: Model
    estimate: Estimate


def batch_predict(
    clients: Clients, outputs: StackOutputs, source: str | Path, *, model: str = DEFAULT_MODEL,
    version: str | int = "", kind: Format = "jsonl", out: Path | None = None, batch_id: str = "",
    max_usd: float | None = None, at_once: int = AT_ONCE, progress: Progress | None = None, over: Event | None = None,
) -> Manifest:  # fmt: skip
    """Have all inputs of a source answered by a version of a model, the champion unless one is named; return what
    became of it.

    `source` is an `s3://` prefix that ends in "/", a folder of photos, or a table. `kind` is the format of the result,
    which also goes to the path `out`. Without a `batch_id` it is one that stands for the source as it is and the
    version. Setting `over` stops it.

    Raises InvalidInput for a source, a version or an option that cannot be used, InvalidParameters before `max_usd` is
    exceeded, SourceChanged, Stopped, and CloudError for a part that failed three times. What is answered by then stays,
    and the same call goes on with the rest.
    """
    _check(outputs, kind, max_usd, at_once)
    told = progress or Logged()
    with looked_at(clients, outputs, source, model, version, batch_id, at_once) as batch:
        plan, survey = batch.plan, batch.survey
        done = _manifest(clients, outputs.bucket, plan, kind)
        if done is not None and out is None:
            told.note(f"batch {plan['batch_id']} is done already")
            return done
        _write_json(clients, outputs.bucket, places.batch_plan(plan["batch_id"]), plan)
        expected = batch.estimate["usd"] / survey.parts
        parts = Parts(clients, outputs, plan, at_once, max_usd, expected, over or Event())
        if known := parts.look():
            told.note(f"batch {plan['batch_id']} goes on: {known:,} of about {survey.parts:,} parts are answered")
        found = []
        try:
            inputs = 0
            with closing(parts.answer(batch.source.parts())) as answered:
                for part in answered:
                    found.append(part)
                    inputs += part.inputs
                    told.at("answering", inputs, survey.inputs)
        finally:
            if vars(parts.wasted) != plan["wasted"]:
                plan = {**plan, "wasted": vars(parts.wasted)}
                _write_json(clients, outputs.bucket, places.batch_plan(plan["batch_id"]), plan)
        if inputs != survey.inputs:
            raise SourceChanged(f"{plan['source']} had {survey.inputs:,} inputs when it was listed, now {inputs:,}")
        with tempfile.TemporaryDirectory(prefix="snn-batch-") as folder:
            written = batch_results.write(
                clients, outputs.bucket, plan["batch_id"], found, batch.model, kind, Path(folder),
                lambda count: told.at("writing", count, inputs),
            )  # fmt: skip
            result, errors = batch_results.store(clients, outputs.bucket, plan["batch_id"], written)
            if out is not None:
                batch_results.keep_here(written, out)
        manifest: Manifest = {
            "batch_id": plan["batch_id"], "model": plan["model"], "source": plan["source"],
            "source_digest": plan["source_digest"], "kind": plan["kind"], "inputs": inputs,
            "answered": written.answered, "bad": written.bad, "parts": len(found),
            "computed": sum(part.computed for part in found), "format": kind, "result": result, "errors": errors,
            "cost": parts.cost, "estimate_usd": batch.estimate["usd"], "started": plan["started"], "ended": time.time(),
        }  # fmt: skip
        _write_json(clients, outputs.bucket, places.batch_manifest(plan["batch_id"]), manifest)
        return manifest


def estimate_batch(
    clients: Clients, outputs: StackOutputs, source: str | Path, *, model: str = DEFAULT_MODEL,
    version: str | int = "", at_once: int = AT_ONCE,
) -> Estimate:  # fmt: skip
    """Return what a batch will take and cost; nothing is asked of a PredictLambda, and nothing is stored."""
    _check(outputs, "jsonl", None, at_once)
    with looked_at(clients, outputs, source, model, version, "", at_once) as batch:
        return batch.estimate


@contextmanager
def looked_at(
    clients: Clients, outputs: StackOutputs, source: str | Path, model: str, version: str | int, batch_id: str,
    at_once: int,
) -> Iterator[Batch]:  # fmt: skip
    """Look at a source and a version; a table in S3 is here meanwhile.

    Raises InvalidInput for what cannot be used, and if a batch of this id was begun with another source or version.
    """
    before = _plan(clients, outputs.bucket, batch_id) if batch_id else None
    if before is not None and not version:
        version = before["model"]["run_id"]  # whoever has become champion meanwhile
    label = version_of(clients, outputs, model, version)
    loaded = model_of(clients, outputs.bucket, label["run_id"])
    with tempfile.TemporaryDirectory(prefix="snn-batch-") as folder:
        opened = _source(clients, outputs.bucket, source, loaded, Path(folder) / "source")
        survey = opened.survey()
        digest = sha256(json.dumps([str(source), survey.digest, label["run_id"]]).encode()).hexdigest()
        plan: Plan = {
            "batch_id": batch_id or f"{_readable(source)}-{digest[:12]}", "model": label, "source": str(source),
            "source_digest": survey.digest, "kind": opened.kind, "inputs": survey.inputs, "started": time.time(),
            "wasted": {},
        }  # fmt: skip
        if before := _plan(clients, outputs.bucket, plan["batch_id"]):
            _check_same(before, plan)
            plan = {**plan, "started": before["started"], "wasted": before["wasted"]}
        yield Batch(plan, opened, survey, loaded, estimate(survey, opened.kind, loaded, outputs, at_once))


def version_of(clients: Clients, outputs: StackOutputs, model: str, version: str | int = "") -> VersionLabel:
    """Return a version of a model by its number or its run; the champion if none is named.

    A champion that nobody has registered yet is registered. Raises InvalidInput if there is none.
    """
    registry = registry_of(clients, outputs)
    if not version:
        held = find_champion(clients, outputs.bucket, check_model(model))
        if held is None:
            raise InvalidInput(
                f"the model {model} has no champion", field="model", hint="snn models promote, or name a version"
            )
        if not held.run_id:
            raise InvalidInput("its champion does not say which run trained it", field="model", hint="name a version")
        found = registry.find(model, held.run_id) or register(clients, outputs, held.run_id, model)
    else:
        found = registry.get(check_model(model), version)
    return {"name": model, "version": found["number"], "run_id": found["run_id"]}


def _source(clients: Clients, bucket: str, source: str | Path, model: Model, folder: Path) -> Source:
    """Open a source. Raises InvalidInput for what is none, or not what the model reads."""
    address = address_of(source)
    name = address.key if address else str(source)
    is_prefix = address is not None and (not address.key or address.key.endswith("/"))
    if is_table(name) and not is_prefix and not (address is None and Path(source).is_dir()):
        check_kind(model, "rows", str(source))
        path = Path(source) if address is None else fetch(clients.s3, str(source), folder, Logged())
        return Rows(path, model, name.rpartition("/")[2] if address else str(source))
    if not is_prefix and not (address is None and Path(source).is_dir()):
        if address is None and not Path(source).exists():
            raise InvalidInput("no such file or folder", source=str(source), hint="check the path")
        hint = f"give a folder, an s3:// prefix that ends in /, or a table ({', '.join(ENDINGS)})"
        raise InvalidInput("is neither photos nor a table", source=str(source), hint=hint)
    check_kind(model, "photos", str(source))
    if address is not None:
        return PhotosInS3(clients, bucket, address)
    return PhotosInFolder(clients, bucket, Path(source))


def _check(outputs: StackOutputs, kind: str, max_usd: float | None, at_once: int) -> None:
    if not outputs.predict_function:
        hint = "deploy it with one: snn deploy --endpoint iam"
        raise InvalidInput(f"the stack {outputs.stack_name} has no PredictLambda", field="endpoint", hint=hint)
    if kind not in FORMATS:
        raise InvalidInput(f"{kind!r} is no format of a result", field="format", hint=f"use {', '.join(FORMATS)}")
    if max_usd is not None and not 0 < max_usd < float("inf"):
        raise InvalidInput(f"is {max_usd!r}", field="max_usd", hint="give a number of USD above 0")
    if not 1 <= at_once <= MAX_AT_ONCE:
        raise InvalidInput(f"is {at_once!r}", field="at_once", hint=f"give 1 to {MAX_AT_ONCE}")


def _check_same(before: Plan, now: Plan) -> None:
    """Raise InvalidInput if a batch was begun with something else."""
    batch_id = now["batch_id"]
    if before["model"]["run_id"] != now["model"]["run_id"] or before["model"]["name"] != now["model"]["name"]:
        was = f"version {before['model']['version']} of {before['model']['name']}"
        raise InvalidInput(f"{batch_id} was begun with {was}", field="batch_id", hint="name that one, or another id")
    if before["source_digest"] != now["source_digest"]:
        raise InvalidInput(
            f"the source has changed since the batch {batch_id} began", source=now["source"],
            hint="give another batch_id, or leave it out: then a changed source is another batch",
        )  # fmt: skip


def _plan(clients: Clients, bucket: str, batch_id: str) -> Plan | None:
    found: Plan | None = _json(clients, bucket, places.batch_plan(batch_id))
    return found


def _manifest(clients: Clients, bucket: str, plan: Plan, kind: Format) -> Manifest | None:
    """Return the manifest of a batch that is done, None if it is not, or not in this format."""
    found: Manifest | None = _json(clients, bucket, places.batch_manifest(plan["batch_id"]))
    return found if found is not None and found["format"] == kind else None


def _json(clients: Clients, bucket: str, key: str) -> Any:
    try:
        return json.loads(read_source(clients.s3, f"s3://{bucket}/{key}"))
    except InvalidInput as problem:
        if problem.problem == "no such object in S3":
            return None
        raise
    except ValueError:
        raise CloudError(f"s3://{bucket}/{key} is not JSON (delete it, and start again)") from None


def _write_json(clients: Clients, bucket: str, key: str, content: Any) -> None:
    body = json.dumps(content, indent=2).encode()
    clients.s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/json")


def _readable(source: str | Path) -> str:
    """Return what of a source's name may stand in an id."""
    name = str(source).rstrip("/").rpartition("/")[2]
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "batch"
