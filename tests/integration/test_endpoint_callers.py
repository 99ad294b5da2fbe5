"""What docs/endpoint.md tells callers of an endpoint that wants signatures to type."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from documentation import Fence, commands, fences
from served import KINDS, event_of, picture_of, put_run

from snn_client.models import versions
from snn_client.serving.asking import JSON_TYPE, Answer, Prediction, VersionLabel, ask, callable_url
from snn_client.stack.deploy import deploy_stack
from snn_client.stack.options import StackOptions
from snn_client.stack.outputs import StackOutputs
from snn_cloud.aws.clients import Clients
from snn_cloud.serve.http import read_asked, read_request

PAGE = "endpoint.md"
PHOTO = picture_of(np.random.default_rng(0))


def fences_of(*languages: str) -> list[Fence]:
    return [fence for fence in fences(*languages) if fence.page.name == PAGE]


@pytest.fixture(scope="module")
def called(clients: Clients) -> StackOutputs:
    """A stack with a champion that knows photos."""
    stack = deploy_stack(clients, StackOptions.from_environment(stack_name="snn-called", with_cache=False))
    put_run(clients, stack, "called-1", KINDS["photos of two classes"].file("called-1"))
    versions.promote(clients, stack, "called-1")
    return stack


def test_the_python_of_the_page(
    clients: Clients, called: StackOutputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (fence,) = fences_of("python")
    address = "https://abc.lambda-url.us-east-1.on.aws"
    assert address in fence.text
    monkeypatch.chdir(tmp_path)
    Path("cat.jpg").write_bytes(PHOTO)
    exec(compile(fence.text.replace(address, callable_url(clients, called)), str(fence), "exec"), {})
    assert capsys.readouterr().out in ("cat 1\n", "non-cat 1\n")


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
def test_the_signed_curl_of_the_page(clients: Clients, called: StackOutputs, tmp_path: Path) -> None:
    (line,) = [
        words for fence in fences_of("sh") for words in commands(fence.text) if "--aws-sigv4" in words
    ]  # fmt: skip
    (tmp_path / "cat.jpg").write_bytes(PHOTO)
    secrets = f"{os.environ['AWS_ACCESS_KEY_ID']}:{os.environ['AWS_SECRET_ACCESS_KEY']}"
    words = [
        word.replace("$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY", secrets)
        .replace("$(snn endpoint url)", callable_url(clients, called))
        for word in line
    ]  # fmt: skip
    done = subprocess.run([*words, "--silent"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["model"] == {"name": "default", "version": 1, "run_id": "called-1"}


def test_the_json_of_the_page_is_an_answer(clients: Clients, called: StackOutputs) -> None:
    (told,) = [json.loads(fence.text) for fence in fences_of("json")]
    said = ask(clients, called, PHOTO, secrets=("test", "test", None))
    assert told.keys() == said.keys() == Answer.__annotations__.keys()
    assert told["model"].keys() == said["model"].keys() == VersionLabel.__annotations__.keys()
    assert told["predictions"][0].keys() == said["predictions"][0].keys() < Prediction.__annotations__.keys()
    assert [type(value) for value in told.values()] == [type(value) for value in said.values()]


def test_instances_as_the_page_writes_them_are_read() -> None:
    asked = read_asked(read_request(event_of('{"instances": [[1, 2], {"height": 1.7}]}', JSON_TYPE)))
    assert asked.rows == ([1, 2], {"height": 1.7})
