"""What machine this is."""

from __future__ import annotations

import multiprocessing
import os
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

PRODUCTS = 100  # a second or so


def describe() -> dict[str, Any]:
    """Return processor, memory, and versions."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) / 1024**2, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def load() -> float:
    """Return how many processes wanted a core in the last minute."""
    return round(os.getloadavg()[0], 2)


def two_processes() -> float:
    """Return how much more two processes multiply than one, now: 2 on two idle cores of one's own.

    Cores that are virtual are often shared with others, who take what two trainers could have gained.
    """
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        list(pool.map(_multiply, [1, 1]))  # both have started and have NumPy
        (alone,) = pool.map(_multiply, [PRODUCTS])
        together = list(pool.map(_multiply, [PRODUCTS, PRODUCTS]))
    return 2 * alone / max(together)


def _multiply(times: int) -> float:
    """Return the seconds that so many products of a layer's size take in one thread."""
    random = np.random.default_rng(0)
    weights, samples = random.random((200, 3_000)), random.random((3_000, 400))
    with threadpool_limits(1):
        began = time.perf_counter()
        for _ in range(times):
            weights @ samples
        return time.perf_counter() - began


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
