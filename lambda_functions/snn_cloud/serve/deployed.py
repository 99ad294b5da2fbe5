"""Which versions answer: the champion of each model and the candidate on trial, as they are now, loaded."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO

from botocore.exceptions import ClientError

from snn.errors import InvalidInput
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.objects import NOT_ALLOWED, NOT_THERE, read_object
from snn_cloud.registry.record import Trial
from snn_cloud.registry.registry import Registry
from snn_cloud.serve.http import Refused
from snn_cloud.serve.loaded import Loaded
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
KEPT_BACKBONES = 2
MAX_KNOWN_BYTES = 300_000_000
"""Of the file with the features of a model's training photos; with a larger one nobody tells what is unlike them."""


@dataclass
class _Reign:
    """A champion as it was read: by its ETag S3 tells whether it still is."""

    loaded: Loaded | None
    etag: str
    read_at: float


class Deployed:
    """What one environment has loaded. Each read of a champion is one object, whole: there is no half of a model."""

    def __init__(self, clients: Clients, bucket: str, registry: Registry) -> None:
        self._clients, self._bucket, self._registry = clients, bucket, registry
        self._champions: dict[str, _Reign] = {}
        self._trials: dict[str, tuple[float, Trial | None]] = {}
        self._versions: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._backbones: OrderedDict[str, Backbone] = OrderedDict()

    def champion(self, name: str) -> Loaded:
        """Return a model's champion. Raises Refused if there is none."""
        reign = self._champions.get(name)
        if reign is None or time.monotonic() - reign.read_at > FRESH_SECONDS:
            reign = self._read_champion(name, reign)
        if reign.loaded is None:
            raise Refused(503, f"the model {name} has no champion yet (snn models promote)", **{"Retry-After": "5"})
        return reign.loaded

    def version(self, name: str, version: str) -> Loaded:
        """Return a version by its number or its run. Raises Refused."""
        key = (name, version)
        if key not in self._versions:
            found = self._registry.find(name, version)
            if found is None:
                raise Refused(404, f"the model {name} has no version {version}")
            try:
                content = self._read(places.params(found["run_id"]))
                self._versions[key] = self._load(content, name, found["number"], found["run_id"])
            except InvalidInput as problem:
                raise Refused(503, f"version {version} of {name} cannot be loaded: {problem}") from None
            while len(self._versions) > KEPT_MODELS:
                self._versions.popitem(last=False)
        self._versions.move_to_end(key)
        return self._versions[key]

    def trial(self, name: str) -> Trial | None:
        """Return the trial that goes on, None if none does."""
        read_at, trial = self._trials.get(name, (0.0, None))
        if not read_at or time.monotonic() - read_at > FRESH_SECONDS:
            trial = self._registry.trial(name)
            self._trials[name] = (time.monotonic(), trial)
        return trial if trial and not trial["ended"] else None

    def forget_trial(self, name: str) -> None:
        """Look anew at the next request: the trial has ended."""
        self._trials.pop(name, None)

    def _read_champion(self, name: str, known: _Reign | None) -> _Reign:
        now = time.monotonic()
        key = places.champion(name).params
        unless = {"IfNoneMatch": known.etag} if known and known.etag else {}
        try:
            answer = self._clients.s3.get_object(Bucket=self._bucket, Key=key, **unless)  # type: ignore[arg-type]
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("304", "NotModified") and known:
                known.read_at = now
                return known
            if code in NOT_THERE | NOT_ALLOWED:  # who may not list a bucket hears that
                self._champions[name] = _Reign(None, "", now)
                return self._champions[name]
            raise
        content, said = answer["Body"].read(), answer["Metadata"]
        try:
            loaded: Loaded | None = self._load(content, name, int(said.get("number") or 0), said.get("run-id", ""))
        except (InvalidInput, ValueError) as problem:
            print(f"{key} cannot be loaded, so what answered before goes on: {problem}")
            loaded = known.loaded if known else None
        self._champions[name] = _Reign(loaded, answer["ETag"], now)
        return self._champions[name]

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

    def _backbone(self, reference: BackboneReference) -> Backbone:
        if reference.digest not in self._backbones:
            content = self._read(places.backbone_model(reference.sha256), MAX_BYTES)
            backbone = Backbone(content, reference.preprocessing, reference.name)
            if backbone.sha256 != reference.sha256:
                raise InvalidBackbone("its file was replaced", source=reference.name, hint="add the backbone again")
            self._backbones[reference.digest] = backbone
            while len(self._backbones) > KEPT_BACKBONES:
                self._backbones.popitem(last=False)
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
