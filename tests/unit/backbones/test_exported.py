"""The built-in backbone and a head as one ONNX file, on real photos."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from documentation import ROOT
from PIL import Image
from portable import Ran, a_model, said

from snn_photos.backbone import Backbone
from snn_photos.preprocessing import Preprocessing
from snn_photos.reference import BackboneReference

Made = tuple[bytes, Preprocessing]
REAL = ROOT.parent / "shared" / "datasets" / "datasets.h5"


def photos() -> list[Image.Image]:
    """Return real photos: those of scikit-image, and itsacat's, which are small, if they are here."""
    import h5py
    from skimage import data

    found = [Image.fromarray(photo()) for photo in (data.astronaut, data.chelsea, data.coffee, data.rocket)]
    if REAL.exists():
        with h5py.File(REAL) as h5:
            found += [Image.fromarray(photo) for photo in h5["test_set_x"][()]]
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("last", "neurons"), [("sigmoid", 1), ("softmax", 5), ("identity", 1)])
def test_efficientnet_and_its_head_are_one_file(efficientnet: Made, last: str, neurons: int, dtype: Any) -> None:
    content, preprocessing = efficientnet
    backbone = Backbone(content, preprocessing, "efficientnet-lite0")
    named = BackboneReference(
        name="efficientnet-lite0", sha256=hashlib.sha256(content).hexdigest(), features=1_280,
        preprocessing=preprocessing,
    )  # fmt: skip
    model = a_model(["relu", last], [16, neurons], 1_280, dtype, backbone=named.to_json())
    ran = Ran.of(model, content)
    assert ran.inputs == {"pictures": ("tensor(float)", ["m", 3, 224, 224])}
    assert 13_000_000 < len(ran.content) < 14_000_000
    pictures = np.stack([preprocessing.apply(photo.convert("RGB")) for photo in photos()])
    wanted = model.answers(np.stack([backbone.see(picture) for picture in pictures]).T)
    found = said(model, ran(pictures=pictures))
    assert np.ptp(wanted) > 0.1
    assert np.abs(found - wanted).max() <= 1e-6 * max(1.0, np.abs(wanted).max())
