"""From results.json to README.md: the figures beside their goals, the tables, and how it was measured."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from statistics import fmean as mean
from typing import Any

GOALS: tuple[tuple[str, str, float, str], ...] = (
    ("full_batch.ratio_to_numpy", "≤", 0.10, "full batch, warm: our time / the NumPy loop's"),
    ("full_batch.ratio_to_numpy_cold", "≤", 0.25, "full batch, cold: our time / the NumPy loop's"),
    ("full_batch.ratio_to_fastest_peer", "≤", 0.15, "full batch, warm: our time / the fastest contestant's"),
    ("best_batch.ratio_to_numpy", "≤", 0.15, "best of 4 mini-batches to the threshold: our time an epoch / NumPy's"),
    ("average.ratio_to_numpy", "≤", 0.15, "average of 4 mini-batches: our time / NumPy's"),
    ("neuron.seconds_per_epoch", "≤", 1.5, "seconds an epoch, every neuron an invocation"),
    ("neuron.ratio_to_bare_invocations", "≤", 2.0, "the same: to as many invocations of a neuron with nothing to do"),
    ("neuron.invocations_per_epoch", "=", 264, "neuron invocations an epoch, neuron granularity"),
    ("layer.seconds_per_epoch", "≤", 0.4, "seconds an epoch, every layer an invocation"),
    ("layer.invocations_per_epoch", "=", 32, "neuron invocations an epoch, layer granularity"),
    ("batch.invocations_per_epoch", "=", 0, "neuron invocations an epoch, batch granularity"),
    ("workers.speedup", "≥", 1.6, "two trainers: one's time / theirs"),
    ("workers.ratio_to_machine", "≥", 0.85, "the same: to what two processes of NumPy gain on this machine"),
    ("money.usd", "≤", 0.01, "USD of the full-batch job at list prices"),
    ("cats.least_training_accuracy", "≥", 0.95, "itsacat's own job: the lowest training accuracy over the seeds"),
    ("mnist.plain_accuracy", "≥", 0.980, "MNIST, ≤ 10 epochs: test accuracy, mean of three seeds"),
    ("mnist.shifted_accuracy", "≥", 0.984, "the same with one-pixel shifts"),
    ("mnist.epoch_ratio_to_torch", "≤", 0.85, "MNIST: our epoch / PyTorch's at one thread"),
    ("mnist.whole_ratio_to_torch", "≤", 1.15, "MNIST: our whole run / PyTorch's training"),
    ("mnist.whole_ratio_to_scikit_learn", "≤", 1.05, "MNIST: our whole run / scikit-learn's fit"),
    ("cifar10.test_accuracy", "≥", 0.57, "CIFAR-10, dense layers only, mirrored: test accuracy"),
    ("cifar10.accuracy_difference", "≤", 0.01, "the same: difference to PyTorch's accuracy"),
    ("cifar10.epoch_ratio_to_torch", "≤", 1.0, "CIFAR-10: our epoch / PyTorch's at one thread"),
    ("features.one_ratio_to_loop", "≥", 0.8, "photos a second: one FeatureLambda / a plain loop of ONNX Runtime"),
    ("features.two_ratio_to_one", "≥", 1.6, "photos a second: two FeatureLambdas / one"),
    ("features.again_computed", "=", 0, "the same photos once more: how many are computed"),
    ("keeping.ratio", "≤", 1.05, "itsacat's own job: its time with kept epochs / without"),
    (
        "page.slowest",
        "≤",
        2.0,
        "the page, of a million epochs, 1,000 runs or 2,000 neurons (25×25): seconds to the first picture",
    ),
)
RIVALS = {
    "ours": "**ours**",
    "torch": "PyTorch, one thread",
    "torch_all_threads": "PyTorch, all threads",
    "scikit-learn": "scikit-learn MLPClassifier",
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {"≤": operator.le, "≥": operator.ge, "=": operator.eq}
NAMES = {
    "ours_warm": "**ours, warm**",
    "ours_cold": "ours, cold",
    "ours": "**ours, warm**",
    "numpy": "NumPy loop",
    "numpy_default_threads": "NumPy loop, default threads",
    "torch-float32": "PyTorch float32",
    "torch-float64": "PyTorch float64",
    "scikit-learn": "scikit-learn MLPClassifier",
}


def lookup(results: dict[str, Any], key: str) -> Any:
    """Return the value of a dotted key, None where there is none."""
    value: Any = results
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def goals(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return for every goal what was measured and whether it is met (None: not measured)."""
    found = []
    for key, sign, goal, what in GOALS:
        value = lookup(results, key)
        met = None if value is None else COMPARISONS[sign](value, goal)
        found.append({"key": key, "what": what, "value": value, "goal": f"{sign} {goal:g}", "met": met})
    return found


def render(results: dict[str, Any], plots: Iterable[str] = ()) -> str:
    """Return benchmarks/README.md."""
    plots = set(plots)
    parts = [
        "# Benchmarks\n\n"
        "One command, `make bench`, measures everything below and writes this page, the plots beside it and "
        "`benchmarks/results.json`, in about an hour and a half on two cores. `make bench BENCH='--quick'` takes a "
        "few minutes and writes nothing here; `BENCH='--only mnist,cats'` measures parts, and `--keep` puts them on "
        "this page among those measured before. Whatever is compared was measured in one part, in turn.",
        *([_QUICK] if results.get("quick") else []),
        _machine(results),
        "## Against the goals\n\n" + _goals(results),
    ]
    sections: list[tuple[str, str, Callable[[dict[str, Any], dict[str, Any]], str]]] = [
        ("full_batch", "Full batch", _full_batch),
        ("best_batch", "Best of the mini-batches", _best_batch),
        ("average", "Average of the mini-batches", _average),
        ("neuron", "A neuron, a layer, a batch an invocation", _granularities),
        ("workers", "Two trainers for one run", _workers),
        ("cats", "itsacat's own job", _cats),
        ("strategies", "Every strategy", _strategies),
        ("mnist", "MNIST", _mnist),
        ("cifar10", "CIFAR-10", _race),
        ("digits", "A neuron an invocation, ten classes", _digits),
        ("sharing", "From where a second trainer pays", _sharing),
        ("features", "Features of photos", _features),
        ("keeping", "What keeping epochs costs", _keeping),
        ("page", "The page", _page),
        ("growth", "Growth", _growth),
        ("memory", "Memory", _memory),
        ("dag", "What Airflow adds", _dag),
        ("money", "Money", _money),
    ]
    for key, title, write in sections:
        # A part that was not measured keeps its heading: the documentation links to it.
        section = results.get(key, {"error": "this part has not run on this page's code yet"})
        text = f"Not measured: {section['error']}." if "error" in section else write(section, results)
        picture = {"full_batch": "side-by-side.svg", "growth": "growth.svg", "strategies": "strategies.svg"}.get(key)
        image = f"\n\n![{title}]({picture})" if picture in plots else ""
        parts.append(f"## {title}\n\n{text}{image}")
    parts.append("## How it is measured\n\n" + _HOW)
    return "\n\n".join(parts) + "\n"


_QUICK = "**A quick run: small sizes, one repetition. Its figures show that the benchmark works, and nothing else.**"

_HOW = """\
- **Ours** is timed from the call of LaunchLambda until a look at the ledger (every 20 ms, in longer runs every 2 % of
  the time so far) says COMPLETED: validation, first weights, starting the trainer, reading the data set from S3, all
  epochs with their progress writes, model and results in S3. The looks take processor time from the run.
- **It runs on an AWS emulator on this machine**, its Lambda functions as processes with one BLAS thread each. The
  arithmetic is what a Lambda of 1,769 MB, which has one vCPU, would do; calls to S3, DynamoDB and Lambda are faster or
  slower than AWS's, and a cold start here is a Python process with its imports, not the start of a micro-VM.
- **Warm** means that the same functions have just run: imports are done, and the trainer still has this data set and
  its Gram matrix in memory (it keeps the last one). **Cold** follows a deployment or an update of every function:
  nothing is in memory.
- **The others** are timed while they train: starting Python, imports, reading the data and converting it are not
  counted. So the comparison is unfair to ours, in that ours includes all of that in S3, Lambda and the ledger.
- **The NumPy loop** ([reference.py](reference.py)) updates full float64 arrays in place and is not held back: nearly
  all of its time is BLAS. It has one thread, as ours has; its default threads are shown too. It and the peers run with
  an allocator that keeps memory for the next epoch (`MALLOC_MMAP_MAX_=0`): by default glibc may return every large
  temporary array to the system, which was seen to double the time of an epoch of mini-batches.
- **The peers** ([peers.py](peers.py)) are used as their own tutorials use them: PyTorch with `Linear`, autograd and
  `torch.optim.SGD`, not compiled; scikit-learn's `MLPClassifier` with plain SGD on one batch. One thread each.
  They train fewer epochs than ours; their times are scaled to the same number. That flatters nobody: their set-up is
  not timed, so an epoch costs the same throughout. The fastest of them is also run in full once, to check that.
- **Same work**: the same data, mini-batches, first weights and learning rate. Every contestant's cost in each of the
  first 300 epochs must agree with the NumPy loop's to 1e-6 (float32: 1e-4), or there is no figure. What differs is how
  ours gets there: it trains the first layer in the span of the data, exact algebra that nobody else in the table uses
  and anybody could.
- **In turn**: a repetition is one run of each contestant, one after the other, so that a machine that slows down does
  so for all. Figures are medians; the range is in brackets."""


def _machine(results: dict[str, Any]) -> str:
    machine, data = results["machine"], results["data"]
    versions = results.get("versions", {})
    others = "".join(f", {name} {version}" for name, version in versions.items())
    which = (
        f"itsacat's data: {data['samples']} photos of {data['features']:,} numbers"
        if data["name"] == "itsacat"
        else f"**the faces, as itsacat's data are not on this machine**: {data['samples']} photos of "
        f"{data['features']:,} numbers (the goals were set for itsacat's)"
    )
    return (
        f"Measured on: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} "
        f"GiB, {machine['system']}; Python {machine['python']}, NumPy {machine['numpy']} with "
        f"{machine['blas']}{others}.\n\n"
        f"Data: {which}. Network 20-7-5-1, learning rate 0.0075.\n\n" + _parts(results)
    )


def _parts(results: dict[str, Any]) -> str:
    """Return when each part was measured and on what, and how busy the machine was in the minute before."""
    rows = [
        (part.replace("_", " "), about["measured"], str(about["repetitions"]), f"{about['load_before']:g}",
         f"{about['minutes']:.1f}", about.get("cpu", results["machine"]["cpu"]))
        for part, about in results["parts"].items()
    ]  # fmt: skip
    return _table(("part", "measured", "repetitions", "load before", "minutes", "processor"), rows)


def _goals(results: dict[str, Any]) -> str:
    words = {True: "met", False: "**not met**", None: "not measured"}
    rows = [
        (f"`{goal['key']}`", goal["what"], number(goal["value"]), goal["goal"], words[goal["met"]])
        for goal in goals(results)
    ]
    return _table(("key", "what", "measured", "goal", ""), rows)


def _full_batch(section: dict[str, Any], results: dict[str, Any]) -> str:
    columns = section["columns"]
    ours = columns["ours_warm"]["seconds"]
    rows = [
        (
            NAMES[name],
            _span(column),
            f"{ours / column['seconds']:.3f}",
            _difference(column.get("difference")),
            f"from {column['scaled_from_epochs']} epochs" if column.get("scaled_from_epochs") else "",
        )
        for name, column in sorted(columns.items(), key=lambda item: item[1]["seconds"])
    ]
    rows += [(NAMES.get(name, name), f"not here: {_cell(why)}", "", "", "") for name, why in section["missing"].items()]
    table = _table(("", "seconds", "ours, warm / this", "largest difference of a cost", "scaled"), rows)
    checked = section.get("fastest_peer_unscaled")
    check = (
        f" Run in full once, the fastest peer took {checked['seconds']:.1f} s (scaled: "
        f"{checked['scaled_seconds']:.1f} s)."
        if checked
        else ""
    )
    return (
        f"{section['epochs']:,} full-batch epochs; fastest besides ours: {NAMES[section['fastest_peer']]}.{check} "
        f"Ours computed the first layer by the path *{columns['ours_warm'].get('path', 'unknown')}*.\n\n{table}"
    )


def _pair(section: dict[str, Any]) -> str:
    ours, loop = section["columns"]["ours"], section["columns"]["numpy"]
    rows = [
        (NAMES["ours"], _span(ours), str(section["stopped_after"]["ours"]), _difference(ours["difference"])),
        (NAMES["numpy"], _span(loop), str(section["stopped_after"]["numpy"]), ""),
    ]
    table = _table(("", "seconds", "epochs", "largest difference of a cost"), rows)
    return f"{table}\n\nRatio: **{section['ratio_to_numpy']:.3f}**, path *{ours.get('path', 'unknown')}*."


def _best_batch(section: dict[str, Any], results: dict[str, Any]) -> str:
    lap = section["columns"]["numpy"]["seconds"] / section["stopped_after"]["numpy"]
    thrifty = section["thrifty_seconds_per_epoch"]
    return (
        f"Mini-batches of {section['batch_size']}; in each epoch the full batch with the lowest cost makes the step, "
        f"until the cost is {section['threshold']:g}. The two agree until rounding makes another batch win, after some "
        f"hundred epochs, so they end apart, and the ratio is that of an epoch's times.\n\n{_pair(section)} A cleverer "
        f"loop, which goes back only through the batch that wins, takes {thrifty * 1000:.1f} ms an epoch instead "
        f"of {lap * 1000:.1f}; against it the ratio is {section['ratio_to_numpy'] * lap / thrifty:.3f}."
    )


def _average(section: dict[str, Any], results: dict[str, Any]) -> str:
    return (
        f"{section['epochs']:,} epochs; the gradients of mini-batches of {section['batch_size']} make one step.\n\n"
        f"{_pair(section)}"
    )


def _granularities(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = []
    for kind in ("neuron", "layer", "batch"):
        result = results.get(kind, {})
        if "seconds_per_epoch" in result:
            rows.append(
                (
                    kind,
                    f"{result['seconds_per_epoch']:.3f} {_range(result['all'], 3)}",
                    f"{result['invocations_per_epoch']:g}",
                    _difference(result["difference"]),
                )
            )
    table = _table(("an invocation is a", "seconds an epoch", "neuron invocations an epoch", "cost difference"), rows)
    text = f"{section['epochs']} epochs of best-of-4-mini-batches, launch and end included.\n\n{table}"
    bare = results.get("neuron", {}).get("bare")
    if bare:
        text += (
            f"\n\nAs many invocations of a neuron that has nothing to do take {bare['seconds']:.3f} s "
            f"{_range(bare['all'], 3)} on this emulator."
        )
    return text


def _workers(section: dict[str, Any], results: dict[str, Any]) -> str:
    if section["speedup"] is None:
        return f"Not measured: {section['why']}."
    same = "bit for bit the same" if section["identical"] else f"the same to {section['difference']:.1e}"
    rows = [("one trainer", _span(section["one"])), ("two trainers", _span(section["two"]))]
    text = (
        f"{section['problem']}; {section['epochs']} epochs, path *{section['path']}*; "
        f"the costs of both are {same}.\n\n{_table(('', 'seconds'), rows)}\n\n"
        f"Speedup: **{section['speedup']:.2f}**, on {results['machine']['cores']} cores that also run the emulator."
    )
    if machine := section.get("machine"):  # figures that were kept of an earlier version have none
        text += (
            f" After each turn, two processes that only multiply did {_range(machine)} times as much as one: "
            f"of that the trainers gain {section['ratio_to_machine']:.2f}."
        )
    return text


def _cats(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (
            str(ours["seed"]),
            f"{ours['epochs']:,}",
            f"{ours['train']:.3f}",
            f"{ours['test']:.2f}",
            f"{theirs['epochs']:,}",
            f"{theirs['train']:.3f}",
            f"{theirs['test']:.2f}",
        )
        for ours, theirs in zip(section["rows"], section["torch"], strict=True)
    ]
    head = ("seed", "epochs", "training accuracy", "test accuracy", "PyTorch's epochs", "training", "test")
    return (
        "Its `parameters.json` unchanged: best of 4 mini-batches of 64, until the cost is 0.0019, at most 5,000 "
        "epochs; by the deployed stack. Beside it PyTorch with the same rule, first weights and mini-batches of its "
        "own.\n\n"
        f"{_table(head, rows)}\n\n"
        f"Test accuracy, mean and spread: **{section['test_accuracy']:.3f} ± {section['test_std']:.3f}**; PyTorch "
        f"{section['torch_test_accuracy']:.3f} ± {section['torch_test_std']:.3f}. With 50 test photos, ±0.11 is the 95 "
        "% interval of each of them."
    )


def _strategies(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = []
    for name, runs in section["rows"].items():
        train, test, seconds, epochs = ([run[key] for run in runs] for key in ("train", "test", "seconds", "epochs"))
        rows.append(
            (
                name,
                f"{mean(train):.3f} {_range(train, 3)}",
                f"{mean(test):.3f} {_range(test)}",
                f"{mean(epochs):,.0f}",
                f"{mean(seconds):.2f}",
            )
        )
    head = ("strategy", "training accuracy", "test accuracy", "epochs", "seconds")
    return (
        f"itsacat's photos and network, {section['seeds']} seeds, learning rate 0.0075; until the cost is 0.0019 or, "
        f"of full-batch and average, 3,000 epochs are done.\n\n{_table(head, rows)}"
    )


def _race(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (
            RIVALS[name],
            f"{one['seconds_per_epoch']:.2f}",
            _span(one),
            f"{one['test_accuracy']:.4f}",
        )
        for name, one in section["columns"].items()
    ]
    table = _table(("", "seconds an epoch", "seconds in all", "test accuracy"), rows)
    return (
        f"{section['epochs']} epochs, layers {section['network']}. Ours in all is from launch to COMPLETED; the "
        f"others' is their training, with the conversion of the data and without imports. The trainer's peak is "
        f"{section['trainer_peak_mb']:,.0f} MB.\n\n{table}"
    )


def _mnist(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (name, f"{mean(found):.4f}", ", ".join(f"{one:.4f}" for one in found))
        for name, found in section["accuracies"].items()
    ]
    return (
        f"{_race(section, results)}\n\nWith layers 512-256-10, a cosine schedule and as many epochs:\n\n"
        f"{_table(('', 'test accuracy', 'by seed'), rows)}"
    )


def _digits(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (
            kind,
            f"{section[kind]['seconds']:.3f} {_range(section[kind]['all'], 3)}",
            f"{section[kind]['invocations_per_epoch']:g}",
            _difference(section[kind]["difference"]),
        )
        for kind in ("neuron", "layer", "batch")
    ]
    head = (
        "an invocation is a",
        "seconds an epoch",
        "neuron invocations an epoch",
        "difference of a weight to neuron's",
    )
    return f"{section['problem']}, {section['epochs']} epochs, launch and end included.\n\n{_table(head, rows)}"


def _sharing(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (f"{row['batch_size']:,}", f"{row['one']:.2f}", f"{row['two']:.2f}", f"{row['speedup']:.2f}")
        for row in section["rows"]
    ]
    pays = section["pays_from"]
    verdict = f"It pays from {pays:,} on." if pays else "It pays at none of these."
    return (
        f"Two trainers share each mini-batch in two parts and meet in the cache at every step. "
        f"{section['problem']}.\n\n"
        f"{_table(('mini-batch', 'one trainer, s an epoch', 'two', 'speedup'), rows)}\n\n{verdict}"
    )


def _growth(section: dict[str, Any], results: dict[str, Any]) -> str:
    header = ("", "photos", "neurons", "ours, ms an epoch", "path", "NumPy, ms an epoch", "ratio", "peak MB", "fits")
    tables = []
    for name in ("samples", "neurons"):
        rows = []
        for case in section[name]:
            lap, cut = case["seconds_per_epoch_once_running"], case["extrapolated_from_epochs"]
            running = f" ({lap * 1000:.2f} once running; from {cut} epochs)" if cut else ""
            rows.append(
                (
                    f"{'photos' if name == 'samples' else 'neurons'} ×{case['factor']}",
                    f"{case['samples']:,}",
                    "-".join(map(str, case["neurons"])),
                    f"{case['seconds_per_epoch'] * 1000:.2f}{running}",
                    case["path"],
                    f"{case['numpy_seconds_per_epoch'] * 1000:.1f}",
                    f"{case['ratio_to_numpy']:.3f}",
                    f"{case['peak_mb']:.0f}",
                    f"{case['fits_mb']:,} MB",
                )
            )
        tables.append(_table(header, rows))
    return (
        f"The whole job of {section['epochs']:,} full-batch epochs by a fresh trainer, set-up included, divided by its "
        "epochs. Where that would take too long here, the run was cancelled after eight seconds of epochs and the rest "
        "follows from the epochs seen (then the cell says from how many). The NumPy loop is the median of its epochs "
        "in four seconds. *Peak* is the highest resident memory of the trainer's process, *fits* the Lambda memory "
        "with a fifth to spare.\n\n" + "\n\n".join(tables)
    )


def _memory(section: dict[str, Any], results: dict[str, Any]) -> str:
    return (
        f"The trainer's peak on these data is {section['peak_mb']:.0f} MB ({section['fits_mb']:,} MB fit); on "
        f"×{section['grown_factor']} photos it is {section['grown_peak_mb']:,.0f} MB ({section['grown_fits_mb']:,} MB "
        f"fit). The stack sets {section['trainer_setting_mb']:,} MB, where a function has one whole vCPU."
    )


def _features(section: dict[str, Any], results: dict[str, Any]) -> str:
    width, height = section["size"]
    rows = [
        (name, f"{section[key]['seconds']:.1f} {_range(section[key]['all'])}", f"{1e3 / section[key]['seconds']:.0f}")
        for key, name in (
            ("loop", "plain loop of ONNX Runtime, one thread"),
            ("one", "**one FeatureLambda**"),
            ("two", "**two FeatureLambdas**"),
        )
    ]
    return (
        f"{section['photos']} JPEG files of {width} × {height} pixels, seen by efficientnet-lite0. The loop decodes "
        f"and prepares them by the same code; the features differ by {section['difference']:.0e} at most.\n\n"
        + _table(("", "photos a second", "ms a photo"), rows)
        + f"\n\nThe same photos once more: {section['again_computed']} are computed, and their features are there "
        f"after {section['again_seconds']:.2f} s. One photo takes {section['warm']['seconds']:.2f} s by a function "
        f"that is warm, and {section['cold']['seconds']:.2f} s by one that starts: Python, ONNX Runtime, and the "
        "backbone out of S3."
    )


def _keeping(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (
            f"{row['job']}, {row['epochs']:,} epochs", f"{row['with']:.2f}", f"{row['without']:.2f}",
            f"{row['ratio']:.3f} {_range(row['all'], 3)}", f"{row['processor_ratio']:.3f}", str(row["kept"]),
            f"{row['bytes'] / 1e6:.1f}",
            str(row["puts"]), f"{row['usd']:.6f}",
        )
        for row in section["rows"]
    ]  # fmt: skip
    return (
        f"{section['rows'][0]['pairs']} pairs of runs, with `keep_epochs` and without, in turn, by a trainer in a "
        "process of its own, with one thread; the costs are the same to the last bit. The ratio is the median over the "
        "pairs; so is that of the processor's time, which what else runs on the machine changes less.\n\n"
        + _table(("", "seconds with", "without", "ratio", "processor", "kept", "MB", "puts", "USD of the puts"), rows)
    )


def _page(section: dict[str, Any], results: dict[str, Any]) -> str:
    rows = [
        (
            row["view"], f"{row['first']:.2f}", f"{row['again']:.2f} {_range(row['all'])}", str(row["server_mb"]),
            str(row["worker_mb"] or "–"),
        )
        for row in section["rows"]
    ]  # fmt: skip
    return (
        "From an address to its first picture in headless Chromium: in a server that has just begun and knows nothing, "
        "and once more. The emulator that answers for AWS has the same two cores.\n\n"
        + _table(("", "seconds at first", "again", "MB of the server", "of its worker"), rows)
    )


def _dag(section: dict[str, Any], results: dict[str, Any]) -> str:
    tasks = ", ".join(f"{name} {seconds or 0:.1f} s" for name, seconds in section["tasks_seconds"].items())
    return (
        f"A run of `snn_training` on a real Airflow takes **{section['overhead_seconds']:.1f} s** "
        f"{_range(section['all'])} beyond its {section['training_seconds']:.1f} s of training (wall time from trigger "
        f"to success: {section['wall_seconds']:.1f} s). In that time it brings the stack up to date, stages, "
        f"evaluates, classifies photos and reports. The last run's tasks: {tasks}. The first run, which deploys, adds "
        f"{section['first_overhead_seconds']:.1f} s; starting Airflow takes {section['airflow_start_seconds']:.0f} s."
    )


def _money(section: dict[str, Any], results: dict[str, Any]) -> str:
    prices = section.get("prices", {})
    text = [
        f"At list prices ({prices.get('region', '?')}, {prices.get('date', '?')}, {prices.get('architecture', '?')}; "
        "no free tier), with the durations measured here."
    ]
    for usd, epochs, lines, what in (
        ("usd", "epochs", "lines", "full-batch epochs, warm, a stack without cache"),
        ("neuron_usd", "neuron_epochs", "neuron_lines", "epochs with a neuron an invocation, a stack with cache"),
    ):
        if usd in section:
            rows = [
                (
                    line["what"],
                    f"{line['quantity']:,.6g} {line['unit']}",
                    f"{line['price']:.10g}",
                    f"{line['usd']:.9f}",
                )
                for line in section[lines]
            ]
            rows.append(("**sum**", "", "", f"**{section[usd]:.6f}**"))
            title = f"{section[epochs]:,} {what}: **{section[usd]:.6f} USD**"
            text.append(f"{title}\n\n{_table(('what', 'quantity', 'USD each', 'USD'), rows)}")
    return "\n\n".join(text)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _span(column: dict[str, Any]) -> str:
    return f"{column['seconds']:.2f} {_range(column['all'])}"


def _range(samples: list[float], digits: int = 2) -> str:
    return f"[{min(samples):.{digits}f}–{max(samples):.{digits}f}]"


def _difference(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.0e}"


def number(value: float | None) -> str:
    """Return a figure as the tables show it, nothing for none."""
    return "" if value is None else f"{value:.3g}" if value < 1 else f"{value:.4g}"


def _cell(text: str) -> str:
    return text.replace("|", "/").replace("\n", " ")
