"""Where a command works: what an option names, then the endpoint of the environment, then the emulator, then AWS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import typer

from snn.errors import InvalidInput
from snn_cli import aws
from snn_cli.aws import check_region, connect
from snn_cli.local import emulator
from snn_cli.local.emulator import Emulator
from snn_cli.main import app
from snn_client.stack.options import StackOptions

RUNNING = Emulator("http://127.0.0.1:1", "127.0.0.1", 2)
CONFIGURED = """
[profile work]
region = eu-west-1
aws_access_key_id = id
aws_secret_access_key = secret
[profile nowhere]
aws_access_key_id = id
aws_secret_access_key = secret
"""


@pytest.fixture(autouse=True)
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A shell in which nothing of AWS is set but a file of profiles; boto3 is left as it was."""
    before, session = dict(os.environ), boto3.DEFAULT_SESSION
    for name in list(os.environ):
        if name.startswith(("AWS_", "SNN_")):
            del os.environ[name]
    (tmp_path / "config").write_text(CONFIGURED)
    os.environ |= {"AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    monkeypatch.setattr(emulator, "find", lambda home: None)
    yield
    os.environ.clear()
    os.environ |= before
    boto3.DEFAULT_SESSION = session


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "find", lambda home: RUNNING)


def reached(there: aws.Aws) -> tuple[str, str]:
    meta = there.clients.cloudformation.meta
    return meta.region_name, meta.endpoint_url


def test_without_anything_said_it_is_the_emulator_that_runs(running: None) -> None:
    os.environ |= {"AWS_PROFILE": "work", "AWS_ACCESS_KEY_ID": "mine", "AWS_DEFAULT_REGION": "eu-west-1"}
    there = connect("two", home=Path("elsewhere"))
    assert reached(there) == ("us-east-1", RUNNING.endpoint_url)
    assert there.clients.sts._request_signer._credentials.access_key == "test"  # type: ignore[attr-defined]
    assert there.where == f"on the emulator at {RUNNING.endpoint_url}"
    assert there.command("deploy") == "snn deploy --stack two --home elsewhere"
    assert connect().command("status") == "snn status --stack snn"


def test_in_a_folder_below_it_is_the_same_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(home: Path) -> Emulator | None:
        return RUNNING if home == (tmp_path / ".local").resolve() else None

    monkeypatch.setattr(emulator, "find", find)
    below = tmp_path / "photos" / "of cats"
    below.mkdir(parents=True)
    for folder, home in ((tmp_path, ""), (below, f" --home {tmp_path}/.local")):
        monkeypatch.chdir(folder)
        there = connect()
        assert there.where == f"on the emulator at {RUNNING.endpoint_url}"
        assert there.command("status") == f"snn status --stack snn{home}"
        del os.environ["AWS_ENDPOINT_URL"]
    monkeypatch.chdir(tmp_path.parent)
    os.environ["AWS_DEFAULT_REGION"] = "eu-west-1"
    assert connect().where == "on AWS, eu-west-1"


@pytest.mark.parametrize(("said", "with_cache"), [({}, True), ({"SNN_WITH_CACHE": "false"}, False)])
def test_on_the_emulator_a_cache_is_the_default_and_the_runtime_its_own(
    running: None, said: dict[str, str], with_cache: bool
) -> None:
    os.environ |= {**said, "SNN_RUNTIME": "python3.14"}
    connect()
    options = StackOptions.from_environment()
    assert (options.with_cache, options.runtime) == (with_cache, RUNNING.environment()["SNN_RUNTIME"])


def test_a_name_is_shown_as_it_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    connect("[/two]", region="us-west-2").tell()
    assert capsys.readouterr().err == "stack [/two] on AWS, us-west-2\n"


def test_the_endpoint_of_the_environment_comes_before_the_emulator(running: None) -> None:
    os.environ |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:3", "AWS_DEFAULT_REGION": "eu-west-3"}
    there = connect()
    assert reached(there) == ("eu-west-3", "http://127.0.0.1:3")
    assert there.where == "at http://127.0.0.1:3"


def test_an_option_comes_before_all(running: None) -> None:
    os.environ |= {"AWS_ENDPOINT_URL": "http://127.0.0.1:3", "AWS_DEFAULT_REGION": "eu-west-3"}
    there = connect(region="ap-south-1", endpoint_url="http://127.0.0.1:4")
    assert reached(there) == ("ap-south-1", "http://127.0.0.1:4")
    assert there.command("cleanup") == "snn cleanup --stack snn --region ap-south-1 --endpoint-url http://127.0.0.1:4"


@pytest.mark.parametrize(
    ("options", "region", "where"),
    [
        ({"profile": "work"}, "eu-west-1", "on AWS, eu-west-1, profile work"),
        ({"profile": "work", "region": "us-west-2"}, "us-west-2", "on AWS, us-west-2, profile work"),
        ({"region": "us-west-2"}, "us-west-2", "on AWS, us-west-2"),
    ],
)
def test_who_names_a_profile_or_a_region_means_aws(
    running: None, options: dict[str, str], region: str, where: str
) -> None:
    there = connect(**options)
    assert reached(there) == (region, f"https://cloudformation.{region}.amazonaws.com")
    assert there.where == where
    assert "AWS_ENDPOINT_URL" not in os.environ


def test_without_an_emulator_it_is_aws_as_its_own_command_line_has_it() -> None:
    os.environ["AWS_PROFILE"] = "work"
    assert connect().where == "on AWS, eu-west-1, profile work"


@pytest.mark.parametrize("by_option", [True, False])
def test_a_profile_that_is_not_configured_is_one_line(by_option: bool) -> None:
    if not by_option:
        os.environ["AWS_PROFILE"] = "wrok"
    with pytest.raises(InvalidInput) as raised:
        connect(profile="wrok" if by_option else "")
    assert str(raised.value) == "AWS: profile wrok: is not configured (aws configure list-profiles)"


@pytest.mark.parametrize("by_option", [True, False])
def test_an_endpoint_that_is_none_is_one_line(by_option: bool) -> None:
    if not by_option:
        os.environ["AWS_ENDPOINT_URL"] = "localhost:4570"
    with pytest.raises(InvalidInput) as raised:
        connect(region="us-east-1", endpoint_url="localhost:4570" if by_option else "")
    assert str(raised.value) == "AWS: endpoint-url: localhost:4570 is not an address (such as http://127.0.0.1:4570)"


@pytest.mark.parametrize("profile", ["", "nowhere"])
def test_no_region_is_one_line(profile: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        connect(profile=profile)
    assert str(raised.value) == (
        "AWS: no region is set (use --region, AWS_DEFAULT_REGION, or `snn local up` for the emulator)"
    )


def test_a_region_is_asked_for_with_the_one_that_would_be_taken() -> None:
    os.environ["AWS_DEFAULT_REGION"] = "eu-west-3"
    asked: list[str] = []

    def answer(usual: str) -> str:
        asked.append(usual)
        return "sa-east-1"

    there = connect(ask_region=answer)
    assert (asked, reached(there)[0]) == (["eu-west-3"], "sa-east-1")
    assert there.command("deploy") == "snn deploy --stack snn --region sa-east-1"
    assert connect(ask_region=lambda usual: usual).command("deploy") == "snn deploy --stack snn"
    connect(region="eu-north-1", ask_region=answer)
    del os.environ["AWS_DEFAULT_REGION"]
    connect(ask_region=answer)
    assert asked == ["eu-west-3", ""]


def test_the_emulator_has_no_region_to_ask_for(running: None) -> None:
    def never(usual: str) -> str:
        raise AssertionError

    assert reached(connect(ask_region=never)) == ("us-east-1", RUNNING.endpoint_url)


def test_a_region_is_one_of_aws() -> None:
    assert [check_region(name) for name in ("eu-central-1", "us-gov-west-1")] == ["eu-central-1", "us-gov-west-1"]
    for name in ("mars", "", "us-east-1 "):
        with pytest.raises(InvalidInput, match="is not an AWS region"):
            check_region(name)


@pytest.mark.parametrize(
    "command", ["deploy", "cleanup", "train", "resume", "status", "logs", "cancel", "evaluate", "predict", "report"]
)
def test_every_command_on_aws_says_where_with_the_same_options(command: str) -> None:
    """They are written once, and put before Typer as the command's own signature: it has to have taken them."""
    params = {param.name: param for param in typer.main.get_command(app).commands[command].params}  # type: ignore[attr-defined]
    where = {name: params[name].default for name in ("stack", "profile", "region", "endpoint_url", "home")}
    assert where == {"stack": "snn", "profile": "", "region": "", "endpoint_url": "", "home": Path(".local")}
    assert (params["stack"].envvar, params["home"].envvar) == ("SNN_STACK_NAME", "SNN_LOCAL_HOME")
    assert not {"aws", "here", "options"} & params.keys()
