"""A run in MLflow: logged once to any tracking server, and its model a version in MLflow's registry."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from snn.errors import InvalidInput, one_line
from snn_client.portable.mlflow_contents import RUN_ID, STACK, WHOLE, Contents, contents_of
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.aws.errors import CloudError
from snn_cloud.ledger.ledger import Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

EXPERIMENT = "snn"
MODEL = "model"
"""The folder of a run's artifacts that holds the model as MLflow loads it."""

METRICS_AT_ONCE, PARAMETERS_AT_ONCE = 1_000, 100
"""Of one request; MLflow takes no more."""


class Logged(TypedDict):
    """Where a run is in MLflow. `new` is False if it was there already; `version` is None if none was asked for."""

    run_id: str
    mlflow_run_id: str
    experiment: str
    new: bool
    model: str
    version: int | None


def log_run(
    clients: Clients,
    outputs: StackOutputs,
    run_id: str,
    tracking_uri: str,
    experiment: str = EXPERIMENT,
    register_as: str = "",
) -> Logged:
    """Log a completed run, with its report, to an MLflow tracking server; register its model as `register_as`.

    The same run of the same stack is logged once: a former MLflow run is found by its tags and left as it is, and so is
    a version of the model that came from it. One that was cut off half-way is deleted and logged anew. Credentials are
    those of MLflow's own variables (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_TOKEN …).

    Raises InvalidInput without the extra `mlflow`, for an address that is none, or holds a password, and for a run
    without a report or, to be registered, without a model in ONNX; CloudError for a run that is not completed, and with
    MLflow's own words for what the server refuses.
    """
    run = Ledger(clients.dynamodb, outputs.table).get(run_id)
    client = _client(check_address(tracking_uri))
    with _refusals(tracking_uri):
        place = _experiment(client, experiment)
        former = _former(client, place, run_id, outputs.stack_name)
        known = next((each for each in former if WHOLE in each.data.tags), None)
        if known is None or register_as:
            contents = contents_of(clients, outputs.bucket, outputs.stack_name, run)
            if register_as and contents.model is None:
                hint = "install the extra `backbones`, and write the report anew"
                raise InvalidInput("has no model in ONNX to register", source=f"run {run_id}", hint=hint)
        if known is None:
            for half in former:
                client.delete_run(half.info.run_id)
            mlflow_run_id = _logged(client, place, contents)
        else:
            mlflow_run_id = known.info.run_id
        version = _version(client, register_as, mlflow_run_id) if register_as else None
    return {
        "run_id": run_id,
        "mlflow_run_id": mlflow_run_id,
        "experiment": experiment,
        "new": known is None,
        "model": register_as,
        "version": version,
    }


def check_address(tracking_uri: str) -> str:
    """Return the address of a tracking server. Raises InvalidInput, which never repeats a password in it."""
    field, hint = "tracking-uri", "such as http://127.0.0.1:5000, or databricks"
    if re.match(r"https?://[^/]*@", tracking_uri):
        raise InvalidInput(
            "holds a name or a password",
            field=field,
            hint="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN",
        )
    if not re.match(r"https?://[^/\s]|databricks(://\S+)?$", tracking_uri):
        problem = f"{tracking_uri!r} is not the address of a tracking server" if tracking_uri else "is missing"
        raise InvalidInput(problem, field=field, hint=hint)
    return tracking_uri


def _client(tracking_uri: str) -> MlflowClient:
    if importlib.util.find_spec("mlflow") is None:
        hint = "install the extra: pip install 'serverless-neural-network-airflow[mlflow]'"
        raise InvalidInput("needs the package mlflow, which is not installed here", source="mlflow", hint=hint)
    # Unless somebody wants it: its makers are not told what is called, and it prints nothing into what scripts read.
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        os.environ.setdefault(name, "true")
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri)


@contextmanager
def _refusals(tracking_uri: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as problem:
        if isinstance(problem, OSError) and problem.filename is not None:
            raise  # of a file here; those of requests, which are OSErrors too, name none
        raise CloudError(one_line(f"MLflow at {tracking_uri}: {' '.join(str(problem).split())}", 600)) from None


def _experiment(client: MlflowClient, name: str) -> str:
    """Return the number of an experiment, which is made if there is none of this name."""
    from mlflow.exceptions import MlflowException

    known = client.get_experiment_by_name(name)
    if known is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # somebody else was quicker
            known = client.get_experiment_by_name(name)
            if known is None:
                raise
    if known.lifecycle_stage == "deleted":
        hint = "restore it in MLflow, or name another"
        raise InvalidInput(f"the experiment {name!r} is deleted", field="experiment", hint=hint)
    return str(known.experiment_id)


def _former(client: MlflowClient, experiment: str, run_id: str, stack: str) -> list[MlflowRun]:
    return list(client.search_runs([experiment], f"tags.`{RUN_ID}` = '{run_id}' and tags.`{STACK}` = '{stack}'"))


def _logged(client: MlflowClient, experiment: str, contents: Contents) -> str:
    """Log everything as a new MLflow run and return its id. If anything fails, no run stays."""
    from mlflow.entities import Metric, Param, RunTag

    tags = dict(contents.tags)
    made = client.create_run(experiment, start_time=contents.began, tags=tags, run_name=tags[RUN_ID])
    mlflow_run_id = str(made.info.run_id)
    try:
        for parameters in _parts(contents.parameters.items(), PARAMETERS_AT_ONCE):
            client.log_batch(mlflow_run_id, params=[Param(*each) for each in parameters])
        for points in _parts(contents.points, METRICS_AT_ONCE):
            client.log_batch(mlflow_run_id, metrics=[Metric(p.name, p.value, p.at, p.step) for p in points])
        with tempfile.TemporaryDirectory(prefix="snn-") as folder:
            contents.write(Path(folder))
            if contents.model is not None:
                _write_model(Path(folder, MODEL), contents.model, mlflow_run_id)
            client.log_artifacts(mlflow_run_id, folder)
        client.set_terminated(mlflow_run_id, "FINISHED", contents.ended)
        client.log_batch(mlflow_run_id, tags=[RunTag(WHOLE, "whole")])
    except BaseException:  # Ctrl-C too
        with suppress(Exception):
            client.delete_run(mlflow_run_id)
        raise
    return mlflow_run_id


def _write_model(folder: Path, model: bytes, mlflow_run_id: str) -> None:
    """Write the model as MLflow's flavor `onnx` has it, so that it loads `models:/name/1` by itself."""
    import onnx
    from mlflow.models import Model

    folder.mkdir()
    (folder / "model.onnx").write_bytes(model)
    needed = ("mlflow", f"onnx>={onnx.__version__}", "onnxruntime")
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n")
    described = Model(artifact_path=MODEL, run_id=mlflow_run_id)
    described.add_flavor(
        "onnx", onnx_version=onnx.__version__, data="model.onnx", providers=["CPUExecutionProvider"], code=None
    )
    described.add_flavor("python_function", loader_module="mlflow.onnx", data="model.onnx")
    described.save(str(folder / "MLmodel"))


def _version(client: MlflowClient, name: str, mlflow_run_id: str) -> int:
    """Return the version of a registered model that came from an MLflow run; it is made if there is none."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    found = client.search_model_versions(f"run_id = '{mlflow_run_id}'")
    known = sorted(int(each.version) for each in found if each.name == name)
    if known:
        return known[0]
    return int(client.create_model_version(name, f"runs:/{mlflow_run_id}/{MODEL}", mlflow_run_id).version)


def _parts(items: Any, size: int) -> Iterator[list[Any]]:
    listed = list(items)
    yield from (listed[start : start + size] for start in range(0, len(listed), size))
