"""The server's side of its worker: one process, started when it is first asked, killed when it takes too long."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import IO, Any, cast

from snn.errors import InvalidInput
from snn_client.look.stacks import Stack
from snn_client.look.worker import Answer, Request
from snn_cloud.aws.errors import CloudError

LIMIT_SECONDS = 60.0
QUEUE_SECONDS = 30.0  # for which a request waits for others

# One thread for its arithmetic: the server beside it has people to answer.
QUIET = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

# What it gets of the server's environment, which in Airflow has all its secrets: where Python, its packages and
# certificates are, and the way through a proxy.
PASSED_ON = (
    "PATH",
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
)
PASSED_ON_PREFIXES = ("SSL_CERT_", "REQUESTS_CA_", "AWS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")


class Workers:
    """Asks the worker process; one request at a time. For several threads."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def ask(self, stack: Stack, run_id: str, ask: str, **arguments: Any) -> Any:
        """Return what the worker answers. Raises InvalidInput for what the asker can mend, CloudError for the rest."""
        request: Request = {"reach": stack.reach().to_json(), "run_id": run_id, "ask": ask, "arguments": arguments}
        if not self._turn.acquire(timeout=QUEUE_SECONDS):
            raise CloudError("others are looking into networks just now: try again in a moment")
        try:
            answer = self._answer(json.dumps(request) + "\n")
        finally:
            self._turn.release()
        if "error" in answer:
            raise InvalidInput(answer["error"]) if answer["refused"] else CloudError(answer["error"])
        return answer["result"]

    def warm(self) -> None:
        """Start the worker, unless it is there or busy: who has opened the page may soon want to look closely."""
        if self._turn.acquire(blocking=False):
            try:
                self._started()
            finally:
                self._turn.release()

    def close(self) -> None:
        """End the worker."""
        with self._turn:
            self._end()

    def _answer(self, line: str) -> Answer:
        for _ in range(2):
            process = self._started()
            timer = threading.Timer(LIMIT_SECONDS, process.kill)
            timer.start()
            try:
                cast("IO[str]", process.stdin).write(line)
                cast("IO[str]", process.stdin).flush()
                said = cast("IO[str]", process.stdout).readline()
            except BrokenPipeError:  # it had nothing to do, and has ended just now
                said = ""
            finally:
                late = not timer.is_alive()
                timer.cancel()
            if said:
                answer: Answer = json.loads(said)
                return answer
            self._end()
            if late:
                raise CloudError(f"this takes more than {LIMIT_SECONDS:g} s: look at an epoch that was kept")
            if process.returncode:
                break
        raise CloudError("what computes this has ended, perhaps for lack of memory: look at the server's log")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "snn_client.look.worker"],  # -P: not what lies in the present folder
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                env={**_passed_on(os.environ), **QUIET},
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        if process.stdout:
            process.stdout.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in PASSED_ON or name.upper().startswith(PASSED_ON_PREFIXES)
    }
