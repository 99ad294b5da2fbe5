"""What a running cloud holds at a moment: memory, connections, threads, files, and what is stored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.cloud import Cloud, workers
from load.kinds import dead_letters, leftovers

from snn_cli.local import processes

Figures = dict[str, float]


def sample(cloud: Cloud) -> dict[str, Any]:
    """Return the figures of servers, function processes by function, and stores, between two runs."""
    servers = {name: server.pid for name, server in processes.recorded(cloud.home).items()}
    stack, told = cloud.stack, cloud.valkey.info()
    functions = {
        name: _processes(workers(cloud, function))
        for name, function in (
            ("LaunchLambda", stack.launch_function),
            ("TrainerLambda", stack.trainer_function),
            ("NeuronLambda", stack.neuron_function),
        )
    }
    everything = cloud.clients.s3.get_paginator("list_object_versions").paginate(Bucket=stack.bucket)
    versions = [item for page in everything for item in page.get("Versions", [])]
    pages = cloud.clients.dynamodb.get_paginator("scan").paginate(TableName=stack.table, Select="COUNT")
    return {
        "emulator": process(servers["ministack"]),
        "valkey": {
            **process(servers["valkey"]),
            "used": told["used_memory"] / 1e6,
            "clients": told["connected_clients"],
            **leftovers(cloud),
        },
        "caller": process(os.getpid()),
        "functions": functions,
        "stored": {
            "objects": len(versions),
            "bytes": sum(item["Size"] for item in versions),
            "items": sum(page["Count"] for page in pages),
            "dead letters": dead_letters(cloud),
        },
        "files": {
            "of the functions": left_files(processes.read_state(cloud.home)["temporary"], functions.values()),
            "of the caller": sum(len(names) for _, _, names in os.walk(tempfile.gettempdir())),
        },
    }


def process(pid: int) -> Figures:
    """Return a process's resident memory (MB), threads, open files and, of these, sockets."""
    home = Path(f"/proc/{pid}")
    told = dict(line.split(":", 1) for line in (home / "status").read_text().splitlines())
    links = [_link(entry) for entry in (home / "fd").iterdir()]
    return {
        "MB": round(int(told["VmRSS"].split()[0]) / 1024, 2),
        "threads": int(told["Threads"]),
        "files": len(links),
        "sockets": sum(link.startswith("socket:") for link in links),
    }


def _processes(pids: Iterable[int]) -> dict[int, Figures]:
    """Return the figures of those processes that live: the emulator ends a function's at times."""
    figures = {}
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            figures[pid] = process(pid)
    return figures


def _link(entry: Path) -> str:
    try:
        return os.readlink(entry)
    except FileNotFoundError:  # the one through which the folder is read
        return ""


def left_files(folder: str, functions: Iterable[Iterable[int]]) -> int:
    """Return how many files lie in the emulator's folder, but for the code of the processes that live."""
    commands = []
    for pid in (pid for pids in functions for pid in pids):
        with suppress(FileNotFoundError, ProcessLookupError):
            commands.append(Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))
    alive = {os.path.dirname(os.fsdecode(part)) for command in commands for part in command if part.endswith(b".py")}
    return sum(
        len(names) for place, _, names in os.walk(folder) if not any(f"{place}/".startswith(f"{own}/") for own in alive)
    )
