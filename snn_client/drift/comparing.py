"""New data beside those that the champion, a run or a file has: read, compared, told."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from snn.batches import Samples
from snn.errors import InvalidInput
from snn_client.data.options import Logged, Options, Progress
from snn_client.data.sources import prepare
from snn_client.models.champion import find_champion
from snn_client.runs.lists import LIMIT, longest, size
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_data.dataset import Dataset, load_dataset
from snn_data.drift.features import FEW
from snn_data.drift.reference import Reference
from snn_data.drift.report import ALPHA, DriftReport, compare, schema_findings
from snn_data.drift.samples import digests, fresh, independent
from snn_data.drift.schema import Schema

if TYPE_CHECKING:
    from snn_client.stack.outputs import StackOutputs

CHAMPION = "champion"


Outcome = Literal["compared", "no champion", "unreadable", "nothing new"]


class Drift(DriftReport):
    """A report, of which data it is, and what they were compared with.

    The `outcome` is "compared", or why nothing was: there is no champion, nobody can read its data any more, or all
    samples are among them. The `reason` says that in a sentence; it is empty where they were compared.
    """

    data: str
    against: str
    outcome: Outcome
    reason: str


class Before(NamedTuple):
    """Where data to compare with are; "" and a `reason` if there are none that anybody knows of."""

    source: str
    outcome: Outcome = "compared"
    reason: str = ""


class _Known(NamedTuple):
    """What is kept of the data to compare with: the reference, and which samples they were."""

    reference: Reference
    samples: Counter[bytes]


def compare_data(new: Dataset, champion: Dataset, alpha: float = ALPHA) -> DriftReport:
    """Compare the training part of new data with that of the champion's.

    Photos that are in the champion's data already, byte for byte, are left out, or the features of such photos: data to
    retrain on often hold the former ones. Raises InvalidInput as `snn_data.drift.report.compare` does.
    """
    return _compared(new, _known(champion), alpha)


def find_drift(
    clients: Clients,
    outputs: StackOutputs | None,
    data: str | Path,
    against: str = CHAMPION,
    *,
    alpha: float = ALPHA,
    progress: Progress | None = None,
) -> Drift:
    """Compare data at a path or an `s3://` address with the champion's, with those of a run, or with others.

    `against` is "champion", a run, or another path or address. Both may be all that `sources.prepare` takes; what is no
    `datasets.h5` is made one as it is by default. Without `outputs` there is neither champion nor run.
    Where there is no champion yet, or nobody can read its data any more, nothing is compared; the `reason` says so.
    Raises InvalidInput for what was named and cannot be read.
    """
    progress = progress or Logged()
    told = str(data)
    before = data_of(clients, outputs, against)
    if before.reason:
        return _nothing(told, before, alpha)
    try:
        known = _known(_load(clients, before.source, progress))
    except InvalidInput as problem:
        if against != CHAMPION:
            raise
        reason = f"the data that the champion was trained on cannot be read any more: {problem}"
        return _nothing(told, Before(before.source, "unreadable", reason), alpha)
    report = _compared(_load(clients, told, progress), known, alpha)
    outcome: Outcome = "compared" if report["tests"] or report["findings"] else "nothing new"
    reason = "" if outcome == "compared" else "; ".join(report["notes"])
    return {**report, "data": told, "against": before.source, "outcome": outcome, "reason": reason}


def data_of(clients: Clients, outputs: StackOutputs | None, against: str) -> Before:
    """Return where the data are that a champion, a run or a path stands for. Raises InvalidInput, RunNotFound."""
    if not is_name(against):
        return Before(against)
    if outputs is None:
        hint = "name a file, or where there is a stack"
        raise InvalidInput(f"{against} is neither a file nor an address", field="against", hint=hint)
    ledger = Ledger(clients.dynamodb, outputs.table)
    if against != CHAMPION:
        run = ledger.get(against)
        if not run.dataset:
            raise InvalidInput("does not say what it was trained on", field="against", source=f"run {against}")
        return Before(_address(outputs.bucket, run.dataset, run.dataset_version))
    champion = find_champion(clients, outputs.bucket)
    if champion is None:
        return Before("", "no champion", "there is no champion yet whose data these could be compared with")
    key, version = str(champion.attributes.get("dataset", "")), ""
    if champion.run_id:
        known = ledger.find(champion.run_id)
        if known is not None and known.dataset:  # the key of an upload may hold other data by now
            key, version = known.dataset, known.dataset_version
    if not key:
        return Before("", "unreadable", "the champion does not say what it was trained on")
    return Before(_address(outputs.bucket, key, version))


def fitting(drift: Drift, limit: int = LIMIT) -> Drift:
    """Return a report that has at most so many bytes as JSON: the tests, then the findings, that weigh least go.

    The notes say how many.
    """
    tests, findings = drift["tests"], drift["findings"]

    def fewer_tests(kept: int) -> Drift:
        return {**drift, "tests": tests[:kept], "notes": [*drift["notes"], _left(kept, len(tests), "tests")]}

    def fewer_findings(kept: int) -> Drift:
        without_tests = fewer_tests(0)
        notes = [*without_tests["notes"], _left(kept, len(findings), "findings")]
        return {**without_tests, "findings": findings[:kept], "notes": notes}

    if size(drift) <= limit:
        return drift
    if size(fewer_tests(0)) <= limit:
        return fewer_tests(longest(len(tests), lambda kept: size(fewer_tests(kept)) <= limit))
    return fewer_findings(longest(len(findings), lambda kept: size(fewer_findings(kept)) <= limit))


def _left(kept: int, given: int, what: str) -> str:
    return f"{given - kept:,} of {given:,} {what}, which weigh least, are left out here"


def _known(dataset: Dataset) -> _Known:
    known = digests(_parts(dataset)) if _are_one(dataset) else Counter[bytes]()
    return _Known(Reference.of(dataset), known)


def _compared(new: Dataset, known: _Known, alpha: float) -> DriftReport:
    """Compare; a report without tests says that there is nothing new."""
    samples, notes = independent(new.train), list[str]()
    places = fresh(samples, known.samples) if known.samples and _are_one(new) else np.arange(len(samples))
    left = len(samples) - len(places)
    if not len(places):
        notes = [f"all {left:,} samples are in the former data: there is nothing new"]
        findings = schema_findings(known.reference.schema, Schema.of(new))
        return {
            "drifted": bool(findings), "alpha": alpha, "reference": 0, "new": 0, "tests": [], "findings": findings,
            "notes": notes,
        }  # fmt: skip
    if left:
        notes = [f"{left:,} of {len(samples):,} samples are in the former data too and were left out"]
    report = compare(known.reference, known.reference.count(new, samples.part(places)), alpha)
    return {**report, "notes": [*notes, *report["notes"]]}


def _nothing(data: str, before: Before, alpha: float) -> Drift:
    return {
        "drifted": False, "alpha": alpha, "reference": 0, "new": 0, "tests": [], "findings": [], "notes": [],
        "data": data, "against": before.source, "outcome": before.outcome, "reason": before.reason,
    }  # fmt: skip


def _load(clients: Clients, source: str, progress: Progress) -> Dataset:
    with tempfile.TemporaryDirectory(prefix="snn-") as folder:
        return load_dataset(prepare(source, Options(), Path(folder), progress, clients.s3), source)


def _are_one(dataset: Dataset) -> bool:
    """Return whether equal samples are the same one: a photo, or so many numbers; two equal rows of a table are two."""
    return len(dataset.shape) > 1 or (not dataset.columns and dataset.features > FEW)


def _parts(dataset: Dataset) -> list[Samples]:
    return [part for part in (dataset.train, dataset.test, dataset.validation) if part is not None]


def _address(bucket: str, key: str, version: str) -> str:
    return f"s3://{bucket}/{key}" + (f"?versionId={version}" if version else "")


def is_name(text: str) -> bool:
    """Return whether this names a run, or the champion, rather than data."""
    return bool(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", text)) and not Path(text).exists()
