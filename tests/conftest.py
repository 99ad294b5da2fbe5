"""What all tests share."""

from __future__ import annotations

import os

# As in the Lambda functions, and on the emulator. With a thread a core, OpenBLAS' threads wait for one another by
# spinning: beside anything else that computes, a test of ten seconds took minutes. OpenBLAS reads it when NumPy is
# imported, which is after this.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
