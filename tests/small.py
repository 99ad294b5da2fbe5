"""The small data set that most tests train on, how someone uploads it by hand, and what tests wait for."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import oracle

from snn.training import Training
from snn_client.runs.logs import RunLogs
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run
from snn_data.checkpoint import dump_checkpoint
from snn_data.dataset import save_dataset


def photos(**options: int) -> bytes:
    """Return a `datasets.h5` of the oracle's photos; its test set is the first six of them."""
    pixels, labels = oracle.photos_and_labels(**options)
    buffer = io.BytesIO()
    save_dataset(buffer, pixels, labels, pixels[:6], labels[:6], ("no", "yes"))
    return buffer.getvalue()


def first_checkpoint(chosen: Parameters, features: int = 27) -> bytes:
    """Return the checkpoint that a run begins with: the first weights, for samples of so many numbers."""
    return dump_checkpoint(Training(chosen.network(features).first_params(chosen.seed, chosen.dtype)))


def upload(clients: Clients, stack: StackOutputs, folder: str, data: bytes, parameters: str | bytes | None) -> str:
    """Put a data set where an upload starts a run, its parameters beside it; return that run's id once it is there."""
    prefix = f"{places.UPLOAD_PREFIX}{folder}/"
    if parameters is not None:
        clients.s3.put_object(Bucket=stack.bucket, Key=f"{prefix}parameters.json", Body=parameters)
    put = clients.s3.put_object(Bucket=stack.bucket, Key=f"{prefix}datasets.h5", Body=data)
    run_id = places.run_id_for_upload(stack.bucket, f"{prefix}datasets.h5", put["VersionId"])
    ledger, deadline = Ledger(clients.dynamodb, stack.table), time.monotonic() + 90
    while ledger.find(run_id) is None:
        assert time.monotonic() < deadline, f"{prefix} started no run"
        time.sleep(0.05)
    return run_id


def wait_until(so: Callable[[], object], what: str) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + 90
    while not so():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def wait_until_counted(ledger: Ledger, run_id: str, trainers: int) -> Run:
    """Wait until that many trainers of a run have counted themselves: a follower slow to leave does after the end."""
    wait_until(lambda: ledger.get(run_id).usage["trainer"].invocations >= trainers, "a trainer did not count itself")
    return ledger.get(run_id)


def wait_for_last_word(clients: Clients, stack: StackOutputs, run_id: str) -> None:
    """Wait for the log of a run that is over: its trainer's lines come when it returns, a moment after the end."""
    logs, deadline = RunLogs(clients.logs, stack, run_id, 0.0), time.monotonic() + 30
    while not logs.heard_last_word:
        assert time.monotonic() < deadline, f"{run_id} left no last word"
        logs.new()
        time.sleep(0.1)
