"""Settings of techniques as text and as values: `round_weights:method=gptq,bits=8`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from edgekit.errors import UsageError
from edgekit.files.faults import nearest

_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


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
