"""Settings of techniques as text and as values: `round_weights:method=gptq,bits=8`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgekit.errors import UsageError
from edgekit.faults import nearest

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


def split_step(text: str, source: str) -> tuple[str, dict[str, str]]:
    """Returns (technique name, settings as text) of `name:key=value,key=value`.

    Raises:
        UsageError: a setting without a value, or one that is given twice.
    """
    name, _, rest = text.partition(":")
    settings: dict[str, str] = {}
    for item in (part for part in _split_at_commas(rest) if part.strip()):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key or not value:
            raise UsageError(f'{source}: "{item.strip()}" is no setting: expected key=value, as in {name}:key=value.')
        if key in settings:
            raise UsageError(f'{source}: the setting "{key}" of {name} is given twice.')
        settings[key] = value
    return name.strip(), settings


def _split_at_commas(text: str) -> list[str]:
    """Returns the parts between commas; those between parentheses or quotes separate nothing.

    `student=net.py:build(width=8, depth=1),epochs=3` has two parts.
    """
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            # Only arguments of a reference hold text in quotes: elsewhere it is an apostrophe in a path.
            quote = character if depth else ""
        else:
            depth = max(0, depth + (character == "(") - (character == ")"))
        if character == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def read_settings(cls: Any, name: str, given: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Returns checked values for the fields of a technique's dataclass.

    Args:
        cls: The dataclass.
        name: The technique's.
        given: Values, or their text.
        source: Who gave them, for messages.

    Raises:
        UsageError: an unknown setting, or a value of another kind than the field's.
    """
    kinds = get_type_hints(cls)
    known = [item.name for item in fields(cls)]
    for key in given:
        if key not in known:
            accepted = f"it has {', '.join(known)}" if known else "it has none"
            hint = "".join(f' Did you mean "{near}"?' for near in nearest(key, known))
            raise UsageError(f'{source}: {name} has no setting "{key}": {accepted}.{hint}')
    return {key: _value(kinds[key], value, f'{source}: {name}: {key} = "{value}"') for key, value in given.items()}


def _value(kind: Any, value: Any, what: str) -> Any:
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        found = next((choice for choice in choices if str(choice) == str(value)), None)
        if found is None:
            raise UsageError(f"{what} is not known: accepted are {', '.join(map(str, choices))}.")
        return found
    if kind is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in _WORDS:
            return _WORDS[str(value).lower()]
        raise UsageError(f"{what} was given; expected true or false.")
    try:
        return kind(value)
    except ValueError:
        expected = {int: "a whole number", float: "a number"}.get(kind, kind.__name__)
        raise UsageError(f"{what} was given; expected {expected}.") from None
