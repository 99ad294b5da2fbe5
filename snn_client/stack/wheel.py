"""All of this project as a wheel, for machines that have nothing of it yet."""

from __future__ import annotations

import base64
import hashlib
import io
from importlib.metadata import distributions
from importlib.resources import files

from snn_client.stack.package import files_of, write_zip
from snn_cloud.aws.errors import CloudError

PROJECT = "serverless-neural-network-airflow"


def wheel() -> tuple[str, bytes]:
    """Return the name and the contents of a wheel of this project.

    It is made of what is installed here. Building one from sources would need sources, but a worker that deploys has
    none. Raises CloudError if nothing is.
    """
    # Not the first one that is found: an editable installation leaves an egg-info in the checkout, which is no wheel's.
    project = next((each for each in distributions(name=PROJECT) if each.read_text("METADATA")), None)
    if project is None:
        raise CloudError(f"{PROJECT} is not installed here, so there is no wheel of it: install it with pip or uv")
    name = f"{PROJECT.replace('-', '_')}-{project.version}"
    packages = (project.read_text("top_level.txt") or "").split()
    contents = {
        path: file.read_bytes()
        for package in packages
        # In the repository packages lie inside of each other, where an installation has them side by side.
        for path, file in files_of(files(package), package, leaving_out=packages)
    }
    for path in ("METADATA", "WHEEL", "entry_points.txt", "top_level.txt"):
        contents[f"{name}.dist-info/{path}"] = (project.read_text(path) or "").encode()
    record = f"{name}.dist-info/RECORD"
    rows = [f"{path},sha256={_record_digest(content)},{len(content)}" for path, content in sorted(contents.items())]
    contents[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    buffer = io.BytesIO()
    write_zip(buffer, sorted(contents.items()))
    return f"{name}-py3-none-any.whl", buffer.getvalue()


def _record_digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
