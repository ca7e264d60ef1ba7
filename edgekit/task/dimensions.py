"""Sizes that stay open in an artifact: `[dimensions] height = { min = 128, max = 1024, multiple_of = 32 }`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.errors import UsageError
from edgekit.files.faults import show_value
from edgekit.model import Dimension

FLAG: Final = "--dimension"
NAME_FORM: Final = re.compile(r"[A-Za-z_]\w*")

_KEYS: Final = ("min", "max", "multiple_of", "typical")
_FLAG_FORM: Final = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<min>\d+)\.\.(?P<max>\d+)(?P<rest>(,\w+=\d+)*)")
_TABLE_FORM: Final = "expected a table such as { min = 128, max = 1024, multiple_of = 32, typical = 640 }"


def read_dimensions(texts: Sequence[str]) -> tuple[Dimension, ...]:
    """Returns the dimensions that the values of `--dimension` describe.

    Raises:
        UsageError: a value that is not of the form, or sizes that contradict each other.
    """
    found: list[Dimension] = []
    for text in texts:
        match = _FLAG_FORM.fullmatch(text.strip())
        rest = [item.split("=") for item in match["rest"].split(",")[1:]] if match is not None else []
        if match is None or not {key for key, _ in rest} <= {"multiple_of", "typical"}:
            raise UsageError(
                f'{FLAG} "{text}" is not understood. Expected NAME=MIN..MAX, such as {FLAG} length=1..512 or '
                f"{FLAG} height=128..1024,multiple_of=32,typical=640."
            )
        table = {"min": int(match["min"]), "max": int(match["max"]), **{key: int(size) for key, size in rest}}
        made = _made(match["name"], table)
        if isinstance(made, str):
            raise UsageError(f'{FLAG} "{text}": {made}.')
        found.append(made)
    return tuple(found)


def read_dimensions_table(table: Mapping[str, Any]) -> tuple[tuple[Dimension, ...], tuple[str, ...]]:
    """Returns the dimensions that `[dimensions]` of a task file describes, and one sentence for each fault."""
    found: list[Dimension] = []
    faults: list[str] = []
    for name, value in table.items():
        made = _of_table(name, value)
        if isinstance(made, str):
            faults.append(f"{name}: {show_value(value)} was given; {made}")
        else:
            found.append(made)
    return tuple(found), tuple(faults)


def dimensions_of(given: Mapping[str, Any] | None) -> tuple[Dimension, ...]:
    """Returns the dimensions that a Python program gives: `{"length": (1, 512)}`, or a dict with the table's keys.

    Raises:
        UsageError: anything else.
    """
    found: list[Dimension] = []
    for name, value in (given or {}).items():
        pair = isinstance(value, (tuple, list)) and len(value) == 2
        made = _of_table(str(name), {"min": value[0], "max": value[1]} if pair else value)
        if isinstance(made, str):
            raise UsageError(
                f'dimensions: "{name}" is {value!r}; expected (smallest, largest), such as (1, 512), or a dict with '
                f"{', '.join(_KEYS)}."
                if made == _TABLE_FORM
                else f'dimensions: "{name}" is {value!r}: {made}.'
            )
        found.append(made)
    return tuple(found)


def merged_dimensions(file: Sequence[Dimension], flags: Sequence[Dimension]) -> tuple[Dimension, ...]:
    """Returns the dimensions of both; those of the flags take the place of the file's."""
    return tuple({item.name: item for item in (*file, *flags)}.values())


def _of_table(name: str, value: object) -> Dimension | str:
    if not NAME_FORM.fullmatch(name) or not isinstance(value, dict) or "max" not in value:
        return _TABLE_FORM
    table: dict[str, Any] = value
    if not set(table) <= set(_KEYS) or any(type(size) is not int for size in table.values()):
        return _TABLE_FORM
    return _made(name, table)


def _made(name: str, table: Mapping[str, int]) -> Dimension | str:
    """Returns the dimension, or what is wrong with its sizes."""
    step = table.get("multiple_of", 1)
    if step < 1:
        return f"multiple_of is {step}; it must be at least 1"
    smallest, largest = table.get("min", step), table["max"]
    for key, size in (("min", smallest), ("max", largest)):
        if size < 1 or size % step:
            return f"{key} is {size}; it must be a multiple of {step}, at least {step}"
    if smallest >= largest:
        return f"min is {smallest} and max is {largest}; min must be smaller, and a size that is fixed is a number"
    # Sizes are compared by their ratio, so the middle is the geometric one.
    middle = max(smallest, step * round(math.sqrt(smallest * largest) / step))
    made = Dimension(name=name, min=smallest, max=largest, multiple_of=step, typical=table.get("typical", middle))
    return f"typical: {fault}" if (fault := made.why_not(made.typical)) else made
