"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest

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
