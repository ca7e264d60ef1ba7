"""Tensors inside dicts, dataclasses and nested tuples: one after the other, named by the way to each.

`{"past": (k, v)}` holds `past.0` and `past.1`. None carries no values and is left out.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Way = tuple[str, ...]
"""Keys, fields and places that lead to a value."""


def parts_of(value: Any) -> list[tuple[str, Any]] | None:
    """Returns what a container holds, by key, field or place; None for what is no container."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and (fields := getattr(value, "_fields", None)) is not None:
        return list(zip(fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return [(str(place), item) for place, item in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return None


def leaves_of(value: Any, way: Way = ()) -> Iterator[tuple[Way, Any]]:
    """Yields the way to everything inside `value` that is no container and not None, and the thing itself."""
    if value is None:
        return
    parts = parts_of(value)
    if parts is None:
        yield way, value
        return
    for name, item in parts:
        yield from leaves_of(item, (*way, name))


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """Returns the same containers around `function(leaf)` for every leaf, in the order of `leaves_of`; None stays."""
    parts = parts_of(value)
    if value is None or parts is None:
        return value if value is None else function(value)
    made = {name: mapped(item, function) for name, item in parts}
    if isinstance(value, dict):
        copied = copy.copy(value)  # its class may be the model's own
        copied.update(zip(value, made.values(), strict=True))
        return copied
    if isinstance(value, Mapping):
        return made
    if dataclasses.is_dataclass(value):
        return dataclasses.replace(value, **made)  # type: ignore[type-var]  # an instance: only those have parts
    return type(value)(*made.values()) if hasattr(value, "_fields") else type(value)(made.values())


def plain(value: Any) -> Any:
    """Returns the containers as dicts, tuples and lists alone, which every framework knows."""
    parts = parts_of(value)
    if parts is None:
        return value
    if isinstance(value, (tuple, list)) and not hasattr(value, "_fields"):
        return type(value)(plain(item) for item in value)
    return {name: plain(item) for name, item in parts}
