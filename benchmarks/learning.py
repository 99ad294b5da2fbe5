"""What is learned, and how fast, beside PyTorch and scikit-learn: accuracy on real data by the deployed stack.

MNIST and CIFAR-10 are used where they lie unpacked under `.local/data` or packed in the shared folder of data sets;
where they are not, their parts say so. Cats (itsacat's photos) and scikit-learn's digits need no more than usual.
"""

from __future__ import annotations

import statistics
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import problem
from benchmarks.competitors import CompetitorFailed
from benchmarks.serverless import Outcome
from benchmarks.session import Session, agree, column
from snn_cloud.aws import places
from snn_cloud.ledger.parameters import Parameters
from snn_data.dataset import load_dataset, save_dataset
from snn_data.model import Model, load_model

SHARED = problem.ROOT.parent / "shared" / "datasets"
DATA = problem.ROOT / ".local" / "data"
MNIST: dict[str, Any] = {
    "learning_rate": 0.001,
    "batch_size": 128,
    "strategy": "sgd",
    "optimizer": "adam",
    "dtype": "float32",
}
CIFAR10: dict[str, Any] = {
    **MNIST, "learning_rate": 0.0005, "optimizer": {"name": "adamw", "weight_decay": 0.1},
    "augmentation": {"mirror": True}, "schedule": {"name": "cosine", "warmup": 1.0},
}  # fmt: skip
CATS: dict[str, dict[str, Any]] = {
    "best-batch": {"epochs": 5000, "batch_size": 64, "threshold": 0.0019},
    "sgd": {"epochs": 1000, "batch_size": 64, "threshold": 0.0019},
    "average": {"epochs": 3000, "batch_size": 64},
    "full-batch": {"epochs": 3000},
}


class NoData(Exception):
    """A data set is not on this machine."""


def data_set(name: str, mode: str) -> Path:
    """Return `datasets.h5` of MNIST or CIFAR-10, made of its folders of pictures. Raises NoData."""
    file = DATA / f"{name}.h5"
    if file.exists():
        return file
    packed = SHARED / f"{name}.tar.xz"
    if not (DATA / name).is_dir():
        if not packed.exists():
            raise NoData(f"{name} is not on this machine")
        DATA.mkdir(parents=True, exist_ok=True)
        with tarfile.open(packed) as archive:
            archive.extractall(DATA, filter="data")
    classes = sorted(folder.name for folder in (DATA / name / "train").iterdir())
    arrays = []
    for part in ("train", "test"):
        pictures = [(path, k) for k, one in enumerate(classes) for path in sorted((DATA / name / part / one).iterdir())]
        arrays.append(np.stack([np.asarray(Image.open(path).convert(mode)) for path, _ in pictures]))
        arrays.append(np.array([k for _, k in pictures]))
    unfinished = file.with_suffix(".part")
    save_dataset(unfinished, *arrays, classes)
    unfinished.replace(file)
    return file


def parameters(sizes: tuple[int, ...], output: str, hidden: str = "relu", **fields: Any) -> Parameters:
    """Return the parameters of a network of these layers."""
    names = [f"layer{number}" for number in range(1, len(sizes) + 1)]
    network = {
        "layers": len(sizes),
        "neurons": dict(zip(names, sizes, strict=True)),
        "activations": {**dict.fromkeys(names, hidden), names[-1]: output},
    }
    return Parameters.load({"learning_rate": problem.RATE, **network, **fields})


def cats(session: Session) -> dict[str, Any]:
    """itsacat's own job, unchanged, over seeds: what it learns, here and by PyTorch with the same rule."""
    seeds = range(2) if session.quick else range(10)
    fields = CATS["best-batch"] if not session.quick else {**CATS["best-batch"], "epochs": 200}
    ours, theirs = [], []
    for seed in seeds:
        chosen = parameters(problem.LAYERS, "sigmoid", seed=seed, **fields)
        ours.append(_trained(session, session.dataset, chosen))
        job = session.job(f"cats-{seed}", session.dataset, chosen)
        theirs.append(_peer(session, "torch", job, seed=seed, own_draws=True))
        job.unlink()
        session.say(f"cats, seed {seed}: training {ours[-1]['train']:.3f}, test {ours[-1]['test']:.2f}")
        session.step()
    return {
        "seeds": len(list(seeds)),
        "rows": ours,
        "torch": theirs,
        "least_training_accuracy": min(one["train"] for one in ours),
        "test_accuracy": statistics.fmean(one["test"] for one in ours),
        "test_std": statistics.pstdev(one["test"] for one in ours),
        "torch_test_accuracy": statistics.fmean(one["test"] for one in theirs),
        "torch_test_std": statistics.pstdev(one["test"] for one in theirs),
    }


def strategies(session: Session) -> dict[str, Any]:
    """Every strategy on the cats, over 20 seeds."""
    seeds = range(2) if session.quick else range(20)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, fields in CATS.items():
        if session.quick:
            fields = {**fields, "epochs": 100}
        found[name] = [
            _trained(
                session, session.dataset, parameters(problem.LAYERS, "sigmoid", seed=seed, strategy=name, **fields)
            )
            for seed in seeds
        ]
        mean = statistics.fmean(one["test"] for one in found[name])
        session.say(f"{name}: test {mean:.3f} over {len(list(seeds))} seeds")
        session.step()
    return {"seeds": len(list(seeds)), "rows": found, "fields": CATS}


def mnist(session: Session) -> dict[str, Any]:
    """MNIST by mini-batches with Adam: time beside PyTorch and scikit-learn; and a wider network, with shifts."""
    data = data_set("mnist", "L")
    epochs = 2 if session.quick else 10
    timed = parameters((256, 128, 10), "softmax", epochs=epochs, **MNIST)
    result = _race(session, "mnist", data, timed, scikit_learn=True)
    wide = {"epochs": epochs, **MNIST, "schedule": "cosine"}
    recipes = {
        "plain": parameters((512, 256, 10), "softmax", dropout=0.2, **wide),
        "one-pixel shifts": parameters((512, 256, 10), "softmax", augmentation={"shift": 1}, **wide),
    }
    seeds = (1,) if session.quick else (1, 2, 3)
    accuracies = {
        name: [_trained(session, data, chosen.model_copy(update={"seed": seed}))["test"] for seed in seeds]
        for name, chosen in recipes.items()
    }
    session.step()
    return {
        **result,
        "accuracies": accuracies,
        "plain_accuracy": statistics.fmean(accuracies["plain"]),
        "shifted_accuracy": statistics.fmean(accuracies["one-pixel shifts"]),
        "recipes": {name: chosen.to_json() for name, chosen in recipes.items()},
    }


def cifar10(session: Session) -> dict[str, Any]:
    """CIFAR-10 by dense layers only, mirrored: accuracy and time beside PyTorch's same recipe."""
    data = data_set("cifar10", "RGB")
    epochs = 2 if session.quick else 20
    chosen = parameters((1024, 512, 10), "softmax", hidden="elu", epochs=epochs, **CIFAR10)
    result = _race(session, "cifar10", data, chosen, scikit_learn=False, repetitions=1)
    result["accuracy_difference"] = abs(result["test_accuracy"] - result["columns"]["torch"]["test_accuracy"])
    return result


def digits(session: Session) -> dict[str, Any]:
    """scikit-learn's digits: every neuron an invocation, on softmax."""
    from sklearn.datasets import load_digits

    found = load_digits()
    file = session.folder / "digits.h5"
    x, y = found.images.astype(np.uint8) * 15, found.target
    save_dataset(file, x[:1500], y[:1500], x[1500:], y[1500:], [str(k) for k in range(10)])
    epochs = 1 if session.quick else 3
    shared: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": 500,
        "strategy": "sgd",
        "optimizer": "adam",
        "learning_rate": 0.01,
    }
    results: dict[str, Any] = {
        "epochs": epochs,
        "problem": "1,500 digits of 8×8, layers 20-10, Adam, mini-batches of 500",
    }
    weights: dict[str, Any] = {}
    for granularity in ("neuron", "layer", "batch"):
        chosen = parameters((20, 10), "softmax", granularity=granularity, **shared)
        times = []
        for _ in range(session.repetitions):
            outcome, model = _run(session, file, chosen, cached=True)
            times.append(outcome.seconds / epochs)
        weights[granularity] = model.params
        results[granularity] = {
            **column(times), "invocations_per_epoch": outcome.run.usage["neuron"].invocations / epochs,
            "difference": max(
                float(np.abs(array - weights["neuron"][name]).max()) for name, array in model.params.items()
            ),
        }  # fmt: skip
        session.say(f"digits, {granularity}: {times[-1]:.2f} s an epoch")
    session.step()
    return results


def sharing(session: Session) -> dict[str, Any]:
    """One and two trainers for a step's mini-batch, by its size: from where does the second one pay?"""
    data = problem.grown(session.dataset, 10 if session.quick else 100, session.folder, every=2)
    facts = problem.describe(data, "grown")
    sizes = (500, 2000) if session.quick else (250, 500, 1000, 2000, 4000)
    rows = []
    for size in sizes:
        seconds = {}
        for workers in (1, 2):
            chosen = problem.parameters(
                problem.widened(5), epochs=2, batch_size=size, strategy="sgd", sub_batches=2, workers=workers,
                optimizer="adam", learning_rate=0.0005, dtype="float32",
            )  # fmt: skip
            laps = [_lap(session.serverless.train(session.cached, data, chosen)) for _ in range(session.repetitions)]
            seconds[workers] = statistics.median(laps)
        rows.append({"batch_size": size, "one": seconds[1], "two": seconds[2], "speedup": seconds[1] / seconds[2]})
        session.say(f"mini-batches of {size}: one trainer {seconds[1]:.2f} s an epoch, two {seconds[2]:.2f} s")
        session.step()
    pays = next((row["batch_size"] for row in rows if row["speedup"] > 1.05), None)
    return {
        "rows": rows,
        "pays_from": pays,
        "problem": f"{facts['samples']:,} photos of {facts['features']:,} numbers, layers 100-35-25-1, Adam, float32",
    }


def _race(
    session: Session, name: str, data: Path, chosen: Parameters, *, scikit_learn: bool, repetitions: int | None = None
) -> dict[str, Any]:
    """Train ours, PyTorch with one thread and with all, and scikit-learn, in turn."""
    job = session.job(name, data, chosen)
    ours, whole, rivals = [], [], {"torch": [], "torch_all_threads": [], "scikit-learn": []}  # type: ignore[var-annotated]
    # Two epochs first, so that the trainer is warm and has the data.
    session.serverless.train(session.plain, data, chosen.model_copy(update={"epochs": 2}))
    for _ in range(repetitions or session.repetitions):
        outcome, model = _run(session, data, chosen)
        ours.append(_lap(outcome))
        whole.append(outcome.seconds)
        rivals["torch"].append(_peer(session, "torch", job))
        rivals["torch_all_threads"].append(_peer(session, "torch", job, threads=session.cores))
        if scikit_learn:
            rivals["scikit-learn"].append(_peer(session, "scikit-learn", job))
        session.say(
            f"{name}: ours {ours[-1]:.2f} s an epoch ({whole[-1]:.1f} s whole), PyTorch "
            f"{rivals['torch'][-1]['seconds_per_epoch']:.2f} s"
        )
        session.step()
    memory = session.serverless.peak_mb(session.plain.trainer_function)
    job.unlink()
    loaded = load_dataset(data)
    judged = {"seconds_per_epoch": statistics.median(ours), "test_accuracy": _accuracy(model, loaded.test)}
    columns: dict[str, Any] = {"ours": {**column(whole), **judged}}
    for rival, answers in rivals.items():
        if answers:
            columns[rival] = {
                **column([one["seconds"] for one in answers]),
                "seconds_per_epoch": statistics.median(one["seconds_per_epoch"] for one in answers),
                "test_accuracy": answers[-1]["test"],
                "version": answers[-1]["version"],
            }
    same = {} if chosen.augment or chosen.dropout else {
        "difference": agree(name, outcome.costs[:1], rivals["torch"][-1]["costs"][:1], tolerance=2e-3)
    }  # fmt: skip
    torch = columns["torch"]
    return {
        "epochs": chosen.epochs,
        "network": "-".join(map(str, chosen.neurons_per_layer)),
        "columns": columns,
        "test_accuracy": columns["ours"]["test_accuracy"],
        "epoch_ratio_to_torch": columns["ours"]["seconds_per_epoch"] / torch["seconds_per_epoch"],
        "whole_ratio_to_torch": columns["ours"]["seconds"] / torch["seconds"],
        "whole_ratio_to_scikit_learn": (
            columns["ours"]["seconds"] / columns["scikit-learn"]["seconds"] if scikit_learn else None
        ),
        "trainer_peak_mb": memory,
        "recipe": chosen.to_json(),
        **same,
    }


def _lap(outcome: Outcome) -> float:
    """Return the seconds of an epoch once it runs, from what was seen of the ledger."""
    seen = [look for look in outcome.seen if look[1]]
    if len(seen) < 2:
        return outcome.seconds / max(1, outcome.run.epoch)
    return (seen[-1][0] - seen[0][0]) / (seen[-1][1] - seen[0][1])


def _run(session: Session, data: Path, chosen: Parameters, cached: bool = False) -> tuple[Outcome, Model]:
    """Train on the deployed stack; return how it went, and the model that lies in S3."""
    stack = session.cached if cached else session.plain
    kept: list[bytes] = []

    def keep(run_id: str) -> None:
        answer = session.serverless.clients.s3.get_object(Bucket=stack.bucket, Key=places.params(run_id))
        kept.append(answer["Body"].read())

    outcome = session.serverless.train(stack, data, chosen, before_it_goes=keep)
    return outcome, load_model(BytesIO(kept[0]))


def _trained(session: Session, data: Path, chosen: Parameters) -> dict[str, Any]:
    """Train on the deployed stack and judge the model by both parts of the data."""
    outcome, model = _run(session, data, chosen)
    loaded = load_dataset(data)
    return {
        "seed": chosen.seed,
        "epochs": outcome.run.epoch,
        "seconds": outcome.seconds,
        "final_cost": outcome.costs[-1],
        "train": _accuracy(model, loaded.train),
        "test": _accuracy(model, loaded.test),
    }


def _accuracy(model: Model, samples: Any) -> float:
    answers = model.judge(samples)
    said = answers.argmax(axis=0) if len(answers) > 1 else answers[0] > 0.5
    return float(np.mean(said == samples.y))


def _peer(
    session: Session, kind: str, job: Path, threads: int = 1, seed: int = 1, own_draws: bool = False
) -> dict[str, Any]:
    if session.competitors.missing.get("torch-float32" if kind == "torch" else kind):
        raise CompetitorFailed(session.competitors.missing["torch-float32" if kind == "torch" else kind])
    found = session.competitors.classify(kind, job, threads, seed, own_draws)
    return {**found, "train": found["train_accuracy"], "test": found["test_accuracy"], "seed": seed}
