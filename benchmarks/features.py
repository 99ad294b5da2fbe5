"""Photos a second: one FeatureLambda and two, beside a plain loop of ONNX Runtime with the same decoding.

The photos are JPEG files of 480 × 360 pixels, each seen once by the built-in backbone. Ours is timed from the photos on
this machine's disk to their features in the caller's hands: hashing, sending, decoding, computing, storing in S3.
"""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from benchmarks.session import Disagreement, Session, column
from snn_client.backbones import builtin, catalogue
from snn_client.backbones.features import Features
from snn_client.backbones.forgetting import forget
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_data.dataset import load_dataset
from snn_photos.pictures import open_picture
from snn_photos.preprocessing import Preprocessing

BACKBONE, STACK = "efficientnet-lite0", "snn-bench-features"
SIZE = 480, 360
PHOTOS, QUICK = 256, 64
TOLERANCE = 1e-6


def features(session: Session) -> dict[str, Any]:
    """Each repetition: the loop, one function, two functions, in turn; then cold starts, and all photos once more."""
    photos = _photos(session)
    content, preprocessing = builtin.make(BACKBONE)
    serverless = session.serverless
    options = StackOptions.from_environment(stack_name=STACK, with_cache=False, with_features=True)
    stack = deploy_stack(serverless.clients, options)
    reference = catalogue.find(serverless.clients, stack.bucket, BACKBONE)

    def ours(at_once: int, photos: list[Path], known: bool = False) -> tuple[float, NDArray[np.float32], Features]:
        if not known:
            forget(serverless.clients, stack.bucket, backbone=reference)
        by = Features(serverless.clients, stack, reference, at_once=at_once)
        began = time.perf_counter()
        rows = [rows for rows, _ in by.of([photo.read_bytes for photo in photos])]
        return time.perf_counter() - began, np.concatenate(rows), by

    ours(2, photos[:64])  # the functions have started, and have the backbone
    loop, one, two = list[float](), list[float](), list[float]()
    for _ in range(session.repetitions):
        seconds, expected = _loop(content, preprocessing, photos)
        loop.append(len(photos) / seconds)
        for at_once, speeds in ((1, one), (2, two)):
            seconds, found, by = ours(at_once, photos)
            speeds.append(len(photos) / seconds)
            difference = float(np.abs(found - expected).max())
            if not difference <= TOLERANCE or by.computed != len(photos):
                raise Disagreement(f"features differ by {difference:.1e}, of {by.computed} photos")
        session.say(f"photos a second: loop {loop[-1]:.1f}, one function {one[-1]:.1f}, two {two[-1]:.1f}")
        session.step()
    again, _, by = ours(2, photos, known=True)
    warm, cold = list[float](), list[float]()
    for _ in range(session.repetitions):
        warm.append(ours(1, photos[:1])[0])
        serverless.refresh(stack.feature_function)
        cold.append(ours(1, photos[:1])[0])
    return {
        "photos": len(photos),
        "size": list(SIZE),
        "loop": column(loop),
        "one": column(one),
        "two": column(two),
        "one_ratio_to_loop": _median(one) / _median(loop),
        "two_ratio_to_one": _median(two) / _median(one),
        "difference": difference,
        "again_seconds": again,
        "again_computed": by.computed,
        "cold": column(cold),
        "warm": column(warm),
    }


def _photos(session: Session) -> list[Path]:
    """Write JPEG files, made of the data set's photos, each a little different, and return their paths."""
    stored = load_dataset(session.dataset).train.stored
    folder = session.folder / "photos"
    folder.mkdir(exist_ok=True)
    paths = []
    for number in range(QUICK if session.quick else PHOTOS):
        picture = Image.fromarray(stored[number % len(stored)]).resize(SIZE, Image.Resampling.BICUBIC)
        picture.putpixel((0, 0), (number % 256, number // 256, 0))
        paths.append(folder / f"{number:03}.jpg")
        picture.save(paths[-1], quality=90)
    return paths


def _loop(content: bytes, preprocessing: Preprocessing, photos: list[Path]) -> tuple[float, NDArray[np.float32]]:
    """Return what a loop as in ONNX Runtime's own tutorial takes, with one thread, and the features (m, d)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    network = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in network.get_inputs())

    def see(photo: Path) -> NDArray[np.float32]:
        pixels = preprocessing.apply(open_picture(BytesIO(photo.read_bytes())))
        vector: NDArray[np.float32] = network.run(None, {name: pixels[None]})[0].reshape(-1)
        return vector

    see(photos[0])
    began = time.perf_counter()
    found = [see(photo) for photo in photos]
    return time.perf_counter() - began, np.stack(found)


def _median(speeds: list[float]) -> float:
    return float(np.median(speeds))
