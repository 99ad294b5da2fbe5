"""What it took to initialise an environment. Lambda bills it with the first invocation, since August 2025.

Measured as the process' CPU time so far: an environment is initialised at full speed, whatever its size, so this is
the time but for waits on the disk.
"""

import time

_unbilled = 0


def done() -> None:
    """Note what it took; called at the end of a handler's module."""
    global _unbilled
    _unbilled = round(time.process_time() * 1000)


def take() -> int:
    """Return the milliseconds, to the first who asks; then 0."""
    global _unbilled
    milliseconds, _unbilled = _unbilled, 0
    return milliseconds
