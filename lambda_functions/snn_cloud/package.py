"""What is uploaded: the functions' code, the layer with the packages it depends on, and all of this project as a wheel.

All are deterministic (sorted, without timestamps): the same contents give the same bytes, so a deployment that changes
nothing is seen to change nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator
from importlib.metadata import distribution
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from snn_cloud.errors import CloudError

PROJECT = "serverless-neural-network-airflow"
SHIPPED = (".ipynb", ".jinja", ".py", ".txt", ".yaml")  # what our packages consist of
HANDLERS = ("launch.py", "trainer.py", "neuron.py")
# Modules of the two shared packages that only an operator or a command uses; some need packages the layer has not.
CLIENT_SIDE = frozenset(
    {
        "snn/images.py",
        "snn/metrics.py",
        "snn/validation.py",
        "snn_cloud/artifacts.py",
        "snn_cloud/belongings.py",
        "snn_cloud/cleanup.py",
        "snn_cloud/challenge.py",
        "snn_cloud/champion.py",
        "snn_cloud/estimate.py",
        "snn_cloud/listing.py",
        "snn_cloud/logs.py",
        "snn_cloud/money.py",
        "snn_cloud/package.py",
        "snn_cloud/prices.py",
        "snn_cloud/change_set.py",
        "snn_cloud/progress.py",
        "snn_cloud/stack.py",
        "snn_cloud/stack_events.py",
        "snn_cloud/stack_options.py",
        "snn_cloud/stack_request.py",
        "snn_cloud/staging.py",
        "snn_cloud/remote_logs.py",
        "snn_cloud/report.py",
        "snn_cloud/report_chart.py",
        "snn_cloud/report_page.py",
        "snn_cloud/runs.py",
        "snn_cloud/sweep.py",
        "snn_cloud/sweep_table.py",
        "snn_cloud/uploads.py",
        "snn_cloud/watching.py",
    }
)
# Change it with anything below that changes what a layer holds: it is part of the name under which layers are cached.
LAYER_BUILDER = "2"
# numpy and h5py no longer publish wheels for less than glibc 2.28. Lambda has 2.34 from python3.12 on (Amazon Linux
# 2023); its python3.11 has 2.26 (Amazon Linux 2), see `snn_cloud.stack`.
PLATFORMS = {"x86_64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
MAX_UNZIPPED = 250 * 1024 * 1024  # bytes; AWS's limit on a function with its layers
# botocore brings a description of each of AWS's 440 services, half of all its weight. Handlers use these.
SERVICES = frozenset({"dynamodb", "lambda", "s3", "sns", "sts"})


def function_zip() -> bytes:
    """Return the zip that all three functions run from.

    Raises CloudError if a handler is not installed.
    """
    handlers = files("snn_handlers")
    contents = {}
    for name in HANDLERS:
        if not (handlers / name).is_file():
            raise CloudError(f"the installation is incomplete: lambda_functions/{name} is missing")
        contents[name] = (handlers / name).read_bytes()
    for package in ("snn", "snn_cloud"):
        for name, file in _files(files(package), package):
            if name.endswith(".py") and name not in CLIENT_SIDE:
                contents[name] = file.read_bytes()
    buffer = io.BytesIO()
    _write_zip(buffer, sorted(contents.items()))
    return buffer.getvalue()


def wheel() -> tuple[str, bytes]:
    """Return the name and the contents of a wheel of this project, for machines that have nothing of it yet.

    It is made of what is installed here. Building one from sources would need sources, which a worker that deploys has
    not.
    """
    project = distribution(PROJECT)
    name = f"{PROJECT.replace('-', '_')}-{project.version}"
    packages = (project.read_text("top_level.txt") or "").split()
    contents = {
        path: file.read_bytes()
        for package in packages
        # In the repository packages lie inside of each other, where an installation has them side by side.
        for path, file in _files(files(package), package, leaving_out=packages)
    }
    for path in ("METADATA", "WHEEL", "entry_points.txt", "top_level.txt"):
        contents[f"{name}.dist-info/{path}"] = (project.read_text(path) or "").encode()
    record = f"{name}.dist-info/RECORD"
    rows = [f"{path},sha256={_record_digest(content)},{len(content)}" for path, content in sorted(contents.items())]
    contents[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    buffer = io.BytesIO()
    _write_zip(buffer, sorted(contents.items()))
    return f"{name}-py3-none-any.whl", buffer.getvalue()


def layer_key(runtime: str, architecture: str) -> str:
    """Return the name of a layer: equal names, equal contents."""
    requirements = (files("snn_handlers") / "requirements.txt").read_text()
    text = "\n".join([LAYER_BUILDER, runtime, PLATFORMS[architecture], requirements])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def default_cache_dir() -> Path:
    """Return where built layers are kept: $SNN_CACHE_DIR, or ~/.cache/snn."""
    return Path(os.environ.get("SNN_CACHE_DIR") or Path.home() / ".cache" / "snn")


def layer_zip(
    runtime: str,
    architecture: str,
    cache_dir: Path | None = None,
    on_progress: Callable[[str], None] = lambda line: None,
) -> Path:
    """Return the dependency layer for `runtime` (such as python3.13) and `architecture` (arm64 or x86_64).

    It is built for that platform, whatever this machine is, from the hashed lock beside the handlers; once built it is
    taken from `cache_dir`. Raises CloudError if it cannot be built or is too large for Lambda.
    """
    cache_dir = cache_dir or default_cache_dir()
    layer = cache_dir / f"layer-{layer_key(runtime, architecture)}.zip"
    if layer.exists():
        return layer
    on_progress(f"building the dependency layer for {runtime} on {architecture}")
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="building-") as building:
        target = Path(building, "python")
        _install(target, runtime, architecture)
        kept = sorted((f"python/{path.relative_to(target).as_posix()}", path) for path in _kept(target))
        size = sum(path.stat().st_size for _, path in kept)
        if size > MAX_UNZIPPED:
            raise CloudError(f"the dependency layer has {size:,} bytes unzipped; Lambda takes {MAX_UNZIPPED:,}")
        unfinished = Path(building, "layer.zip")
        with unfinished.open("wb") as stream:
            _write_zip(stream, ((name, path.read_bytes()) for name, path in kept))
        # Two builders may work at the same time; a rename shows each reader either nothing or all of it.
        unfinished.replace(layer)
    on_progress(f"built it: {layer.stat().st_size / 1e6:.0f} MB, {size / 1e6:.0f} MB unzipped")
    return layer


def templates() -> dict[str, str]:
    """Return the CloudFormation templates: {"root": text, "network": text, …}."""
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in files("snn_templates").iterdir()
        if file.name.endswith(".yaml")
    }


def _files(folder: Traversable, prefix: str, leaving_out: Collection[str] = ()) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.name.startswith("."):  # Jupyter keeps copies of notebooks beside them
            continue
        if entry.is_dir():
            if entry.name not in leaving_out:
                yield from _files(entry, name)
        elif entry.name.endswith(SHIPPED):
            yield name, entry


def _record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def _install(target: Path, runtime: str, architecture: str) -> None:
    import uv

    with as_file(files("snn_handlers") / "requirements.txt") as requirements:
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
        raise CloudError(f"the dependency layer for {runtime} on {architecture} cannot be built: {reason}")


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
            or parts[:2] == ("boto3", "examples")
        ):
            continue
        yield path


def _write_zip(stream: io.BufferedWriter | io.BytesIO, contents: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made; below: a file that everybody may read
            entry.external_attr = 0o100644 << 16
            # The fastest level: a third of the time, for a seventh more bytes.
            archive.writestr(entry, content, compresslevel=1)
