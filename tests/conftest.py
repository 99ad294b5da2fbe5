"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import held
import pytest
import witnesses

# As in the Lambda functions, and on the emulator. With a thread a core, OpenBLAS' threads wait for one another by
# spinning: beside anything else that computes, a test of ten seconds took minutes. OpenBLAS reads it when NumPy is
# imported, which is after this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# A shell that starts us in the background has us ignore Ctrl-C, and so would every program that a test starts and then
# interrupts. With a handler of ours, they have the usual one.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Scenes assert, and what does not hold in them is told of as in a test.
pytest.register_assert_rewrite("scenes")
held.install()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Say whose answers come from now on, also to fixtures."""
    held.emulator = "moto" if item.path.parent.name == "moto" else "ministack"


@pytest.fixture(autouse=True)
def _answers_are_as_the_service_model_has_them() -> Iterator[None]:
    """Fail a test in which a client was answered what AWS cannot answer; see `held.KNOWN`."""
    yield
    told = [f"{one.operation}: {one.member} {one.why}: {value}" for one, value in held.unknown().items()]
    assert not told, "\n".join(["answers that are not as botocore's service model has them:", *told])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail if all tests of an emulator have run, and docs/witnesses.md says of it what is not so."""
    if exitstatus != pytest.ExitCode.OK:
        return
    terminal = session.config.get_terminal_writer()
    wrong, mended = witnesses.record(item.path for item in session.items)
    for line in mended:
        terminal.line(line, yellow=True)
    for line in wrong:
        terminal.line(line, red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
