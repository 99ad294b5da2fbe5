"""Ours, end to end: from the call of LaunchLambda to COMPLETED in the ledger, looked at every 20 ms.

In between lies all that a user would wait for: validation, first weights, the trainer's start, reading the data set
from S3, every epoch, progress, results and model in S3. Staging the data set is before it, as it is for everyone else.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from snn_cli.local import airflow, emulator
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State

# Looking costs the machine something too; a long run is looked at less often.
POLL_SECONDS, POLL_SHARE = 0.02, 0.02
HARD_LIMIT_SECONDS = 1_800.0


class BenchmarkRunFailed(Exception):
    """A run of ours did not end as it should; the message has its reason."""


@dataclass
class Outcome:
    """A run that has ended: seconds from launch to its end, what was seen on the way, as (seconds, epoch), the costs of
    its epochs, and how the first layer was computed."""

    run: Run
    seconds: float
    seen: list[tuple[float, int]]
    costs: list[float] = field(default_factory=list)
    path: str = "unknown"

    @property
    def completed(self) -> bool:
        """Whether it ran to its own end, and was not cut short by a limit."""
        return self.run.state is State.COMPLETED


class Serverless:
    """The stack on an emulator of its own, and runs on it."""

    def __init__(self, home: Path, running: emulator.Emulator, clients: Clients) -> None:
        self.home, self.running, self.clients = home, running, clients
        self._number = count()
        self._bodies: dict[Path, tuple[bytes, str]] = {}

    def deploy(self, name: str, *, with_cache: bool) -> tuple[StackOutputs, float]:
        """Create or update a stack; return it and the seconds that took."""
        began = time.monotonic()
        stack = deploy_stack(self.clients, StackOptions.from_environment(stack_name=name, with_cache=with_cache))
        return stack, time.monotonic() - began

    def train(
        self, stack: StackOutputs, dataset: Path, parameters: Parameters, *, limit_seconds: float | None = None,
        before_it_goes: Callable[[str], object] = lambda run_id: None,
    ) -> Outcome:  # fmt: skip
        """Run a training to its end; with a limit, cancel it that long after its first progress and keep what was seen.

        `before_it_goes` is called with the run's name while its files are still there. Raises BenchmarkRunFailed.
        """
        run_id = places.new_run_id(f"bench {next(self._number)}")
        key = self._stage(stack, run_id, dataset)
        ledger, seen, cancelled = Ledger(self.clients.dynamodb, stack.table), [(0.0, 0)], False
        began = time.perf_counter()
        runs.launch(self.clients, stack, run_id, key, parameters)
        while True:
            run, now = ledger.get(run_id), time.perf_counter() - began
            if run.epoch > seen[-1][1]:
                seen.append((now, run.epoch))
            if run.state.is_terminal:
                break
            if limit_seconds is not None and not cancelled and run.epoch and now > seen[1][0] + limit_seconds:
                runs.cancel(self.clients, stack, run_id)
                cancelled = True
            if now > HARD_LIMIT_SECONDS:
                runs.cancel(self.clients, stack, run_id)
                raise BenchmarkRunFailed(f"epoch {run.epoch} after {now:.0f} s")
            time.sleep(max(POLL_SECONDS, POLL_SHARE * now))
        if run.state is State.FAILED:
            raise BenchmarkRunFailed(run.reason)
        costs = [row.cost for row in ledger.progress(run_id)[1]]
        before_it_goes(run_id)
        forget(self.clients, stack.bucket, run_id)
        return Outcome(run, now, seen, costs, self._path_chosen(stack, run_id))

    def refresh(self, *functions: str) -> None:
        """Make the functions' next invocation a cold start: an update of its configuration replaces every worker."""
        for name in functions:
            if name:
                timeout = self.clients.lambda_.get_function_configuration(FunctionName=name)["Timeout"]
                self.clients.lambda_.update_function_configuration(FunctionName=name, Timeout=timeout)
                self.clients.lambda_.get_waiter("function_updated_v2").wait(FunctionName=name)

    def refresh_all(self, stack: StackOutputs) -> None:
        """Make every function of the stack start cold."""
        self.refresh(stack.launch_function, stack.trainer_function, stack.neuron_function)

    def peak_mb(self, function: str) -> float:
        """Return the highest resident memory that a living worker of the function has had, in MiB (Lambda's MB)."""
        peaks = [0.0]
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError, StopIteration):
                if f"ministack-lambda-{function}-".encode() in (process / "cmdline").read_bytes():
                    lines = (process / "status").read_text().splitlines()
                    peak = next(line for line in lines if line.startswith("VmHWM:"))
                    peaks.append(int(peak.split()[1]) / 1024)
        return max(peaks)

    def memory_setting(self, function: str) -> int:
        """Return the function's memory setting, in MB."""
        return int(self.clients.lambda_.get_function_configuration(FunctionName=function)["MemorySize"])

    def log(self, function: str, run_id: str) -> list[str]:
        """Return what the function printed about a run."""
        pages = self.clients.logs.get_paginator("filter_log_events").paginate(
            logGroupName=f"/aws/lambda/{function}", filterPattern=f'"{run_id}"'
        )
        return [event["message"].strip() for page in pages for event in page["events"]]

    def _path_chosen(self, stack: StackOutputs, run_id: str) -> str:
        """Return how the trainer says that it computed the first layer, once its invocation is over.

        What it printed is stored when it has returned: only then would the next run find it warm.
        """
        deadline = time.monotonic() + 5
        while not (lines := self.log(stack.trainer_function, run_id)) and time.monotonic() < deadline:
            time.sleep(0.05)
        found = [line.split("first layer ", 1)[1].split()[0].rstrip(":,") for line in lines if "first layer " in line]
        return found[0] if found else "direct" if lines else "unknown"

    def _stage(self, stack: StackOutputs, run_id: str, dataset: Path) -> str:
        if dataset not in self._bodies:
            body = dataset.read_bytes()
            self._bodies = {dataset: (body, hashlib.sha256(body).hexdigest())}
        body, sha256 = self._bodies[dataset]
        key = places.input_dataset(run_id, sha256)
        self.clients.s3.put_object(Bucket=stack.bucket, Key=key, Body=body)
        return key


def forget(clients: Clients, bucket: str, run_id: str) -> None:
    """Remove a run's files: the emulator keeps every version in memory, and a large one slows what comes after."""
    versions = clients.s3.list_object_versions(Bucket=bucket, Prefix=places.run_prefix(run_id))
    for item in [*versions.get("Versions", []), *versions.get("DeleteMarkers", [])]:
        clients.s3.delete_object(Bucket=bucket, Key=item["Key"], VersionId=item["VersionId"])


@contextlib.contextmanager
def machine(home: Path, venv: Path) -> Iterator[Serverless]:
    """Start an emulator in `home`, point this process at it, and stop it in the end."""
    before = dict(os.environ)
    _clear(home)
    try:
        running = emulator.up(home, venv=venv, port=0, redis_port=0)
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            os.environ.pop(name, None)
        os.environ.update(running.environment())
        yield Serverless(home, running, Clients.from_environment())
    finally:
        os.environ.clear()
        os.environ.update(before)
        _clear(home)


def _clear(home: Path) -> None:
    """Stop what runs in `home`, also of a benchmark that was interrupted, and remove it."""
    airflow.down(home)
    emulator.down(home)
    shutil.rmtree(home)
