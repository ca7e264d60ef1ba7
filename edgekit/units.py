"""Quantities with units: read them from text, write them for people.

Sizes are decimal as in app stores (1 MB = 1,000,000 bytes) and binary where the unit says so (1 MiB = 1,048,576 bytes).
"""

from __future__ import annotations

import math
import re
from typing import Final, Literal

from edgekit.errors import InputError

_QUANTITY: Final = re.compile(r"^\s*([+-]?(?:\d+(?:[_,]\d{3})*|\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*([a-zA-Zµμ%]*)\s*$")

BYTES: Final[dict[str, float]] = {
    "b": 1, "byte": 1, "bytes": 1,
    "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40,
}  # fmt: skip
# Two characters look like the Greek letter: the micro sign of keyboards and the letter itself.
MILLISECONDS: Final[dict[str, float]] = {
    "us": 1e-3, "µs": 1e-3, "μs": 1e-3, "ms": 1.0, "s": 1e3, "sec": 1e3, "min": 6e4,
}  # fmt: skip
SECONDS: Final[dict[str, float]] = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
POINTS: Final[dict[str, float]] = {"pp": 1.0, "pt": 1.0, "pts": 1.0, "point": 1.0, "points": 1.0}
DECIBELS: Final[dict[str, float]] = {"db": 1.0}
SHARE: Final[dict[str, float]] = {"%": 1.0}


def _parse(text: str, units: dict[str, float], what: str, examples: str, *, signed: bool = False) -> float:
    """Returns the number in `text` in the base unit of `units`; a bare number is refused, its unit would be a guess.

    Raises:
        InputError: no number, no unit, an unknown unit, a negative (unless `signed`) or a non-finite value.
    """
    match = _QUANTITY.match(text)
    number = match.group(1).replace(",", "").replace("_", "") if match else ""
    unit = match.group(2).lower() if match else ""
    try:
        value = float(number)
    except ValueError:
        raise InputError(f'{what} "{text}" is not a quantity: write a number and a unit, such as {examples}.') from None
    if not unit:
        raise InputError(f'{what} "{text}" has no unit: write it as {examples}.')
    if unit not in units:
        raise InputError(f'{what} "{text}" has the unit "{match.group(2) if match else ""}": accepted are {examples}.')
    value *= units[unit]
    if not math.isfinite(value) or (value < 0 and not signed):
        raise InputError(f'{what} "{text}" must be a finite number that is not negative, such as {examples}.')
    return value


def parse_bytes(text: str, what: str = "size") -> int:
    """Returns a size in bytes, rounded to a whole byte: `parse_bytes("6 MB") == 6_000_000`.

    Raises:
        InputError: `text` is not a size.
    """
    return round(_parse(text, BYTES, what, '"800 kB", "6 MB" or "64 MiB"'))


def parse_milliseconds(text: str, what: str = "latency") -> float:
    """Returns a duration in milliseconds: `parse_milliseconds("0.2 s") == 200.0`.

    Raises:
        InputError: `text` is not a duration.
    """
    return _parse(text, MILLISECONDS, what, '"900 us", "30 ms" or "1.5 s"')


def parse_duration(text: str, what: str = "time") -> float:
    """Returns the time that a piece of work may take, in seconds: `parse_duration("2 h") == 7200.0`.

    Raises:
        InputError: `text` is not a time.
    """
    return _parse(text, SECONDS, what, '"90 s", "20 min" or "2 h"')


def parse_points(text: str, what: str = "accuracy drop") -> float:
    """Returns a difference in percentage points: `parse_points("1 pp") == 1.0`.

    Raises:
        InputError: `text` is not a number of points. A percent sign is refused: it could mean relative.
    """
    return _parse(text, POINTS, what, '"0.5 pp" or "2 pp"')


def parse_decibels(text: str, what: str = "parity") -> float:
    """Returns a level in decibels: `parse_decibels("20 dB") == 20.0`.

    Raises:
        InputError: `text` is not a level.
    """
    return _parse(text, DECIBELS, what, '"20 dB"')


def parse_share(text: str, what: str = "share") -> float:
    """Returns a share in percent: `parse_share("95 %") == 95.0`.

    Raises:
        InputError: `text` is not a share.
    """
    return _parse(text, SHARE, what, '"95 %"')


def parse_change(text: str, unit: str, worse: Literal["+", "-"], what: str) -> float:
    """Returns how far a figure may move from the baseline: `parse_change("+5 %", "%", "+", "size") == 5.0`.

    The sign says which way, and must be the way that is worse: a limit on getting better is a slip of the pen.

    Args:
        text: A sign, a number and a unit.
        unit: `%`, `pp` or `dB`.
        worse: The sign of a change for the worse.
        what: The figure, for messages.

    Raises:
        InputError: no sign, the other sign, or not a quantity in that unit.
    """
    # A text that was typeset has the minus sign proper.
    plain = text.strip().replace("\N{MINUS SIGN}", "-")
    if not plain.startswith(worse):
        direction = "grow" if worse == "+" else "fall"
        raise InputError(
            f'{what} "{text}" must begin with "{worse}": it says by how much {what.rpartition(" ")[2]} may '
            f'{direction} from the baseline, such as "{worse}1 {unit}".'
        )
    return _parse(plain, {unit.lower(): 1.0}, what, f'"{worse}1 {unit}"', signed=True)


def format_change(value: float, unit: str) -> str:
    """Returns a change for people, with its sign: `+7.1 %`, `-0.50 pp`."""
    text = format_value(value, unit)
    return text if not math.isfinite(value) or text.startswith("-") else f"+{text}"


def format_bytes(value: float) -> str:
    """Returns a size for people in decimal units: `format_bytes(5_123_456) == "5.12 MB"`."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        # 999,500 bytes would print as "1000 kB": the larger unit takes over where the rounding does.
        if abs(value) >= factor * 0.9995:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def format_milliseconds(value: float) -> str:
    """Returns a duration for people: `format_milliseconds(31.24) == "31.2 ms"`."""
    if abs(value) < 999.5:
        return f"{value:.3g} ms"
    # Three digits as long as that prints no exponent.
    return f"{value / 1e3:.3g} s" if abs(value) < 999_500 else f"{value / 1e3:.0f} s"


def format_points(value: float) -> str:
    """Returns a difference in percentage points for people: `format_points(0.25) == "0.25 pp"`."""
    # The sum turns -0.0, which would print as "-0.00 pp", into 0.0.
    return f"{round(value, 2) + 0.0:.2f} pp"


def format_value(value: float, unit: str) -> str:
    """Returns a value for people in its unit: bytes, ms, pp, dB, %, or any other unit written behind the number."""
    if not math.isfinite(value):
        return str(value)
    if unit == "bytes":
        return format_bytes(value)
    if unit == "ms":
        return format_milliseconds(value)
    if unit == "pp":
        return format_points(value)
    if unit == "dB":
        return f"{value:.1f} dB"
    if unit == "%" and 99.5 <= value < 100:
        # Three digits would call it 100 %.
        return f"{math.floor(100 * value) / 100:.2f} %"
    return f"{value:.3g} {unit}".rstrip()
