"""Where a run keeps its files in the stack's bucket."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from snn.errors import InvalidInput

UPLOAD_PREFIX = "training_input/"
# Beside it, not below: S3 gives one upload to one listener, and the other prefix belongs to LaunchLambda.
RETRAINING_PREFIX = "retraining_input/"
PROMOTED_RESULTS = "training_results/results.json"
PROMOTED_PARAMS = "predict_input/params.h5"
PREVIOUS_RESULTS = "predict_input/previous/results.json"
PREVIOUS_PARAMS = "predict_input/previous/params.h5"
MODELS = "models/"


class ChampionPlaces(NamedTuple):
    """The keys of a model's champion and its results, and those of the one before it."""

    params: str
    results: str
    previous_params: str
    previous_results: str


def champion(model: str = "default") -> ChampionPlaces:
    """Return where a model's champion lies: the default model's in itsacat's places, others' below models/."""
    if model == "default":
        return ChampionPlaces(PROMOTED_PARAMS, PROMOTED_RESULTS, PREVIOUS_PARAMS, PREVIOUS_RESULTS)
    now, before = f"{MODELS}{model}/champion/", f"{MODELS}{model}/previous/"
    return ChampionPlaces(f"{now}params.h5", f"{now}results.json", f"{before}params.h5", f"{before}results.json")


_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_INPUT = re.compile(rf"runs/{_RUN_ID.pattern}/input/(?:datasets-(?P<digest>[0-9a-f]{{12}})\.h5|.+)")


def check_run_id(run_id: str) -> str:
    """Return `run_id`. Raises InvalidInput unless it is one; nobody else's key can be spelled with it."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise InvalidInput(
            f"{run_id!r} is not a run id", field="run_id", hint="use 1 to 63 of a-z, 0-9 and -, not starting with -"
        )
    return run_id


def new_run_id(text: str, longest: int = 46) -> str:
    """Return the run id for a text, always the same: readable where it can be, unique by a hash of the whole.

    `longest` is how many characters the readable part may have.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:longest].strip("-")
    return f"{readable}-{digest}" if readable else digest


def run_of_try(run_id: str, number: int) -> str:
    """Return the run id for a further try at what `run_id` names: `run_id` itself, then `run_id-t2`, …"""
    if number == 1:
        return check_run_id(run_id)
    suffix = f"-t{number}"
    if len(run_id) + len(suffix) > 63:
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:10]
        run_id = f"{run_id[: 63 - 11 - len(suffix)].rstrip('-')}-{digest}"
    return check_run_id(f"{run_id}{suffix}")


def starts_run(key: str) -> bool:
    """Return whether an upload to this key of the stack's bucket starts a run."""
    return key.startswith(UPLOAD_PREFIX) and key.endswith(".h5")


def run_id_for_upload(bucket: str, key: str, version: str) -> str:
    """Return the run id of an uploaded object, the same however often S3 announces that version of it."""
    name = key.removeprefix(UPLOAD_PREFIX).removesuffix(".h5")
    digest = hashlib.sha256(f"{bucket}/{key}?{version}".encode()).hexdigest()[:10]
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-")
    return f"upload-{readable}-{digest}"


def run_prefix(run_id: str) -> str:
    """Return the prefix of all that a run stores."""
    return f"runs/{run_id}/"


def input_dataset(run_id: str, sha256: str) -> str:
    """Return the key of a staged data set, named by its contents."""
    return f"runs/{run_id}/input/datasets-{sha256[:12]}.h5"


def may_be_dataset(key: str) -> bool:
    """Return whether data sets are kept where the key points: in the input of any run, or among the uploads."""
    return bool(_INPUT.fullmatch(key)) or (key.startswith(UPLOAD_PREFIX) and key != UPLOAD_PREFIX)


def is_same_dataset(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Return whether two (key, version) are known to hold the same: by the hash in their names, or the object."""
    digests = [named["digest"] if (named := _INPUT.fullmatch(key)) else None for key, _ in (one, other)]
    return one == other or (digests[0] is not None and digests[0] == digests[1])


def input_parameters(run_id: str) -> str:
    """Return the key of the staged parameters."""
    return f"runs/{run_id}/input/parameters.json"


def input_image(run_id: str, index: int, name: str) -> str:
    """Return the key of a staged image to classify."""
    return f"runs/{run_id}/input/images/{index:04d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[-80:]}"


def input_images(run_id: str, sha256: str) -> str:
    """Return the key of a long list of staged images, named by its contents."""
    return f"runs/{run_id}/input/images-{sha256[:12]}.json"


def input_photos(run_id: str) -> str:
    """Return the key of what names the photos whose features a run, or a sweep, learns from."""
    return f"runs/{run_id}/input/photos.json"


def sweep_plan(sweep_id: str, rung: int = 1) -> str:
    """Return the key of what a sweep trains, run by run, or what one of its later rungs does."""
    return f"runs/{sweep_id}/input/plan{'' if rung == 1 else f'-{rung}'}.json"


def checkpoint(run_id: str) -> str:
    """Return the key of the state a run continues from."""
    return f"runs/{run_id}/checkpoint.h5"


def kept_epochs(run_id: str, first: int, last: int, stride: int) -> str:
    """Return the key of the kept epochs from `first` to `last`, between which is every stride-th of the grid."""
    return f"{kept_epochs_of(run_id)}{first:08d}-{last:08d}-{stride}.h5"


def kept_range(key: str) -> tuple[int, int, int] | None:
    """Return (first, last, stride) of a key of kept epochs, or None for another."""
    found = re.search(r"/epochs/(\d{8})-(\d{8})-(\d{1,8})\.h5$", key)
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def kept_epochs_of(run_id: str) -> str:
    """Return the prefix of all kept epochs of a run."""
    return f"runs/{run_id}/epochs/"


def params(run_id: str) -> str:
    """Return the key of the trained model."""
    return f"runs/{run_id}/params.h5"


def results(run_id: str) -> str:
    """Return the key of the costs, in itsacat's form."""
    return f"runs/{run_id}/results.json"


def model_card(run_id: str) -> str:
    """Return the key of a run's model card."""
    return f"runs/{check_run_id(run_id)}/report/model_card.md"


def report_json(run_id: str) -> str:
    """Return the key of the report for machines."""
    return f"runs/{run_id}/report/report.json"


def report_html(run_id: str) -> str:
    """Return the key of the report for people."""
    return f"runs/{run_id}/report/report.html"


def model_onnx(run_id: str) -> str:
    """Return the key of a run's model as an ONNX file, of one with a backbone the head alone."""
    return f"runs/{check_run_id(run_id)}/report/model.onnx"


def drift_reference(run_id: str) -> str:
    """Return the key of what a run's data were like, by which what its model is asked is compared with them."""
    return f"runs/{run_id}/report/reference.json"


def new_images(run_id: str, sha256: str) -> str:
    """Return the key of a long list of what a run's model predicts for photos, named by its contents."""
    return f"runs/{run_id}/report/new_images-{sha256[:12]}.json"


def sweep_svg(sweep_id: str) -> str:
    """Return the key of a sweep's table as a plot."""
    return sweep_json(sweep_id).removesuffix("json") + "svg"


def sweep_json(sweep_id: str) -> str:
    """Return the key of the table of a sweep."""
    return f"runs/{sweep_id}/report/sweep.json"


BACKBONES = "backbones/"
FEATURES = "features/"
"""Features of photos that were computed once; the bucket lets them expire."""

PHOTOS = "photos/"
"""Photos too large to travel with an invocation; the bucket lets them expire after a day."""


def backbone(name: str) -> str:
    """Return the key of what names a backbone (`BackboneReference`)."""
    return f"{BACKBONES}{name}.json"


def backbone_model(sha256: str) -> str:
    """Return the key of a backbone's ONNX file."""
    return f"{BACKBONES}{sha256}.onnx"


def features_of(digest: str, mirrored: bool | None = None) -> str:
    """Return the prefix of all features that a backbone of this digest has computed, or of photos or mirror images."""
    half = "" if mirrored is None else "mirrored/" if mirrored else "plain/"
    return f"{FEATURES}{digest}/{half}"


def photo(sha256: str) -> str:
    """Return the key of a photo that a FeatureLambda reads."""
    return f"{PHOTOS}{sha256}"


BATCH_INPUT = "batch_input/"
"""Photos of a batch that PredictLambdas read for themselves; what lies elsewhere is read by whoever asks."""


def batch(batch_id: str) -> str:
    """Return the prefix of all that a batch of predictions stores. Raises InvalidInput if `batch_id` is none."""
    if not isinstance(batch_id, str) or not _RUN_ID.fullmatch(batch_id):
        hint = "use 1 to 63 of a-z, 0-9 and -, not starting with -"
        raise InvalidInput(f"{batch_id!r} is not the id of a batch", field="batch_id", hint=hint)
    return f"predictions/{batch_id}/"


def batch_part(batch_id: str, number: int) -> str:
    """Return the key of the answers of a part of a batch; parts are numbered from 1."""
    return f"{batch_parts(batch_id)}{number:06d}.jsonl"


def batch_parts(batch_id: str) -> str:
    """Return the prefix of all parts of a batch."""
    return f"{batch(batch_id)}parts/"


def batch_plan(batch_id: str) -> str:
    """Return the key of what a batch is made of."""
    return f"{batch(batch_id)}plan.json"


def batch_manifest(batch_id: str) -> str:
    """Return the key of what is told of a batch once it is done."""
    return f"{batch(batch_id)}manifest.json"


def batch_result(batch_id: str, name: str) -> str:
    """Return the key of one of the files that a batch ends in, such as result.csv or bad.csv."""
    return f"{batch(batch_id)}{name}"
