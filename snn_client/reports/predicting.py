"""What a run's model says of new photos and of the rows of new tables."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from io import BytesIO, StringIO
from typing import Any, cast

from snn.activations import Array
from snn.errors import InvalidImage, InvalidInput, InvalidModel
from snn_client.data.images import refuse_photos
from snn_client.data.staging import FeaturesBy, StagedImage, read_source
from snn_client.data.tables import check_table, rows_in
from snn_client.reports.contents import NewImage
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_data.answering import say
from snn_data.columns import Columns
from snn_data.dataset import load_dataset
from snn_data.familiar import NEIGHBOUR, Familiar, without_mirror_images
from snn_data.model import Model, load_model
from snn_photos.pictures import MAX_BYTES
from snn_photos.reading import Reading, load_image
from snn_photos.reference import BackboneReference

log = logging.getLogger(__name__)

Image = StagedImage | Mapping[str, Any] | str


def predict_images(
    clients: Clients, bucket: str, run_id: str, images: Sequence[Image], features_by: FeaturesBy | None = None
) -> list[NewImage]:
    """Classify photos, or the rows of tables, with a run's model and return the report's `new_images`, in that order.

    Raises InvalidImage, naming all photos that cannot be used as the user named them; InvalidInput for a table that the
    model cannot read. A model that learned features is handed those that `features_by` computes.
    """
    model = model_of(clients, bucket, run_id)
    if "backbone" in model.attributes:
        return _predict_by_features(clients, bucket, model, [staged_image(image) for image in images], features_by)
    how = Reading.of(str(model.attributes.get("photos", "")))
    if images and len(model.shape) == 1 and "columns" not in model.attributes:
        hint = f"a photo cannot take the place of {model.features} features"
        raise InvalidModel("reads features, not photos", source=model.source, hint=hint)
    answers, bad = list[NewImage](), list[InvalidInput]()
    for image in map(staged_image, images):
        if "columns" in model.attributes:
            answers += predict_rows(model, read_source(clients.s3, image.uri, MAX_BYTES), image.name)
            continue
        try:
            content = read_source(clients.s3, image.uri, MAX_BYTES)
            photo = load_image(BytesIO(content), model.shape, image.name, how)
        except InvalidInput as problem:
            bad.append(problem)
            continue
        answers.append(_answer(model, image.name, model.answers(photo)[:, 0]))
    refuse_photos(bad, len(images))
    return answers


def _predict_by_features(
    clients: Clients, bucket: str, model: Model, images: Sequence[StagedImage], features_by: FeaturesBy | None
) -> list[NewImage]:
    if not images:
        return []
    backbone = BackboneReference.load(model.attributes["backbone"], model.source)
    features = features_by(backbone) if features_by else None
    if features is None:
        hint = "predict by a stack that has it"
        raise InvalidModel(f"reads features of {backbone.name}", source=model.source, hint=hint)
    familiar = _familiar(clients, model, bucket, backbone)
    answers, bad = list[NewImage](), list[InvalidInput]()
    place = 0
    for rows, wrong in features.of([partial(read_source, clients.s3, image.uri, MAX_BYTES) for image in images]):
        problems = dict(wrong)
        said = iter(model.answers(rows.T).T if len(rows) else ())
        unlike = iter(familiar.unlike(rows) if familiar and len(rows) else [False] * len(rows))
        for image in images[place : place + len(rows) + len(wrong)]:
            if place in problems:
                bad.append(InvalidImage(problems[place], source=image.name))
            else:
                answer = _answer(model, image.name, next(said))
                if next(unlike):
                    answer["unlike"] = True
                answers.append(answer)
            place += 1
    refuse_photos(bad, len(images))
    log.info("%s", features.summary)
    return answers


def _familiar(clients: Clients, model: Model, bucket: str, backbone: BackboneReference) -> Familiar | None:
    """Return what a model knows, by the data set that it was trained on; None if that is gone, or too small."""
    key = str(model.attributes.get("dataset", ""))
    try:
        data = load_dataset(BytesIO(read_source(clients.s3, f"s3://{bucket}/{key}")), key, pictures=False)
        same = BackboneReference.load(data.backbone, key).digest == backbone.digest
    except InvalidInput:
        same = False
    if not same:
        log.warning("%s: its data set is gone, so nobody can tell which photos are unlike it", model.source)
        return None
    known = without_mirror_images(data.train)
    return Familiar(known) if len(known) > NEIGHBOUR else None


def predict_rows(model: Model, content: bytes, name: str) -> list[NewImage]:
    """Return the answers of a model that was trained on a table to the rows of another one, as of photos.

    The first row of `name` is called `name#1`. Raises InvalidInput for no table, or without a column of the model's.
    """
    columns = Columns.from_json(model.attributes["columns"], model.source)
    check_table(name)
    answers: list[NewImage] = []
    for rows in rows_in(content, columns, name):
        for said in model.answers(rows.T).T:
            answers.append(_answer(model, f"{name}#{len(answers) + 1}", said))
    return answers


def answers_csv(answers: Sequence[NewImage]) -> str:
    """Return answers as the text of a CSV file, a line each below a header."""
    text = StringIO()
    fields = list(dict.fromkeys(name for one in answers for name in one)) or ["uri"]
    writer = csv.DictWriter(text, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answers)
    return text.getvalue()


def _answer(model: Model, uri: str, outputs: Array) -> NewImage:
    """Return what the report says of one photo or row; `outputs` (o,) are the network's."""
    return cast(NewImage, {"uri": uri, **say(model, outputs)})


def staged_image(image: Image) -> StagedImage:
    """Return a photo, however it is named, as it was staged."""
    if isinstance(image, StagedImage):
        return image
    if isinstance(image, str):
        return StagedImage(uri=image, name=image)
    return StagedImage(uri=image["uri"], name=image.get("name", image["uri"]))


def model_of(clients: Clients, bucket: str, run_id: str) -> Model:
    """Return a run's model. Raises InvalidModel, InvalidInput."""
    uri = f"s3://{bucket}/{places.params(run_id)}"
    return load_model(BytesIO(read_source(clients.s3, uri)), source=uri)
