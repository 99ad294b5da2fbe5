"""What a model makes of a photo that somebody hands in, and what in it spoke for the answer."""

from __future__ import annotations

from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image

from snn.activations import Array
from snn.errors import InvalidImage, InvalidModel
from snn_client.backbones.features import features_by
from snn_client.microscope.pictures import Pixels, diverging, png
from snn_client.microscope.way import Way, encoded, logit_of_answer, way_of
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_data.dataset import Dataset
from snn_data.familiar import NEIGHBOUR, Familiar, without_mirror_images
from snn_data.model import Model
from snn_photos.pictures import open_picture
from snn_photos.reading import Reading, load_pixels
from snn_photos.reference import BackboneReference

PATCHES = 7  # a side: each is hidden once
MOST_USD = 0.01  # of the features of one photo and of its patches; they take a twentieth of that
SHOWN_SIZE = 224  # pixels of the longer side of a photo that a backbone sees, in the picture


def way_of_photo(
    clients: Clients, outputs: StackOutputs, model: Model, content: bytes, name: str, data: Dataset | None = None
) -> Way:
    """Return the way of a photo through a model; `data` is what it was trained on, to tell what is unlike it.

    With a backbone, what spoke for the answer is found by occlusion: each of 7×7 patches is hidden once (Zeiler and
    Fergus, 2014). Raises InvalidImage, naming the photo, and InvalidModel for a model that sees none.
    """
    if "columns" in model.attributes:
        raise InvalidModel("reads the rows of a table, not photos", source=model.source, hint="hand in a table")
    if "backbone" in model.attributes:
        return _by_features(clients, outputs, model, content, name, data)
    if len(model.shape) == 1:
        hint = f"a photo cannot take the place of {model.features} features"
        raise InvalidModel("reads features, not photos", source=model.source, hint=hint)
    pixels = load_pixels(BytesIO(content), model.shape, name, Reading.of(str(model.attributes.get("photos", ""))))
    x = pixels.reshape(-1, 1).astype(model.params["W1"].dtype) / 255
    return way_of(model.network, model.params, x, model.classes, model.threshold, [], pixels=pixels)


def _by_features(
    clients: Clients, outputs: StackOutputs, model: Model, content: bytes, name: str, data: Dataset | None
) -> Way:
    backbone = BackboneReference.load(model.attributes["backbone"], model.source)
    features = features_by(clients, outputs, max_usd=MOST_USD)(backbone)
    if features is None:
        raise InvalidModel(
            f"reads features of {backbone.name}", source=model.source, hint="predict by a stack that has it"
        )
    picture = open_picture(BytesIO(content), name)
    picture.thumbnail((SHOWN_SIZE, SHOWN_SIZE))
    pixels: Pixels = np.asarray(picture.convert("RGB"), np.uint8)
    # The photo itself as it came; what is hidden, in a small one.
    photos = [content, *(png(hidden) for hidden in _hidden(pixels))]
    rows: list[Array] = []
    for found, bad in features.of([lambda photo=photo: photo for photo in photos]):  # type: ignore[misc]
        if bad:
            raise InvalidImage(bad[0][1], source=name)
        rows += list(found)
    dtype = model.params["W1"].dtype
    X = np.stack(rows, axis=1).astype(dtype)
    names = [f"{backbone.name} feature {number}" for number in range(len(X))]
    way = way_of(model.network, model.params, X[:, :1], model.classes, model.threshold, names, pixels=pixels)
    logits = model.network.logits(model.params, model.params["W1"] @ X + model.params["b1"])
    output, sign = logit_of_answer(way["predicted"], len(logits))
    lost = sign * (logits[output, 0] - logits[output, 1:]).reshape(PATCHES, PATCHES)
    most = float(np.abs(lost).max())
    heat = diverging(lost / most if most > 0 else lost)
    bigger = Image.fromarray(heat).resize((pixels.shape[1], pixels.shape[0]), Image.Resampling.NEAREST)
    unlike = None
    if data is not None and data.backbone:
        known = without_mirror_images(data.train)
        if len(known) > NEIGHBOUR:
            unlike = bool(Familiar(known).unlike(X[:, :1].T.astype(np.float32))[0])
    return {**way, "spoke_picture": encoded(np.asarray(bigger)), "unlike": unlike}


def _hidden(pixels: Pixels) -> list[Pixels]:
    """Return the photo with each patch hidden once, by the photo's mean colour, row by row."""
    height, width = pixels.shape[:2]
    rows = np.linspace(0, height, PATCHES + 1).round().astype(int)
    columns = np.linspace(0, width, PATCHES + 1).round().astype(int)
    mean = pixels.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    found = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            hidden = pixels.copy()
            hidden[top:bottom, left:right] = mean
            found.append(hidden)
    return found
