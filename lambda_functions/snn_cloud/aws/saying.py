"""What the functions print: lines that each begin with the run they are of (`snn_client.runs.logs` reads them)."""

import re
import traceback
from typing import Any

_MARKERS = re.compile(r"[\s~^]+")


def say(run_id: str, text: str) -> None:
    """Print text, with the run's name before each line.

    A log group holds the lines of all runs, and Lambda makes an event of every line: those of a traceback could not be
    found if only the first had the name.
    """
    for line in text.splitlines():
        print(f"{run_id}: {line}")


def say_traceback(run_id: str) -> None:
    """Print the traceback of the exception being handled, without the lines that underline: a third of it."""
    say(run_id, "\n".join(line for line in traceback.format_exc().splitlines() if not _MARKERS.fullmatch(line)))


def refusal(error: Exception) -> dict[str, Any]:
    """Print that an event was refused, and return the answer: were it an error, Lambda would repeat the event."""
    print(f"refused: {error}")
    return {"error": str(error), "type": type(error).__name__}
