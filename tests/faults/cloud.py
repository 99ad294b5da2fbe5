"""The cloud under test, and the judgement of a run: right bit for bit, a clear failure, wrong, or hung."""

from __future__ import annotations

import io
import json
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import h5py
import numpy as np
import oracle
import pytest
import redis
from botocore.config import Config

from snn_cli.local import emulator as local_emulator
from snn_cli.local import processes
from snn_client.runs import runs
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import EpochRow, Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_data.dataset import load_dataset

ROOT = Path(__file__).parents[2]
PROXY_LOCK = ROOT / "requirements" / "faults.txt"


@dataclass(frozen=True)
class Result:
    """What an undisturbed training gives: its arrays by name, and its costs."""

    weights: Mapping[str, np.ndarray]
    costs: list[float]


class Cloud:
    """Emulator, Valkey, proxy and stack; `clients` look past the proxy, so that what is judged is what is there.

    `settings` go to the emulator's environment, `options` to the stack.
    """

    def __init__(
        self,
        home: Path,
        patch: pytest.MonkeyPatch,
        settings: Mapping[str, str] | None = None,
        proxied: bool = True,
        **options: Any,
    ) -> None:
        self.home = home
        proxy_port = processes.free_port() if proxied else 0
        self.proxy_url = f"http://127.0.0.1:{proxy_port}" if proxied else ""
        self.settings = {**({"AWS_ENDPOINT_URL": self.proxy_url} if proxied else {}), **(settings or {})}
        self.venv = ROOT / ".local" / "emulator-venv"
        self.emulator = local_emulator.up(home, venv=self.venv, port=0, redis_port=0, settings=self.settings)
        try:
            if proxied:
                self._start_proxy(proxy_port)
            for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
                patch.delenv(name, raising=False)
            for name, value in self.emulator.environment().items():
                patch.setenv(name, value)
            self.clients = Clients.from_environment()
            wanted = StackOptions.from_environment(**{"stack_name": "snn-faults", "with_cache": True, **options})
            self.stack = deploy_stack(self.clients, wanted)
        except BaseException:
            self.close()
            raise
        self.ledger = Ledger(self.clients.dynamodb, self.stack.table)
        self._references: dict[tuple[str, bytes], Result] = {}

    def _start_proxy(self, port: int) -> None:
        venv = ROOT / ".local" / "faults-venv"
        local_emulator.install(venv, PROXY_LOCK)
        command: list[str | Path] = [
            venv / "bin/microburst", "--upstream", self.emulator.endpoint_url, "--port", str(port), "--no-resign",
        ]  # fmt: skip
        server = processes.start(self.home, "proxy", command, {"LANG": "C.UTF-8", "PATH": "/usr/bin:/bin"})
        processes.wait_until(self.home, server, healthy=lambda: bool(self.proxy("GET", "health")), limit=30)

    def close(self) -> None:
        processes.stop(self.home, "proxy")
        local_emulator.down(self.home)

    def proxy(self, method: str, what: str, body: Any = None) -> Any:
        """Ask the proxy's control API."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.proxy_url}/_microburst/{what}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read() or b"null")

    def through_proxy(self) -> Clients:
        """Return clients as the product makes them, through the proxy."""
        config = Config(retries={"mode": "standard", "total_max_attempts": 6}, connect_timeout=4)
        return Clients(lambda service: boto3.client(service, endpoint_url=self.proxy_url, config=config))

    @property
    def valkey(self) -> redis.Redis:
        return redis.Redis(self.emulator.redis_host, self.emulator.redis_port)

    def stage(self, name: str, data: bytes) -> str:
        """Stage the data for a run; return the run's name."""
        run_id = runs.new_run_id(f"{name} {time.monotonic_ns()}")
        key = places.input_dataset(run_id, "0" * 64)
        self.clients.s3.put_object(Bucket=self.stack.bucket, Key=key, Body=data)
        return run_id

    def launch_staged(self, run_id: str, chosen: Parameters, clients: Clients, **options: Any) -> None:
        """Launch the run whose data is staged. Raises as `runs.launch` does."""
        runs.launch(clients, self.stack, run_id, places.input_dataset(run_id, "0" * 64), chosen, **options)

    def launch(self, name: str, chosen: Parameters, data: bytes, **options: Any) -> str:
        """Stage the data and launch a run; return its name. Raises as `runs.launch` does."""
        run_id = self.stage(name, data)
        self.launch_staged(run_id, chosen, self.clients, **options)
        return run_id

    def reference(self, chosen: Parameters, data: bytes) -> Result:
        """Return the result of an undisturbed run, found equal to the oracle's within rounding."""
        known = self._references
        if (chosen.to_json(), data) not in known:
            run_id = self.launch("undisturbed", chosen, data)
            ended = self.wait(run_id, 120)
            assert ended, "the undisturbed run hangs"
            assert ended.state is State.COMPLETED, ended
            result = Result(self.weights(run_id) or {}, [row.cost for row in self.ledger.progress(run_id)[1]])
            check_against_oracle(result, chosen, data)
            known[chosen.to_json(), data] = result
        return known[chosen.to_json(), data]

    def wait(self, run_id: str, limit: float) -> Run | None:
        """Return the run when it is over, None when it gets no further in `limit` seconds: a slow one does not hang."""
        furthest = (-1, 0)
        while not (run := self.ledger.get(run_id)).state.is_terminal:
            if (run.epoch, run.step) > furthest:  # going round in circles is no progress
                deadline, furthest = time.monotonic() + limit, (run.epoch, run.step)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.1)
        return run

    def weights(self, run_id: str, bucket: str = "") -> dict[str, np.ndarray] | None:
        """Return the arrays of a run's stored model, None when it has none."""
        try:
            stored = self.clients.s3.get_object(Bucket=bucket or self.stack.bucket, Key=places.params(run_id))
        except self.clients.s3.exceptions.NoSuchKey:
            return None
        with h5py.File(io.BytesIO(stored["Body"].read())) as h5:
            return {name: h5[name][()] for name in h5}

    def judge(self, run_id: str, wanted: Result, limit: float, bucket: str = "", ledger: Ledger | None = None) -> str:
        """Return how a run ended: "right", "failed" (clearly), "wrong" or "hung"."""
        run = self.wait(run_id, limit) if ledger is None else ledger.get(run_id)
        if run is None or not run.state.is_terminal:
            print(f"hung: {run or self.ledger.get(run_id)}")
            return "hung"
        _, seen = (ledger or self.ledger).progress(run_id)
        stored, whole = self.weights(run_id, bucket), rows(wanted.costs)
        if run.state is State.FAILED:
            clear = bool(run.reason) and "\n" not in run.reason
            # What it had stored by then is not wrong either.
            if clear and (stored is None or same(stored, wanted.weights)) and set(seen) <= set(whole):
                print(f"failed: {run.run_id}: {run.reason}")
                return "failed"
        elif stored is not None and same(stored, wanted.weights) and seen == whole and run.epoch == len(whole):
            told = self.clients.s3.get_object(Bucket=bucket or self.stack.bucket, Key=places.results(run_id))
            epochs = list(json.loads(told["Body"].read()).items())[1:-1]  # between Start and End
            if epochs == [(f"epoch{number}", {"cost": cost}) for number, cost in enumerate(wanted.costs)]:
                return "right"
        print(f"wrong: {run}; stored {stored and list(stored)}; {len(seen)} of {len(whole)} costs")
        return "wrong"


def workers(cloud: Cloud, function: str) -> dict[int, int]:
    """Return the processes of a function of this very emulator, and the processor time (ticks) each has used."""
    mine, found = f"GATEWAY_PORT={cloud.emulator.endpoint_url.rpartition(':')[2]}".encode(), {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            if mine in variables and f"AWS_LAMBDA_FUNCTION_NAME={function}".encode() in variables:
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                found[int(process.name)] = int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return found


def rows(costs: Sequence[float]) -> list[EpochRow]:
    """Return what the ledger tells of epochs with these costs."""
    return [EpochRow(epoch, cost) for epoch, cost in enumerate(costs)]


def same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Return whether two models are equal bit for bit."""
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


def check_against_oracle(result: Result, chosen: Parameters, data: bytes) -> None:
    params, costs = oracle.train_on(chosen, load_dataset(io.BytesIO(data)))
    tolerance = 2e-3 if chosen.dtype == "float32" else 1e-10
    assert result.costs == pytest.approx(costs, abs=tolerance)
    assert result.weights.keys() == params.keys()
    for name, array in params.items():
        assert result.weights[name].dtype == np.dtype(chosen.dtype)
        assert np.abs(result.weights[name] - array).max() < tolerance


def network(sizes: tuple[int, ...] = (5, 4, 1), last: str = "sigmoid", **fields: Any) -> Parameters:
    """Return parameters of a small network."""
    return Parameters.load(oracle.small_network(sizes, ("relu", "relu", last), **fields))


# Many steps an epoch, an optimizer that remembers, and draws that all who compute must make alike.
DRAWN: dict[str, Any] = {"strategy": "sgd", "optimizer": "adam", "dropout": 0.2, "learning_rate": 0.001}
