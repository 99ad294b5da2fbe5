"""The SageMaker notebook instance as far as it goes without SageMaker: what its start does, and what cleanup finds."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from template_logic import TEMPLATES

from snn_client.stack import artifacts
from snn_client.stack.belongings import NOTEBOOK_LOGS
from snn_client.stack.cleanup import clean_up, plan
from snn_client.stack.cleanup_plan import Belonging
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.wheel import wheel
from snn_cloud.aws.clients import Clients

ROOT = Path(__file__).parents[2]
NAME = "snn-book"
# Stands for the AWS command line: the same download, by boto3.
AWS = """#!{python}
import sys, urllib.parse, boto3
assert sys.argv[1:5] == ["s3", "cp", "--only-show-errors", "--region"], sys.argv
region, source, target = sys.argv[5:]
address = urllib.parse.urlsplit(source)
key = address.path[1:]
assert target == "."
boto3.client("s3", region_name=region).download_file(address.netloc, key, key.rpartition("/")[2])
"""


@pytest.fixture(scope="module")
def uploaded(clients: Clients) -> artifacts.Artifacts:
    """What a deployment with a notebook uploads, but for the layer."""
    return artifacts.upload_artifacts(
        clients, NAME, runtime="python3.13", architecture="arm64", build_layer=False, build_package=True,
        build_features=False, build_predict=False, secure_transport=False, on_progress=print,
    )  # fmt: skip


@pytest.fixture(scope="module")
def script(uploaded: artifacts.Artifacts) -> str:
    """The lifecycle script as CloudFormation would hand it over."""
    values = {**uploaded.parameters, "Prefix": NAME, "AWS::Region": "us-east-1"}
    (hook,) = TEMPLATES["notebook"]["Resources"]["Lifecycle"]["Properties"]["OnStart"]
    return re.sub(r"\$\{([^}]*)\}", lambda match: values[match[1]], hook["Content"]["Fn::Base64"]["Fn::Sub"])


def start(script: str, home: Path) -> None:
    """Run the script as at a start of the instance."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("AWS_", "PIP_", "UV_", "SSL_"))}
    done = subprocess.run(
        ["bash"], input=script, text=True, capture_output=True, check=False, cwd="/",
        env={**kept, "HOME": str(home), "PATH": f"{home}/bin:/sbin:/bin:/usr/sbin:/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_start_installs_the_package_from_the_bucket_and_lays_out_the_notebooks(
    clients: Clients, uploaded: artifacts.Artifacts, script: str, tmp_path: Path
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").write_text(AWS.format(python=ROOT / ".venv" / "bin" / "python"))
    (tmp_path / "bin" / "aws").chmod(0o755)
    (tmp_path / "SageMaker").mkdir()
    key = uploaded.parameters["PackageKey"]
    assert key.startswith(artifacts.NOTEBOOK_PREFIX)
    start(script, tmp_path)

    place = tmp_path / "SageMaker" / ".snn" / key.split("/")[1]
    python = place / "python" / "bin" / "python"
    assert (place / wheel()[0]).read_bytes() == wheel()[1]
    code = "import snn, snn_cloud, matplotlib, skimage, ipykernel; print(snn.__file__, snn_cloud.__file__)"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env={"HOME": str(tmp_path)}
    )
    assert [file.startswith(str(place / "python")) for file in done.stdout.split()] == [True, True]

    ours = {path.name for path in (ROOT / "notebooks").iterdir() if path.suffix in (".ipynb", ".py")} - {"__init__.py"}
    laid_out = tmp_path / "SageMaker" / "snn"
    assert {path.name for path in laid_out.iterdir()} == ours
    assert all((laid_out / name).read_bytes() == (ROOT / "notebooks" / name).read_bytes() for name in ours)
    kernel = json.loads((tmp_path / ".local/share/jupyter/kernels/python3/kernel.json").read_text())
    assert kernel["argv"][0] == str(python)
    assert kernel["env"] == {"AWS_DEFAULT_REGION": "us-east-1", "SNN_STACK_NAME": NAME}

    # Stopped and started: nothing is installed again, what a person changed stays, the kernel is known again.
    subprocess.run(["rm", "-r", tmp_path / ".local"], check=True)
    for name in ours:
        (laid_out / name).write_text("changed")
    (tmp_path / "bin" / "aws").write_text("#!/bin/sh\nexit 1")
    began = time.monotonic()
    start(script, tmp_path)
    assert time.monotonic() - began < 20
    assert {(laid_out / name).read_text() for name in ours} <= {"changed"}
    assert (tmp_path / ".local/share/jupyter/kernels/python3/kernel.json").exists()


def test_a_start_without_its_package_fails_and_the_next_one_begins_anew(script: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "aws").write_text("#!/bin/sh\necho AccessDenied >&2\nexit 1")
    (tmp_path / "bin" / "aws").chmod(0o755)
    for _ in range(2):
        with pytest.raises(AssertionError, match="AccessDenied"):
            start(script, tmp_path)
    assert list(tmp_path.glob("SageMaker/.snn/*/complete")) == []


def test_cleanup_takes_the_notebook_s_logs_and_nobody_else_s(clients: Clients, uploaded: artifacts.Artifacts) -> None:
    streams = [f"{NAME}-notebook/LifecycleConfigOnStart", f"{NAME}-notebook/jupyter.log"]
    others = [f"{NAME}-notebook-b/jupyter.log", f"my-{NAME}-notebook/jupyter.log"]
    clients.logs.create_log_group(logGroupName=NOTEBOOK_LOGS)
    try:
        for stream in (*streams, *others):
            clients.logs.create_log_stream(logGroupName=NOTEBOOK_LOGS, logStreamName=stream)
        deploy_stack(clients, StackOptions.from_environment(stack_name=NAME, with_cache=False))
        listed = [item for item in plan(clients, NAME).items if item.kind == "log stream"]
        assert listed == [Belonging("log stream", stream) for stream in streams]
        report = clean_up(clients, NAME)
        assert set(listed) <= set(report.deleted)
        left = clients.logs.describe_log_streams(logGroupName=NOTEBOOK_LOGS)["logStreams"]
        assert {stream["logStreamName"] for stream in left} == set(others)
        assert plan(clients, NAME).items == ()

        # A stack that never had a notebook: streams of such a name are somebody else's.
        clients.logs.create_log_stream(logGroupName=NOTEBOOK_LOGS, logStreamName=streams[0])
        deploy_stack(clients, StackOptions.from_environment(stack_name=NAME, with_cache=False))
        clean_up(clients, NAME)
        left = clients.logs.describe_log_streams(logGroupName=NOTEBOOK_LOGS)["logStreams"]
        assert {stream["logStreamName"] for stream in left} == {streams[0], *others}
    finally:
        clients.logs.delete_log_group(logGroupName=NOTEBOOK_LOGS)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        clients.logs.describe_log_streams(logGroupName=NOTEBOOK_LOGS)
