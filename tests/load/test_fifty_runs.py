"""Fifty runs of all kinds, submitted at one moment on one stack: each as if it were alone, none mixed with another."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from faults.cloud import Cloud, same
from load.kinds import DATA, Kind, check_usage, dead_letters, kinds, leftovers, model, printed
from load.tally import LOAD, keep

from snn_client.runs.listing import newest_runs
from snn_cloud.aws import places

SEEDS = 5
LIMIT = 400.0  # seconds, for all of them


def test_fifty_runs_at_once(cloud: Cloud) -> None:
    wanted = [kind for seed in range(1, SEEDS + 1) for kind in kinds(seed)]
    undisturbed = [cloud.reference(kind.chosen, DATA) for kind in wanted]
    for one, other in itertools.combinations(range(len(wanted)), 2):
        if wanted[one].chosen != wanted[other].chosen:  # a mix-up must be seen
            assert undisturbed[one].costs != undisturbed[other].costs
    known = {run.run_id for run in newest_runs(cloud.clients.dynamodb, cloud.stack.table)}

    # A call whose answer is lost on the way is sent again by botocore, and may have been answered before.
    sent: list[str] = []
    cloud.clients.lambda_.meta.events.register(
        "before-send.lambda.Invoke", lambda request, **_: sent.append(json.loads(request.body)["run_id"])
    )
    begin = threading.Barrier(len(wanted))

    def submit(number: int, kind: Kind) -> tuple[float, str]:
        begin.wait()
        return time.time(), kind.start(cloud, f"load {number}")

    with ThreadPoolExecutor(len(wanted)) as threads:
        submitted = list(threads.map(submit, itertools.count(), wanted))
    launched = time.time()
    names = [name for _, name in submitted]
    first = min(moment for moment, _ in submitted)

    deadline = time.monotonic() + LIMIT
    assert [cloud.judge(name, result, deadline - time.monotonic()) for name, result in zip(names, undisturbed)] == [
        "right"
    ] * 50
    runs = [cloud.ledger.get(name) for name in names]

    # Those that were trained by more invocations than they had needed alone; why stands in their lines.
    repeated = {}
    for kind, run in zip(wanted, runs):
        if (run.fence, run.usage["trainer"].invocations) == (kind.continuations + 1, kind.trainers):
            check_usage(cloud, kind, run, launches=max(1, sent.count(run.run_id)))
        else:
            lines = printed(cloud, cloud.stack.trainer_function, run.run_id)
            repeated[run.run_id] = [line for line in lines if re.search(r"Error|Lost|Timeout|again:", line)]
            print(f"repeated: {kind.name}: {run}\n  " + "\n  ".join(lines))
    assert all(repeated.values()), repeated

    listed = [run.run_id for run in newest_runs(cloud.clients.dynamodb, cloud.stack.table)]
    assert set(listed) - known == set(names) == set(listed[:50])
    assert len(set(listed)) == len(listed) == len(known) + 50
    assert dead_letters(cloud) == 0
    assert leftovers(cloud)["values"] == 0
    promoted = model(cloud, places.PROMOTED_PARAMS)
    assert sum(same(promoted, result.weights) for result, kind in zip(undisturbed, wanted) if kind.upload) == 1

    times = sorted(run.ended_at - moment for (moment, _), run in zip(submitted, runs))
    keep(
        LOAD,
        fifty={
            "runs": len(runs),
            "right": len(runs),
            "launched": round(launched - first, 1),
            "wall": round(max(run.ended_at for run in runs) - first, 1),
            "median": round(times[len(times) // 2], 1),
            "slowest": round(times[-1], 1),
            "trainers": sum(run.usage["trainer"].invocations for run in runs),
            "neurons": sum(run.usage["neuron"].invocations for run in runs),
            "launches": sum(run.usage["launch"].invocations for run in runs) - len(runs),
            "repeated": len(repeated),
        },
    )
