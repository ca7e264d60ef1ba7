"""Tensors inside dicts, dataclasses and nested tuples: one after the other, named by the way to each.

`{"past": (k, v)}` holds `past.0` and `past.1`. None carries no values and is left out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
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
