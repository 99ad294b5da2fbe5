"""How an amount and a length of time are written for a reader."""

from __future__ import annotations

import math
from decimal import Decimal


def dollars(amount: float) -> str:
    """Return an amount to two digits that count, rounded up, never in powers of ten."""
    digits = 2 if amount >= 0.1 or amount == 0 else 1 - math.floor(math.log10(amount))
    return f"{math.ceil(amount * 10**digits) / 10**digits:,.{digits}f}"


def plain(amount: float) -> str:
    """Return an amount with all its digits, never in powers of ten."""
    return f"{Decimal(repr(amount)):,f}"


def duration(seconds: float) -> str:
    """Return a length of time as a person says it: 0.4 s, 42 s, 3 min 5 s, 2 h 10 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
