"""The processes of the emulator's functions, for tests that kill them."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from snn_cloud.aws.clients import Clients


def at_work(clients: Clients, function: str) -> list[int]:
    """The processes of a function that compute just now."""
    port = f"GATEWAY_PORT={clients.lambda_.meta.endpoint_url.rpartition(':')[2]}".encode()

    def ticks() -> dict[int, int]:
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                variables = (process / "environ").read_bytes().split(b"\0")
                if {port, f"AWS_LAMBDA_FUNCTION_NAME={function}".encode()} <= set(variables):
                    fields = (process / "stat").read_text().rpartition(")")[2].split()
                    found[int(process.name)] = int(fields[11]) + int(fields[12])
        return found

    before = ticks()
    time.sleep(0.05)
    return [pid for pid, now in ticks().items() if now > before.get(pid, now)]
