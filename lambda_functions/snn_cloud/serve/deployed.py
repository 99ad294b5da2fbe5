"""Which versions answer: the champion of each model and the candidate on trial, as they are now, loaded."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError

from snn.errors import InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE, read_object
from snn_cloud.registry.record import DEFAULT_MODEL, Trial
from snn_cloud.registry.registry import Registry
from snn_cloud.registry.seen import read_reference
from snn_cloud.serve.failing import tell
from snn_cloud.serve.http import Refused
from snn_cloud.serve.loaded import Loaded
from snn_cloud.serve.moment import PAUSE_SECONDS, Moment
from snn_cloud.serve.watch import Watch
from snn_data.dataset import load_dataset
from snn_data.familiar import NEIGHBOUR, Familiar, without_mirror_images
from snn_data.hdf5 import MAX_BYTES as MAX_MODEL
from snn_data.model import Model, load_model
from snn_photos.backbone import MAX_BYTES, Backbone
from snn_photos.preprocessing import InvalidBackbone
from snn_photos.reference import BackboneReference

FRESH_SECONDS = 2.0
"""How long what was read is taken for what is: so long after a promotion an environment may still ask the old one."""

KEPT_MODELS = 4
KEPT_NAMES = 8  # of models, whether there is such a one or not: whoever asks may name any
KEPT_BACKBONES = 2
MAX_KNOWN_BYTES = 300_000_000
"""Of the file with the features of a model's training photos; with a larger one nobody tells what is unlike them."""


K = TypeVar("K")
T = TypeVar("T")


@dataclass(frozen=True)
class _Reign:
    """A champion as it was read: by its ETag S3 tells whether it still is. `why` is why nothing is loaded."""

    loaded: Loaded | None
    etag: str = ""
    why: str = ""
    failed: bool = False
    read: Moment = field(default_factory=Moment)

    @property
    def is_fresh(self) -> bool:
        """Return whether it is taken for what is."""
        return self.read.is_within(PAUSE_SECONDS if self.failed else FRESH_SECONDS)


@dataclass(frozen=True)
class _Trying:
    """The trial as it was read."""

    trial: Trial | None
    failed: bool = False
    read: Moment = field(default_factory=Moment)

    @property
    def is_fresh(self) -> bool:
        """Return whether it is taken for what is."""
        return self.read.is_within(PAUSE_SECONDS if self.failed else FRESH_SECONDS)


class Deployed:
    """What one environment has loaded. Each read of a champion is one object, whole: there is no half of a model."""

    def __init__(self, clients: Clients, bucket: str, registry: Registry) -> None:
        self._clients, self._bucket, self._registry = clients, bucket, registry
        self._champions: OrderedDict[str, _Reign] = OrderedDict()
        self._trials: OrderedDict[str, _Trying] = OrderedDict()
        self._versions: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._backbones: OrderedDict[str, Backbone] = OrderedDict()

    def champion(self, name: str) -> Loaded:
        """Return a model's champion. Raises Refused if there is none.

        While S3 does not answer, the one that was read before goes on.
        """
        reign = self._champions.get(name)
        if reign is None or not reign.is_fresh:
            try:
                reign = self._read_champion(name, reign)
            except (BotoCoreError, ClientError) as problem:
                if reign is None or reign.loaded is None:
                    raise
                tell(problem)
                reign = _Reign(reign.loaded, reign.etag, failed=True)
            _keep(self._champions, name, reign, KEPT_NAMES)
        if reign.loaded is None:
            raise _no_champion(name, reign.why)
        return reign.loaded

    def version(self, name: str, version: str) -> Loaded:
        """Return a version by its number or its run. Raises Refused."""
        key = (name, version)
        loaded = self._versions.get(key)
        if loaded is None:
            found = self._registry.find(name, version)
            if found is None:
                raise Refused(404, f"the model {name} has no version {version}")
            try:
                content = self._read(places.params(found["run_id"]))
                if hashlib.sha256(content).hexdigest() != found["sha256"]:
                    raise InvalidInput("is not the file that was registered", source="params.h5")
                loaded = self._load(content, name, found["number"], found["run_id"])
            except InvalidInput as problem:
                raise Refused(503, f"version {version} of {name} cannot be loaded: {problem}") from None
        _keep(self._versions, key, loaded, KEPT_MODELS)
        return loaded

    def trial(self, name: str) -> Trial | None:
        """Return the trial that goes on, None if none does. While DynamoDB does not answer, it is as it was."""
        known = self._trials.get(name)
        if known is None or not known.is_fresh:
            try:
                known = _Trying(self._registry.trial(name))
            except (BotoCoreError, ClientError) as problem:
                tell(problem)
                known = _Trying(known.trial if known else None, failed=True)
            _keep(self._trials, name, known, KEPT_NAMES)
        return known.trial if known.trial and not known.trial["ended"] else None

    def forget_trial(self, name: str) -> None:
        """Look anew at the next request: the trial has ended."""
        self._trials.pop(name, None)

    def _read_champion(self, name: str, known: _Reign | None) -> _Reign:
        key = places.champion(name).params
        unless = {"IfNoneMatch": known.etag} if known and known.etag else {}
        try:
            answer = self._clients.s3.get_object(Bucket=self._bucket, Key=key, **unless)  # type: ignore[arg-type]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("304", "NotModified") and known:
                return _Reign(known.loaded, known.etag, known.why)
            if code in NOT_THERE | NOT_ALLOWED:  # who may not list a bucket hears that
                return _Reign(None)
            raise
        content, said = answer["Body"].read(), answer["Metadata"]
        try:
            number = int(said.get("number") or 0)
            loaded = self._load(content, name, number, said.get("run-id", ""))
            return _Reign(replace(loaded, watch=self._watch(loaded.label["run_id"])), answer["ETag"])
        except (InvalidInput, ValueError) as problem:
            print(f"{key} cannot be loaded, so what answered before goes on: {problem}")
            return _Reign(known.loaded if known else None, answer["ETag"], str(problem))

    def _load(self, content: bytes, name: str, number: int, run_id: str) -> Loaded:
        model = load_model(BytesIO(content), f"{name}/{number or run_id or 'params.h5'}")
        run_id = run_id or str(model.attributes.get("run_id", ""))
        if not number and run_id:  # an upload's run promotes its model itself
            found = self._registry.of_run(name, run_id)
            number = found["number"] if found else 0
        backbone = familiar = None
        if "backbone" in model.attributes:
            reference = BackboneReference.load(model.attributes["backbone"], model.source)
            backbone = self._backbone(reference)
            familiar = self._familiar(model, reference)
        loaded = Loaded({"name": name, "version": number, "run_id": run_id}, model, backbone, familiar)
        loaded.check()
        return loaded

    def _watch(self, run_id: str) -> Watch | None:
        """Return what counts a champion's requests, None if it is not known what it was trained on."""
        try:
            return Watch(read_reference(self._clients, self._bucket, run_id)) if run_id else None
        except InvalidInput as problem:
            print(f"what is asked is not compared with what {run_id} was trained on: {problem}")
            return None

    def store_counts(self, table: str) -> None:
        """Write what the champions were asked, where it is time."""
        for loaded in [reign.loaded for reign in self._champions.values() if reign.loaded]:
            if loaded.watch is not None and loaded.watch.is_due:
                loaded.watch.store(self._clients, table, loaded.label["name"], loaded.label["run_id"])

    def _backbone(self, reference: BackboneReference) -> Backbone:
        if reference.digest not in self._backbones:
            content = self._read(places.backbone_model(reference.sha256), MAX_BYTES)
            backbone = Backbone(content, reference.preprocessing, reference.name)
            if backbone.sha256 != reference.sha256:
                raise InvalidBackbone("its file was replaced", source=reference.name, hint="add the backbone again")
            _keep(self._backbones, reference.digest, backbone, KEPT_BACKBONES)
        return self._backbones[reference.digest]

    def _familiar(self, model: Model, reference: BackboneReference) -> Familiar | None:
        key = str(model.attributes.get("dataset", ""))
        try:
            data = load_dataset(BytesIO(self._read(key, MAX_KNOWN_BYTES)), key, pictures=False)
            if BackboneReference.load(data.backbone, key).digest != reference.digest:
                return None
        except InvalidInput as problem:
            print(f"which photos are unlike the model's cannot be told: {problem}")
            return None
        known = without_mirror_images(data.train)
        return Familiar(known) if len(known) > NEIGHBOUR else None

    def _read(self, key: str, most: int = MAX_MODEL) -> bytes:
        return read_object(self._clients, self._bucket, key, most=most)


def _keep(held: OrderedDict[K, T], key: K, value: T, most: int) -> None:
    """Keep a value as the newest, and no more than `most` of them."""
    held[key] = value
    held.move_to_end(key)
    while len(held) > most:
        held.popitem(last=False)


def _no_champion(name: str, why: str) -> Refused:
    if why:
        return Refused(503, f"the champion of the model {name} cannot be loaded: {why}")
    if name == DEFAULT_MODEL:
        wait = {"Retry-After": "5"}
        return Refused(503, f"the model {name} has no champion yet (snn models promote)", **wait)
    return Refused(404, f"there is no model {name}, or it has no champion yet (snn models promote)")
