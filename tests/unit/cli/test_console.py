"""How commands end, and how they ask."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
import typer
from botocore.exceptions import ClientError, NoCredentialsError
from typer.testing import CliRunner

from snn.errors import InvalidInput
from snn_cli.console import Exit, ask, interruptible, yes_or_no
from snn_cli.entry import main
from snn_cli.main import OneLineErrors, app
from snn_cloud.aws.errors import CloudError, RunCancelled, RunFailed

DENIED = ClientError({"Error": {"Code": "AccessDenied", "Message": "not you\nnot now"}}, "CreateStack")


def test_the_exit_codes_are_what_scripts_were_told() -> None:
    assert {end.name: end.value for end in Exit} == {
        "DONE": 0, "REFUSED": 1, "USAGE": 2, "RUN_FAILED": 3, "RUN_CANCELLED": 4, "INTERRUPTED": 130,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (InvalidInput("is bad", field="x"), 1, "error: x: is bad\n"),
        (CloudError("[red]no[/]"), 1, "error: [red]no[/]\n"),
        (
            DENIED,
            1,
            "error: AWS: An error occurred (AccessDenied) when calling the CreateStack operation: not you",
        ),
        (NoCredentialsError(), 1, "error: AWS: Unable to locate credentials\n"),
        (FileExistsError(17, "File exists", "photos"), 1, "error: photos: file exists\n"),
        (IsADirectoryError(21, "Is a directory", "part", None, "docs"), 1, "error: docs: is a directory\n"),
        (RunFailed("diverged"), 3, "error: diverged\n"),
        (RunCancelled("stopped"), 4, "error: stopped\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted. Nothing is half done: "),
        (typer.Exit(1), 1, ""),
    ],
)
def test_what_is_raised_on_purpose_is_one_line_and_a_code(raised: BaseException, code: int, line: str) -> None:
    failing = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @failing.command()
    def command() -> None:
        raise raised

    @failing.command()
    def other() -> None:
        """Make the application one of several commands, as ours is."""

    result = CliRunner().invoke(failing, ["command"])
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith(line)
    assert result.stderr.strip().count("\n") == 0
    assert "Traceback" not in result.stderr


def test_an_interrupt_while_the_program_is_loaded_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupted:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "snn_cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "snn_cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted, *sys.meta_path])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == Exit.INTERRUPTED
    assert capsys.readouterr().err == "\ninterrupted before anything was started.\n"


def test_a_bug_is_shown_as_one() -> None:
    failing = typer.Typer(cls=OneLineErrors, pretty_exceptions_enable=False)

    @failing.command()
    def command() -> None:
        raise ZeroDivisionError

    failing.command("other")(lambda: None)
    assert isinstance(CliRunner().invoke(failing, ["command"]).exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["deploy"], 1, "error: deploy: cannot ask without a terminal (use --yes)\n"),
        (
            ["deploy", "--yes", "--architecture", "amd64"],
            1,
            "error: stack options: architecture: 'amd64' is not possible (one of arm64, x86_64)\n",
        ),
        (["deploy", "--bucket", "My.Bucket", "--yes"], 1, None),
        (["deploy", "--colour", "red"], 2, None),
        (["cleanup", "--profile", "nobody-has-this"], 1, None),
        (["no-such-command"], 2, None),
    ],
)
def test_a_mistake_is_told_before_aws_is_asked_anything(arguments: list[str], code: int, line: str | None) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert line is None or result.stderr == line
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("command", ["deploy", "cleanup"])
def test_help_has_examples(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    assert len([line for line in result.stdout.splitlines() if line.strip().startswith(f"snn {command}")]) >= 4


def test_an_interrupt_says_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    left = "nothing"

    def work() -> None:
        nonlocal left
        with interruptible(lambda: left):
            left = "half of it"
            raise KeyboardInterrupt

    with pytest.raises(typer.Exit) as ended:
        work()
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "\ninterrupted. half of it\n"


def reported_instead(of: BaseException) -> None:
    """Raise as h5py does when an error comes while it logs from a conversion in C."""
    try:
        raise of
    except BaseException:
        raise TypeError("not defined for data type class")  # noqa: B904 (code in C names no cause)


def test_what_a_library_makes_of_an_interrupt_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, interruptible(lambda: "nothing"):
        reported_instead(KeyboardInterrupt())
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "\ninterrupted. nothing\n"


def test_what_h5py_itself_makes_of_an_interrupt_is_an_interrupt(tmp_path: Path) -> None:
    """In a process of its own: h5py logs of a conversion only when it is first needed."""
    program = """
import logging, sys
import h5py
from snn_cli.console import interruptible

class CtrlC(logging.Filter):
    def filter(self, record):
        raise KeyboardInterrupt

log = logging.getLogger("h5py._conv")
log.setLevel(logging.DEBUG)
log.addFilter(CtrlC())
with interruptible(lambda: "nothing"), h5py.File(sys.argv[1], "w") as file:
    try:
        file.attrs["name"] = "text"
    except TypeError as error:
        print(error)
        raise
"""
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "a.h5")], capture_output=True, text=True)
    assert "Operation not defined for data type class" in ended.stdout
    assert "interrupted. nothing" in ended.stderr


def test_an_error_that_is_no_interrupt_stays_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TypeError, match="data type class"), interruptible(lambda: "nothing"):
        reported_instead(ValueError())
    assert capsys.readouterr().err == ""


def test_an_interrupt_that_was_told_is_not_told_again(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), interruptible(lambda: "outer"), interruptible(lambda: "inner"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "\ninterrupted. inner\n"


Answers = Annotated[list[str], "what a person types"]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    given: Answers = []

    def read() -> str:
        if not given:
            raise EOFError
        return given.pop(0)

    monkeypatch.setattr(builtins, "input", read)
    yield given
    assert given == []


def test_a_question_is_asked_until_the_answer_is_good(answers: Answers, capsys: pytest.CaptureFixture[str]) -> None:
    answers += ["perhaps", "Y"]
    assert ask("Sure?", "no", yes_or_no) is True
    assert capsys.readouterr().err == "Sure? [no]: 'perhaps' is neither yes nor no\nSure? [no]: "
    answers += ["  "]
    assert ask("Sure?", "no", yes_or_no) is False
    with pytest.raises(KeyboardInterrupt):  # the end of the input
        ask("Sure?", "no", yes_or_no)
