"""How long ago something was, where a process may be frozen for hours between two requests, as Lambda does it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

PAUSE_SECONDS = 30.0
"""How long a service that did not answer is left alone: every try takes seconds from somebody who waits."""


@dataclass(frozen=True)
class Moment:
    """A moment by two clocks: the steady one may stand still while Lambda freezes the process, the other may be set."""

    steady: float = field(default_factory=lambda: time.monotonic())
    wall: float = field(default_factory=lambda: time.time())

    def is_within(self, seconds: float) -> bool:
        """Return whether both clocks say that no more than so many seconds have passed; never if one ran backwards."""
        return all(0 <= passed <= seconds for passed in (time.monotonic() - self.steady, time.time() - self.wall))
