"""The DAG snn_training with a pretrained backbone: itsacat's photos if they are here, else the faces; ten seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dag_run import DagRun, runner

from snn_cli.datasets import build_faces

pytestmark = pytest.mark.slow

DAG = "snn_training"
SHARED = Path(__file__).parents[3] / "shared"
ITSACAT = SHARED / "datasets" / "datasets.h5"
SEEDS = range(10)


@pytest.fixture(scope="module")
def runs(machine: Any, tmp_path_factory: pytest.TempPathFactory) -> list[DagRun]:
    dataset, images = ITSACAT, sorted((SHARED / "images").glob("*"))
    if not dataset.exists():
        dataset, images = tmp_path_factory.mktemp("files") / "faces.h5", []
        build_faces(dataset)
    run = runner(machine, DAG, 300, stack_name="snn-backbone", backbone="efficientnet-lite0", dataset=str(dataset))
    found = []
    for seed in SEEDS:
        found.append(run(seed=seed, images=[str(image) for image in images]))
        tasks = {task["task_id"]: task["duration"] for task in machine.api.task_instances(DAG, found[-1].run_id)}
        report = found[-1].xcom("report")
        lasted = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in tasks.items())
        print(f"seed {seed}: {report['test_set']['accuracy']:.3f}; {lasted}; {report['cost']['usd']:.6f} USD")  # noqa: T201
    return found


def test_ten_seeds_are_right_about_photos_that_they_never_saw(runs: list[DagRun]) -> None:
    assert all(set(run.states.values()) == {"success"} for run in runs)
    accuracies = [run.xcom("report")["test_set"]["accuracy"] for run in runs]
    assert np.mean(accuracies) >= 0.97, accuracies


def test_features_are_computed_by_the_first_run_only(runs: list[DagRun]) -> None:
    invocations = [run.xcom("report")["cost"]["invocations"].get("feature", 0) for run in runs]
    assert invocations[0] > 0
    assert invocations[1:] == [0] * 9


@pytest.mark.skipif(not ITSACAT.exists(), reason="itsacat's photos are not here")
def test_two_new_photos_are_classified_right_by_every_seed(runs: list[DagRun]) -> None:
    for run in runs:
        said = {Path(one["uri"]).stem: one["class_name"] for one in run.xcom("report")["new_images"]}
        assert said == {"cat": "cat", "not_a_cat": "non-cat"}
