"""What it costs to keep epochs: the same run with and without, in turn.

A trainer in a process of its own, and not one behind Lambda, as the start of a function varies by more than there is to
measure. It reads its data, writes its ledger and stores its model at the emulator as always.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks import problem
from benchmarks.learning import CATS, parameters
from benchmarks.serverless import forget
from benchmarks.session import Disagreement, Session
from snn.training import Training
from snn_client.microscope.epochs import Epochs
from snn_cloud.aws import places
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.settings import Settings
from snn_cloud.cost import prices
from snn_cloud.ledger.ledger import Ledger
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State
from snn_cloud.train.training import advance
from snn_data.checkpoint import dump_checkpoint
from snn_data.dataset import load_dataset

PAIRS = 16
JOBS: dict[str, dict[str, Any]] = {
    "itsacat's": CATS["best-batch"],
    "full batch": CATS["full-batch"],
    "sgd with Adam, float32": {
        "epochs": 100, "batch_size": 64, "strategy": "sgd", "optimizer": "adam", "learning_rate": 0.0005,
        "dtype": "float32",
    },
}  # fmt: skip


def keeping(session: Session) -> dict[str, Any]:
    """Return what pairs of runs took, each way first in turn, in a process with one thread, as TrainerLambda has."""
    stack = session.plain
    asked = {
        "dataset": str(session.dataset), "quick": session.quick, "bucket": stack.bucket, "table": stack.table,
        "topic": stack.topic_arn, "function": stack.trainer_function,
    }  # fmt: skip
    one_thread = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.keeping"], input=json.dumps(asked), text=True, stdout=subprocess.PIPE,
        cwd=problem.ROOT, env={**os.environ, **one_thread}, check=True,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    for row in rows:
        session.say(f"keeping epochs, {row['job']}: {row['ratio']:.3f} of the time without, {row['puts']} puts")
        session.step()
    return {"rows": rows, "ratio": rows[0]["ratio"]}


def _measure(asked: dict[str, Any]) -> list[dict[str, Any]]:
    runs, rows = _Runs(asked), []
    for name, fields in JOBS.items():
        chosen = parameters(problem.LAYERS, "sigmoid", **{**fields, **({"epochs": 50} if asked["quick"] else {})})
        ways = {keep: chosen.model_copy(update={"keep_epochs": keep}) for keep in (False, True)}
        for way in ways.values():  # the data are read, the Gram matrix is made
            runs.train(way)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        busy: dict[bool, list[float]] = {False: [], True: []}
        puts, costs, kept = {}, {}, {}
        for pair in range(2 if asked["quick"] else PAIRS):
            for keep in (pair % 2 == 0, pair % 2 != 0):
                took, worked, run, found, curve = runs.train(ways[keep])
                seconds[keep].append(took)
                busy[keep].append(worked)
                puts[keep], costs[keep], kept[keep] = run.requests["s3_puts"], curve, found
        if costs[True] != costs[False]:
            raise Disagreement(f"{name}: the costs are not the same to the last bit")
        ratios = [one / other for one, other in zip(seconds[True], seconds[False], strict=True)]
        of_processor = statistics.median(one / other for one, other in zip(busy[True], busy[False], strict=True))
        more = puts[True] - puts[False]
        rows.append({
            "job": name, "epochs": len(costs[True]), "pairs": len(ratios), "ratio": statistics.median(ratios),
            "processor_ratio": of_processor, "all": ratios, "with": statistics.median(seconds[True]),
            "without": statistics.median(seconds[False]), **kept[True], "puts": more, "usd": more * prices.S3_PUT.usd,
        })  # fmt: skip
    return rows


class _Runs:
    """Runs that this process trains."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self._number, self._clients = count(), Clients.from_environment()
        dataset = Path(asked["dataset"])
        self._dataset, self._features = dataset.read_bytes(), load_dataset(dataset).features
        self._settings = Settings(asked["bucket"], asked["table"], asked["topic"], asked["function"], memory_mb=1769)
        self._ledger = Ledger(self._clients.dynamodb, asked["table"])

    def train(self, chosen: Parameters) -> tuple[float, float, Run, dict[str, int], list[float]]:
        """Train a run; return its seconds, those of the processor, the run, what it kept, and its costs.

        They end where the ledger has the run's end: before the last message, which waits for a second to be over.
        """
        clients, bucket, run_id = self._clients, self._settings.bucket, f"keep-{next(self._number)}"
        key = places.input_dataset(run_id, "0" * 64)
        clients.s3.put_object(Bucket=bucket, Key=key, Body=self._dataset)
        first = Training(chosen.network(self._features).first_params(chosen.seed, chosen.dtype))
        put = clients.s3.put_object(Bucket=bucket, Key=places.checkpoint(run_id), Body=dump_checkpoint(first))
        self._ledger.create(Run(run_id, parameters=chosen, dataset=key, checkpoint_version=put["VersionId"]))
        clients.requests.take()
        with contextlib.redirect_stdout(io.StringIO()) as said:
            began = time.process_time()
            run = advance(run_id, "benchmark", lambda: 900.0, self._settings, clients)
            busy = time.process_time() - began
        if run.state is not State.COMPLETED:
            raise Disagreement(f"a run ended {run.state}: {run.reason or said.getvalue()[-500:]}")
        pages = clients.s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=places.kept_epochs_of(run_id)
        )
        sizes = [item["Size"] for page in pages for item in page.get("Contents", [])]
        kept = len(Epochs(clients, bucket, run).kept) if sizes else 0
        costs = [row.cost for row in self._ledger.progress(run_id)[1]]
        forget(clients, bucket, run_id)
        return run.seconds, busy, run, {"kept": kept, "files": len(sizes), "bytes": sum(sizes)}, costs


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
