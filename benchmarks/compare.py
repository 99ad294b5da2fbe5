"""Side by side: the same job for ours, the NumPy loop and the peers, in turn, so that a drifting machine hurts all."""

from __future__ import annotations

import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

from benchmarks import host, problem
from benchmarks.competitors import CompetitorFailed, numpy_loop
from benchmarks.session import TOLERANCE_FLOAT32, Disagreement, Session, agree, column
from snn_client.stack.options import StackOptions
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters


def full_batch(session: Session) -> dict[str, Any]:
    """3,000 full-batch epochs: ours warm and cold, the NumPy loop, the peers."""
    ours, plain, data = session.serverless, session.plain, session.dataset
    epochs, peer_epochs = (600, 300) if session.quick else (3000, 400)
    chosen = problem.parameters(epochs=epochs)
    job = session.job("full-batch", data, chosen)
    peers, times, answers = session.competitors.peers, defaultdict[str, list[float]](list), dict[str, Any]()
    memory = 0.0
    for turn in range(session.repetitions):
        # The first one follows the deployment of the stack; the others, an update that replaces every worker.
        if turn:
            ours.refresh_all(plain)
        cold = ours.train(plain, data, chosen)
        memory = max(memory, ours.peak_mb(plain.trainer_function))
        times["ours_cold"].append(cold.seconds)
        answers["ours_warm"] = warm = ours.train(plain, data, chosen)
        times["ours_warm"].append(warm.seconds)
        answers["numpy"] = numpy_loop(job, epochs)
        times["numpy"].append(answers["numpy"]["seconds"])
        for peer in list(peers):
            try:
                answers[peer] = session.competitors.peer(peer, job, peer_epochs)
                times[peer].append(answers[peer]["seconds"] * epochs / peer_epochs)
            except CompetitorFailed as error:
                session.competitors.missing[peer] = str(error)
                peers.remove(peer)
        many = numpy_loop(job, peer_epochs, threads=None)
        times["numpy_default_threads"].append(many["seconds"] * epochs / peer_epochs)
        loop = answers["numpy"]["seconds"]
        session.say(f"full batch: ours {warm.seconds:.2f} s (cold {cold.seconds:.2f}), NumPy {loop:.1f} s")
        session.step()
    scaled = {"scaled_from_epochs": peer_epochs}
    reference = answers["numpy"]["costs"]
    columns = {
        "ours_warm": column(times["ours_warm"], difference=agree("ours", warm.costs, reference), path=warm.path),
        "ours_cold": column(times["ours_cold"], difference=agree("ours, cold", cold.costs, reference)),
        "numpy": column(times["numpy"], difference=0.0, version=answers["numpy"]["version"]),
        "numpy_default_threads": column(times["numpy_default_threads"], **scaled),
    }
    for peer in peers:
        tolerance = {"tolerance": TOLERANCE_FLOAT32} if peer == "torch-float32" else {}
        found = agree(peer, answers[peer]["costs"], reference, **tolerance)
        columns[peer] = column(times[peer], difference=found, version=answers[peer]["version"], **scaled)
    fastest = min(["numpy", "numpy_default_threads", *peers], key=lambda name: columns[name]["seconds"])
    checked = {}
    if fastest != "numpy" and not session.quick:
        again = numpy_loop(job, epochs, threads=None) if fastest not in peers else None
        real = (again or session.competitors.peer(fastest, job, epochs))["seconds"]
        checked = {"seconds": real, "scaled_seconds": columns[fastest]["seconds"]}
    warm_seconds, numpy_seconds = columns["ours_warm"]["seconds"], columns["numpy"]["seconds"]
    session.results["money"] = _money(session, warm.run)
    return {
        "epochs": epochs,
        "peer_epochs": peer_epochs,
        "ratio_to_numpy": warm_seconds / numpy_seconds,
        "ratio_to_numpy_cold": columns["ours_cold"]["seconds"] / numpy_seconds,
        "ratio_to_fastest_peer": warm_seconds / columns[fastest]["seconds"],
        "ratio_to_numpy_default_threads": warm_seconds / columns["numpy_default_threads"]["seconds"],
        "fastest_peer": fastest,
        "fastest_peer_unscaled": checked,
        "columns": columns,
        "missing": dict(session.competitors.missing),
        "trainer_peak_mb": memory,
        "invocations": {name: used.invocations for name, used in warm.run.usage.items()},
    }


def best_batch(session: Session) -> dict[str, Any]:
    """Best of four mini-batches, until the cost is at the threshold."""
    epochs, threshold = (5000, 0.3) if session.quick else (5000, 0.0019)
    chosen = problem.parameters(epochs=epochs, batch_size=problem.BATCH_SIZE, threshold=threshold)
    result = _against_numpy(session, "best batch", chosen)
    # A cleverer loop goes back only through the winner; said once, so that nobody has to wonder.
    clever = numpy_loop(session.job("best-batch-thrifty", session.dataset, chosen), 300, thrifty=True)
    return {**result, "threshold": threshold, "thrifty_seconds_per_epoch": clever["seconds_per_epoch"]}


def average(session: Session) -> dict[str, Any]:
    """The mini-batches' gradients averaged."""
    epochs = 300 if session.quick else 2000
    return _against_numpy(
        session,
        "average",
        problem.parameters(epochs=epochs, batch_size=problem.BATCH_SIZE, strategy="average"),
    )


def _against_numpy(session: Session, name: str, chosen: Parameters) -> dict[str, Any]:
    """Train the same job with both, in turn. The ratio is that of an epoch's times, as a threshold may end them apart.

    Best-batch amplifies rounding: on itsacat's job the costs are equal to 2e-14 after 500 epochs, to 2e-10 after 800
    and to nothing after 1,020, where another batch wins.
    """
    ours, plain, data = session.serverless, session.plain, session.dataset
    job = session.job(name.replace(" ", "-"), data, chosen)
    times = defaultdict[str, list[float]](list)
    ours.train(plain, data, chosen)  # warm from here on
    for _ in range(session.repetitions):
        outcome = ours.train(plain, data, chosen)
        loop = numpy_loop(job, chosen.epochs)
        times["ours"].append(outcome.seconds)
        times["numpy"].append(loop["seconds"])
        session.say(f"{name}: ours {outcome.seconds:.2f} s, NumPy {loop['seconds']:.1f} s")
        session.step()
    columns = {
        "ours": column(times["ours"], difference=agree("ours", outcome.costs, loop["costs"]), path=outcome.path),
        "numpy": column(times["numpy"], difference=0.0),
    }
    epochs = {"ours": outcome.run.epoch, "numpy": loop["epochs"]}
    return {
        "epochs": chosen.epochs,
        "batch_size": chosen.batch_size,
        "stopped_after": epochs,
        "ratio_to_numpy": (columns["ours"]["seconds"] / epochs["ours"])
        / (columns["numpy"]["seconds"] / epochs["numpy"]),
        "columns": columns,
    }


def granularities(session: Session) -> dict[str, Any]:
    """Every neuron, and every layer, an invocation; returns the results of both, and of `batch` beside them."""
    ours, stack, data = session.serverless, session.cached, session.dataset
    epochs = 3 if session.quick else 20
    kinds = {
        kind: problem.parameters(epochs=epochs, batch_size=problem.BATCH_SIZE, granularity=kind)
        for kind in ("neuron", "layer", "batch")
    }
    loop = numpy_loop(session.job("granularity", data, kinds["batch"]), epochs)
    first = ours.train(stack, data, kinds["neuron"].model_copy(update={"epochs": 3}))
    session.results.setdefault("money", {}).update(_neuron_money(session, first.run))
    times = defaultdict[str, list[float]](list)
    results: dict[str, Any] = {}
    for _ in range(session.repetitions):
        for kind, chosen in kinds.items():
            outcome = ours.train(stack, data, chosen)
            times[kind].append(outcome.seconds)
            usage = outcome.run.usage["neuron"]
            results[kind] = {
                "epochs": epochs,
                "seconds_per_epoch": 0.0,
                "invocations_per_epoch": usage.invocations / epochs,
                "difference": agree(kind, outcome.costs, loop["costs"]),
            }
        times["bare"].append(_bare_invocations(session, int(results["neuron"]["invocations_per_epoch"])))
        session.say(", ".join(f"{kind} {times[kind][-1] / epochs:.3f} s an epoch" for kind in kinds))
        session.step()
    for kind in kinds:
        per_epoch = column([seconds / epochs for seconds in times[kind]])
        results[kind] |= {"seconds_per_epoch": per_epoch["seconds"], "all": per_epoch["all"]}
    bare = column(times["bare"])
    ratio = results["neuron"]["seconds_per_epoch"] / bare["seconds"]
    results["neuron"] |= {"bare": bare, "ratio_to_bare_invocations": ratio}
    return results


def _bare_invocations(session: Session, count: int) -> float:
    """Return the seconds that so many invocations take that a neuron refuses at once, as many at a time as in a run.

    What an epoch of neurons takes beyond that is ours; the rest is botocore's and the emulator's.
    """
    ours, function = session.serverless.clients.lambda_, session.cached.neuron_function

    def invoke(_: int) -> bool:
        return b"refused" in ours.invoke(FunctionName=function, Payload=b"{}")["Payload"].read()

    with ThreadPoolExecutor(StackOptions().neuron_concurrency) as pool:
        began = time.perf_counter()
        refused = list(pool.map(invoke, range(count)))
        seconds = time.perf_counter() - began
    if not all(refused):
        raise Disagreement("a neuron took an empty task")
    return seconds


def workers(session: Session) -> dict[str, Any]:
    """Two trainers for one run against one, on a problem big enough to need them.

    It has more photos than numbers a photo, as CIFAR-10 has: with fewer, and more than a few epochs, the trainer works
    in the span of the data, where there is too little to compute to be worth a second one.
    """
    if "workers" not in Parameters.model_fields:
        return {"speedup": None, "why": "this version has one trainer a run"}
    ours, stack = session.serverless, session.cached
    samples, times_neurons, epochs = (10, 5, 10) if session.quick else (100, 5, 40)
    data = problem.grown(session.dataset, samples, session.folder, every=2)
    facts = problem.describe(data, "grown")
    neurons = problem.widened(times_neurons)
    size = -(-facts["samples"] // 2)  # a mini-batch for each
    times, outcomes, machine = defaultdict[int, list[float]](list), dict[int, Any](), list[float]()
    for turn in range(-1, session.repetitions):  # the first turn warms both trainers up and is not counted
        for count in (1, 2):
            chosen = problem.parameters(neurons, epochs=epochs, batch_size=size, strategy="average", workers=count)
            outcomes[count] = ours.train(stack, data, chosen)
            if turn >= 0:
                times[count].append(outcomes[count].seconds)
        if turn >= 0:
            machine.append(host.two_processes())
            session.say(
                f"one worker {times[1][-1]:.1f} s, two {times[2][-1]:.1f} s; of nothing but NumPy two processes do "
                f"{machine[-1]:.2f} times as much as one"
            )
            session.step()
    one, two = column(times[1]), column(times[2])
    speedup = one["seconds"] / two["seconds"]
    return {
        "speedup": speedup,
        "machine": machine,
        "ratio_to_machine": speedup / median(machine),
        "epochs": epochs,
        "problem": f"{facts['samples']:,} photos of {facts['features']:,} numbers, layers {_dashed(neurons)}, "
        f"strategy average, 2 mini-batches of {size:,}",
        "samples": facts["samples"],
        "features": facts["features"],
        "neurons": list(neurons),
        "one": one,
        "two": two,
        "difference": agree("two workers", outcomes[2].costs, outcomes[1].costs),
        "identical": outcomes[1].costs == outcomes[2].costs,
        "path": outcomes[1].path,
    }


def _money(session: Session, run: Any) -> dict[str, Any]:
    bill = cost_of(run, session.plain)
    return {"usd": bill["usd"], "epochs": run.epoch, "lines": bill["lines"], "prices": bill["prices"]}


def _neuron_money(session: Session, run: Any) -> dict[str, Any]:
    bill = cost_of(run, session.cached)
    return {"neuron_usd": bill["usd"], "neuron_epochs": run.epoch, "neuron_lines": bill["lines"]}


def _dashed(neurons: tuple[int, ...]) -> str:
    return "-".join(str(count) for count in neurons)
