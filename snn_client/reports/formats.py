"""Figures and names as the report's page writes them: for people, and never as markup."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

DASH = "–"
"""Stands for a figure that is not defined."""

_STEERING = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    code: f"\\u{code:04x}" for code in (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def visible(value: Any) -> Any:
    """Spell out, in text, what steers instead of being shown: control characters, and those that turn text around."""
    return value.translate(_STEERING) if type(value) is str else value


def is_number(value: Any) -> bool:
    """Return whether a value is a finite number: a rate of nothing is None, and NaN measures nothing either."""
    return isinstance(value, int | float) and math.isfinite(value)


def percent(share: float | None, digits: int = 1) -> str:
    """Return 0.78 as "78 %", with a space that does not break; a rate that is not defined (None, NaN) as a dash.

    Nothing but 0 is shown as 0 %, and nothing but 1 as 100 %.
    """
    if share is None or not is_number(share):
        return DASH
    smallest = 0.1**digits / 100
    if 0 < share < smallest / 2:
        return f"< {percent(smallest, digits)}"
    if 1 - smallest / 2 < share < 1:
        return f"> {percent(1 - smallest, digits)}"
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}\N{NO-BREAK SPACE}%"


def portion(share: float | None) -> str:
    """Return a share as a length in CSS, from 0% to 100%; one that is not defined has none."""
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%" if share is not None and is_number(share) else "0%"


def number(count: float) -> str:
    """Return 12288 as "12,288", and fractions with four digits that count, never in powers of ten."""
    if not is_number(count):
        return DASH
    if float(count).is_integer():
        return f"{count:,.0f}"
    return f"{count:,.{max(0, 3 - math.floor(math.log10(abs(count))))}f}"


def figure(value: float | None) -> str:
    """Return a number that a network gives: as `number` does, in powers of ten only where it would be too long."""
    if value is None or not is_number(value):
        return DASH
    return number(value) if value == 0 or 1e-6 <= abs(value) < 1e12 else f"{value:.4g}"


def r_squared(value: float | None) -> str:
    """Return R² to three decimals; nothing but 1 is shown as 1."""
    if value is None or not is_number(value):
        return DASH
    if 0.9995 <= value < 1:
        return "> 0.999"
    return figure(value) if value <= -10 else f"{value:.3f}"


def significant(value: float | None, digits: int = 4) -> str:
    """Return a number with so many digits that count, large ones in full."""
    if value is None or not is_number(value):
        return DASH
    text = f"{value:.{digits}g}"
    return f"{float(text):,.0f}" if "e+" in text and abs(value) < 1e12 else text


def short(value: float) -> str:
    """Return the label of an axis: round numbers, from a thousand on with k, M or G."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e12:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def usd(amount: float, digits: int = 2) -> str:
    """Return an amount to the cent, or, below ten cents, to some digits that count; never in powers of ten."""
    if amount == 0 or amount >= 0.1:
        return f"${amount:,.2f}"
    text = f"${amount:.{digits - 1 - math.floor(math.log10(amount))}f}"
    return text.rstrip("0") if digits > 2 else text


def utc(moment: float) -> str:
    """Return seconds since 1970 as a date and time."""
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC" if moment else DASH
