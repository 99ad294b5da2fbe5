"""One environment of PredictLambda, started as Lambda does: how long until its first answer, and the ones after it.

Run as a program with the event's file; prints JSON. All is imported after the clock was started.
"""

from __future__ import annotations

import time

BEGAN = time.perf_counter()

import json  # noqa: E402
import sys  # noqa: E402
from contextlib import redirect_stdout  # noqa: E402
from io import StringIO  # noqa: E402
from pathlib import Path  # noqa: E402

WARM_SECONDS, WARM = 10.0, 300


def main() -> None:
    """Import the handler, answer once, and then some hundred times."""
    from predict import handler

    imported, event = time.perf_counter() - BEGAN, json.loads(Path(sys.argv[1]).read_text())
    taken = list[float]()
    with redirect_stdout(StringIO()):
        first = handler(event, None)
        answered = time.perf_counter() - BEGAN
        while len(taken) < WARM and time.perf_counter() - BEGAN < answered + WARM_SECONDS:
            began = time.perf_counter()
            said = handler(event, None)
            taken.append((time.perf_counter() - began) * 1000)
            assert said["statusCode"] == 200
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    megabytes = int(line.split()[1]) / 1024
    figures = {"status": first["statusCode"], "import": imported, "cold": answered, "MB": megabytes, "warm": taken}
    sys.stdout.write(json.dumps(figures))


if __name__ == "__main__":
    main()
