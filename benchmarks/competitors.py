"""Runs the NumPy loop and the peers: each in a process of its own, with as many threads as it is told.

The peers are optional. They live in an environment of the benchmark's own, so that the project does not depend on
them; one that cannot be installed is a column that says so.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LOCK = HERE.parent / "requirements" / "bench.txt"
# Plain pip, as PyTorch is installed by most. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares a Linux
# machine the GPU libraries.
TORCH = "torch==2.13.0"
PEERS = ("torch-float32", "torch-float64", "scikit-learn")
# In favour of the others: without this, glibc may give every temporary array of some MB back to the system and fetch it
# page by page again. It depends on what happened to be freed before, and doubled the time of the loop's mini-batches.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CompetitorFailed(Exception):
    """A competitor ended with an error; the message is its last line."""


@dataclass
class Competitors:
    """Who can be compared with: `missing` tells why a peer cannot."""

    venv: Path
    missing: dict[str, str] = field(default_factory=dict)

    def install(self) -> None:
        """Install the peers and the plotting library into `venv`, unless that is done."""
        wanted = hashlib.sha256(LOCK.read_bytes() + TORCH.encode() + sys.version.encode()).hexdigest()
        stamp = self.venv / "installed"
        if stamp.exists() and stamp.read_text() == wanted:
            return
        made = _last_words([sys.executable, "-m", "venv", "--clear", str(self.venv)])
        locked = made or self._pip("--require-hashes", "--requirement", str(LOCK))
        if locked:
            self.missing["scikit-learn"] = self.missing["matplotlib"] = locked
        if torch := made or self._pip(TORCH):
            self.missing["torch-float32"] = self.missing["torch-float64"] = torch
        if not self.missing:
            stamp.write_text(wanted)

    def _pip(self, *what: str) -> str:
        pip = [str(self.venv / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        return _last_words([*pip, "--retries", "1", *what])

    @property
    def peers(self) -> list[str]:
        """Return the peers that are there."""
        return [peer for peer in PEERS if peer not in self.missing]

    def peer(self, name: str, job: Path, epochs: int, threads: int = 1) -> dict[str, Any]:
        """Train `job` with a peer; return what it printed."""
        return _run([self.venv / "bin/python", HERE / "peers.py", job, str(epochs), name], threads)

    def classify(self, kind: str, job: Path, threads: int, seed: int, own_draws: bool) -> dict[str, Any]:
        """Train a job with mini-batches by a peer; return what it printed."""
        command = [self.venv / "bin/python", HERE / "classify.py", job, kind, "--seed", str(seed)]
        return _run([*command, *(["--own-draws"] if own_draws else [])], threads)


def numpy_loop(
    job: Path, epochs: int, *, threads: int | None = 1, seconds: float | None = None, thrifty: bool = False
) -> dict[str, Any]:
    """Train `job` with the NumPy loop in this very Python; `threads` None is whatever NumPy does by default."""
    command: list[Path | str] = [sys.executable, HERE / "reference.py", job, str(epochs)]
    command += ["--seconds", str(seconds)] if seconds is not None else []
    command += ["--thrifty"] if thrifty else []
    return _run(command, threads)


def _run(command: list[Path | str], threads: int | None) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    environment |= ALLOCATOR
    if threads is not None:
        environment |= dict.fromkeys(THREAD_VARIABLES, str(threads))
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise CompetitorFailed((done.stderr.strip().splitlines() or ["no output"])[-1])
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _last_words(command: list[str]) -> str:
    """Run a command; return nothing if it succeeds, its last line of complaint if not."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    return (lines or [f"exit code {done.returncode}"])[-1].strip()[:200]
