"""What is uploaded: the functions' code and the templates; `layer` and `wheel` make the rest.

All are deterministic (sorted, without timestamps): the same contents give the same bytes, so a deployment that changes
nothing is seen to change nothing.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Collection, Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from snn_cloud.aws.errors import CloudError

SHIPPED = (".css", ".html", ".ipynb", ".jinja", ".js", ".py", ".svg", ".txt", ".yaml")  # what our packages consist of
HANDLERS = ("launch.py", "trainer.py", "neuron.py", "features.py", "predict.py", "events.py")
PACKAGES = ("snn", "snn_data", "snn_photos", "snn_cloud")  # all of them: what Lambda never needs is in snn_client


def function_zip() -> bytes:
    """Return the zip that all functions run from.

    Raises CloudError if a handler is not installed.
    """
    handlers = files("snn_handlers")
    contents = {}
    for name in HANDLERS:
        if not (handlers / name).is_file():
            raise CloudError(f"the installation is incomplete: lambda_functions/{name} is missing")
        contents[name] = (handlers / name).read_bytes()
    for package in PACKAGES:
        for name, file in files_of(files(package), package):
            if name.endswith(".py"):
                contents[name] = file.read_bytes()
    buffer = io.BytesIO()
    write_zip(buffer, sorted(contents.items()))
    return buffer.getvalue()


def templates() -> dict[str, str]:
    """Return the CloudFormation templates: {"root": text, "network": text, …}."""
    return {
        file.name.removesuffix(".yaml"): file.read_text(encoding="utf-8")
        for file in files("snn_templates").iterdir()
        if file.name.endswith(".yaml")
    }


def files_of(folder: Traversable, prefix: str, leaving_out: Collection[str] = ()) -> Iterator[tuple[str, Traversable]]:
    """Yield what one of our packages consists of, as (name, file), but for the packages `leaving_out`."""
    for entry in folder.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.name.startswith("."):  # Jupyter keeps copies of notebooks beside them
            continue
        if entry.is_dir():
            if entry.name not in leaving_out:
                yield from files_of(entry, name)
        elif entry.name.endswith(SHIPPED):
            yield name, entry


def write_zip(stream: io.BufferedWriter | io.BytesIO, contents: Iterable[tuple[str, bytes]]) -> None:
    """Write a zip of (name, contents), the same bytes whenever and wherever."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents:
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, wherever it is made; below: a file that everybody may read
            entry.external_attr = 0o100644 << 16
            # The fastest level: a third of the time, for a seventh more bytes.
            archive.writestr(entry, content, compresslevel=1)
