"""What is small and unpacks to much, sent to an endpoint in this process, which tells how much memory that took."""

from __future__ import annotations

import json
import resource
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from served import asked_here, endpoint_here

from snn_client.serving.asking import CSV_TYPE, JSON_TYPE
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients


def png(width: int, height: int) -> bytes:
    """A PNG that claims this size, with transparency, and has the pixels of 3,000 lines at most."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))
    pixels = zlib.compress(bytes(4 * width + 1) * min(height, 3_000), 9)
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int], **how: Any) -> bytes:
    """A picture of one colour."""
    out = BytesIO()
    Image.new("RGB", size, "red").save(out, kind, **how)
    return out.getvalue()


def instances(one: str, count: int) -> str:
    """JSON of so many instances."""
    return f'{{"instances":[{",".join([one] * count)}]}}'


def bombs() -> dict[str, tuple[bytes | str, str, str]]:
    """A body, its content type and the model it is sent to, by what it is."""
    noise = np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()
    png_type = "image/png", "default"
    return {
        "PNG, 30,000 x 30,000": (png(30_000, 30_000), *png_type),
        "PNG, 8,000 x 8,000": (png(8_000, 8_000), *png_type),
        "PNG, 80 megapixels, in a file that is large enough": (png(9_000, 9_000) + noise, *png_type),
        "PNG, 9 megapixels of nothing": (png(3_000, 3_000), *png_type),
        "WebP, 6,000 x 6,000": (saved("WEBP", (6_000, 6_000), quality=1, method=0), "image/webp", "default"),
        "GIF, 6,000 x 6,000": (saved("GIF", (6_000, 6_000)), "image/gif", "default"),
        "gzip of 100 MB": (zlib.compress(bytes(10**8), 9, wbits=31), *png_type),
        "a million lists": (instances("[]", 1_400_000), JSON_TYPE, "table"),
        "a million objects": (instances("{}", 1_400_000), JSON_TYPE, "table"),
        "a row of a million numbers": (instances(f"[{','.join(['0.1'] * 1_100_000)}]", 1), JSON_TYPE, "numbers"),
        "brackets": ("[" * 4_400_000, JSON_TYPE, "table"),
        "CSV, one line": ("1," * 2_200_000, CSV_TYPE, "numbers"),
        "CSV, two million lines": ("1\n" * 2_200_000, CSV_TYPE, "numbers"),
    }


def highest() -> int:
    """Return the MB that this process had at most since `forget`."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def forget() -> None:
    """Begin to measure anew: making the bombs took more than they will."""
    Path("/proc/self/clear_refs").write_text("5")


def main() -> None:
    """Send all of them, and print statuses and megabytes as JSON."""
    made, clients = bombs(), Clients.from_environment()
    endpoint = endpoint_here(clients, StackOutputs.load(clients, sys.argv[1]))
    asked_here(endpoint, saved("PNG", (9, 9)))  # all is loaded
    forget()
    figures: dict[str, Any] = {"before": highest()}
    figures["told"] = {name: asked_here(endpoint, *bomb) for name, bomb in made.items()}
    figures["after"], figures["child"] = highest(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sys.stdout.write(f"{json.dumps(figures)}\n")


if __name__ == "__main__":
    main()
