"""What OpenLineage is told, and that operators work where nobody asks; end-to-end tests have it in a real Airflow."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import oracle
import pytest
from openlineage.client.serde import Serde

from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy
from snn_operators.lineage import of_files, of_training
from snn_operators.results import folders
from snn_operators.stage import SnnStageOperator
from snn_operators.train import SnnTrainOperator

PARAMETERS = Parameters.load(oracle.small_network(epochs=30, threshold=0.02))


def told(**fields: Any) -> Any:
    """The lineage of a run, as it travels."""
    run = Run(
        "r-1",
        State.COMPLETED,
        PARAMETERS,
        dataset="training_input/cats/d.h5",
        started_at=1_700_000_000.0,
        ended_at=1_700_000_002.5,
        epoch=21,
        cost=0.019,
        stopped_by=StoppedBy.THRESHOLD,
        samples=24,
        **fields,
    )
    return json.loads(Serde.to_json(of_training("b", run)))


def names(datasets: Any) -> list[tuple[str, str]]:
    return [(dataset["namespace"], dataset["name"]) for dataset in datasets]


def test_a_run_stands_between_its_data_and_its_model() -> None:
    lineage = told()
    assert names(lineage["inputs"]) == [("s3://b", "training_input/cats/d.h5")]
    assert lineage["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"] == 24
    assert lineage["inputs"][0].get("facets", {}) == {}
    assert names(lineage["outputs"]) == [("s3://b", "runs/r-1/params.h5"), ("s3://b", "runs/r-1/results.json")]
    assert lineage["outputs"][0]["facets"]["datasetType"]["datasetType"] == "MODEL"
    assert {name: value for name, value in lineage["run_facets"]["snn_training"].items() if name[0] != "_"} == {
        "run_id": "r-1",
        "epochs_run": 21,
        "final_cost": 0.019,
        "stopped_by": "threshold",
        "seconds": 2.5,
        "parameters_sha256": hashlib.sha256(PARAMETERS.to_json().encode()).hexdigest(),
    }
    parameters = {each["key"]: each["value"] for each in lineage["run_facets"]["executionParameters"]["parameters"]}
    assert (parameters["strategy"], parameters["threshold"]) == ("full-batch", "0.02")
    assert json.loads(parameters["neurons"]) == {"layer1": 5, "layer2": 4, "layer3": 1}
    assert parameters.keys() == json.loads(PARAMETERS.to_json()).keys()


def test_a_promoted_model_is_one_too_and_an_uploads_version_is_told() -> None:
    lineage = told(promote=True, dataset_version="v7")
    assert lineage["inputs"][0]["facets"]["version"]["datasetVersion"] == "v7"
    models = [each for each in lineage["outputs"] if "datasetType" in each.get("facets", {})]
    assert names(models) == [("s3://b", "runs/r-1/params.h5"), ("s3://b", "predict_input/params.h5")]
    assert names(lineage["outputs"])[2:] == [
        ("s3://b", "runs/r-1/results.json"),
        ("s3://b", "training_results/results.json"),
    ]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("s3://photos/cats/d.h5", ("s3://photos", "cats/d.h5")),
        ("/data/d.h5", ("file", "/data/d.h5")),
        ("d.h5", ("file", str(Path("d.h5").absolute()))),
        ("s3://photos", ("s3://photos", "/")),
    ],
)
def test_files_are_named_as_openlineage_spells_them(source: str, name: tuple[str, str]) -> None:
    made = "s3://b/runs/r/input/datasets-1.h5"
    lineage = json.loads(Serde.to_json(of_files([source, made, source], [made])))
    assert names(lineage["inputs"]) == [name, ("s3://b", "runs/r/input/datasets-1.h5")]
    assert names(lineage["outputs"]) == [("s3://b", "runs/r/input/datasets-1.h5")]
    assert not any(each.get("facets") for each in (*lineage["inputs"], *lineage["outputs"]))


def test_a_model_is_one_wherever_it_goes() -> None:
    lineage = json.loads(Serde.to_json(of_files(["s3://b/runs/r/params.h5"], ["s3://b/predict_input/params.h5"])))
    for each in (*lineage["inputs"], *lineage["outputs"]):
        assert each["facets"]["datasetType"]["datasetType"] == "MODEL"


def test_photos_go_by_their_folder() -> None:
    staged = {"uri": "s3://b/runs/r/input/images/0000-a.png", "name": "a.png"}
    given = [staged, {**staged, "uri": staged["uri"].replace("0-a", "1-b")}, "cats/c.png", "d.png", "s3://photos/e.png"]
    assert folders(given) == ["s3://b/runs/r/input/images", "cats", ".", "s3://photos"]


def test_of_what_did_not_come_to_pass_nothing_is_told() -> None:
    train = SnnTrainOperator(task_id="train", run_id="r", dataset_key="k", parameters={})
    stage = SnnStageOperator(task_id="stage", dataset="d.h5", parameters={})
    assert train.get_openlineage_facets_on_complete(None) is None
    assert stage.get_openlineage_facets_on_complete(None) is None


WITHOUT = """
import runpy, sys
sys.modules["openlineage"] = sys.modules["airflow.providers.openlineage.extractors"] = None  # as if not installed
for dag in sys.argv[1:]:
    runpy.run_path(dag)
from snn_operators.train import SnnTrainOperator
print(SnnTrainOperator(task_id="t", run_id="r", dataset_key="k", parameters={}).task_id)
"""


def test_operators_and_dags_do_without_openlineage(tmp_path: Path) -> None:
    dags = map(str, (Path(__file__).parents[3] / "dags").glob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, *dags],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.splitlines()[-1:], done.returncode) == (["t"], 0), done.stderr
