"""The layers with the packages that functions depend on, for the platform on which Lambda runs them."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from snn_client.stack.package import write_zip
from snn_cloud.aws.errors import CloudError


class Layer(NamedTuple):
    """What a layer holds: `lock` is the hashed lock beside the handlers."""

    name: str
    lock: str


DEPENDENCIES = Layer("dependency", "requirements.txt")
FEATURES = Layer("feature", "features.txt")
"""What FeatureLambda has instead of the other: ONNX Runtime and Pillow take more room than Lambda has for both. It is
PredictLambda's, too, where there are backbones."""

PREDICT = Layer("predict", "predict.txt")
"""What PredictLambda has where there are none."""

# Change it with anything below that changes what a layer holds: it is part of the name under which layers are cached.
LAYER_BUILDER = "3"
# numpy and h5py no longer publish wheels for less than glibc 2.28. Lambda has 2.34 from python3.12 on (Amazon Linux
# 2023); its python3.11 has 2.26 (Amazon Linux 2), see `snn_client.stack.options`.
PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
MAX_UNZIPPED = 250 * 1024 * 1024  # bytes; AWS's limit on a function with its layers
# botocore brings a description of each of AWS's 440 services, half of all its weight. Handlers use these.
SERVICES = frozenset({"dynamodb", "events", "lambda", "s3", "sns", "sts"})
# ONNX Runtime brings programs that convert, shrink and measure networks.
UNUSED = tuple(("onnxruntime", part) for part in ("datasets", "quantization", "tools", "transformers"))


def layer_key(layer: Layer, runtime: str, architecture: str) -> str:
    """Return the name of a layer: equal names, equal contents."""
    requirements = (files("snn_handlers") / layer.lock).read_text()
    text = "\n".join([LAYER_BUILDER, runtime, PLATFORMS[architecture], requirements])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def default_cache_dir() -> Path:
    """Return where built layers are kept: $SNN_CACHE_DIR, or ~/.cache/snn."""
    return Path(os.environ.get("SNN_CACHE_DIR") or Path.home() / ".cache" / "snn")


def layer_zip(
    layer: Layer,
    runtime: str,
    architecture: str,
    cache_dir: Path | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Return a layer for `runtime` (such as python3.13) and `architecture` (arm64 or x86_64).

    It is built for that platform, whatever this machine is, from the hashed lock beside the handlers; once built it is
    taken from `cache_dir`. Raises CloudError if it cannot be built or is too large for Lambda.
    """
    cache_dir = cache_dir or default_cache_dir()
    file = cache_dir / f"layer-{layer_key(layer, runtime, architecture)}.zip"
    if file.exists():
        return file
    on_progress(f"building the {layer.name} layer for {runtime} on {architecture}")
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="building-") as building:
        target = Path(building, "python")
        _install(layer, target, runtime, architecture)
        kept = sorted((f"python/{path.relative_to(target).as_posix()}", path) for path in _kept(target))
        size = sum(path.stat().st_size for _, path in kept)
        if size > MAX_UNZIPPED:
            raise CloudError(f"the {layer.name} layer has {size:,} bytes unzipped; Lambda takes {MAX_UNZIPPED:,}")
        unfinished = Path(building, "layer.zip")
        with unfinished.open("wb") as stream:
            write_zip(stream, ((name, path.read_bytes()) for name, path in kept))
        # Two builders may work at the same time; a rename shows each reader either nothing or all of it.
        unfinished.replace(file)
    on_progress(f"built it: {file.stat().st_size / 1e6:.0f} MB, {size / 1e6:.0f} MB unzipped")
    return file


def _install(layer: Layer, target: Path, runtime: str, architecture: str) -> None:
    import uv

    with as_file(files("snn_handlers") / layer.lock) as requirements:
        command = [
            uv.find_uv_bin(),
            "pip",
            "install",
            "--quiet",
            "--no-progress",
            "--python",
            sys.executable,
            "--target",
            str(target),
            "--python-platform",
            PLATFORMS[architecture],
            "--python-version",
            runtime.removeprefix("python"),
            "--only-binary",
            ":all:",  # a package built here would be built for this machine
            "--require-hashes",
            "-r",
            str(requirements),
        ]
        # The environment stays the user's: it says which package index to use and how to reach it.
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command
    if done.returncode:
        shutil.rmtree(target, ignore_errors=True)
        reason = " ".join(done.stderr.split()) or f"uv ended with {done.returncode}"
        raise CloudError(f"the {layer.name} layer for {runtime} on {architecture} cannot be built: {reason}")


def _kept(target: Path) -> Iterator[Path]:
    """Yield the files that a function can need: no tests, no headers, no type stubs, no services nobody calls."""
    for path in target.rglob("*"):
        parts = path.relative_to(target).parts
        if (
            not path.is_file()
            or parts[0] in ("bin", ".lock")
            or not {"tests", "__pycache__", "include"}.isdisjoint(parts)
            or path.suffix in (".a", ".h", ".pxd", ".pyi", ".pyx")
            or (parts[0].endswith(".dist-info") and parts[1] in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"))
            or (parts[:2] in (("botocore", "data"), ("boto3", "data")) and len(parts) > 3 and parts[2] not in SERVICES)
            or parts[:2] in (("boto3", "examples"), *UNUSED)
        ):
            continue
        yield path
