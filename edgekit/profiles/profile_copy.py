"""Writes a user's copy of a device profile: the file's own text, comments included, with other latency tables."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edgekit.errors import ResourceError
from edgekit.workers.atomic_files import write_text

_HEADER: Final = re.compile(r"^\s*\[(?P<name>[^\[\]]+)\]\s*(?:#.*)?$")


def with_latency_tables(text: str, tables: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """Returns a profile's text in which each of `tables` takes the place of `[latency_model.<runtime>.<precision>]`.

    Args:
        text: A profile's TOML.
        tables: (runtime, precision) to the table's content: text, numbers, lists of text, and tables of these.
    """
    replaced = {f"latency_model.{runtime}.{precision}" for runtime, precision in tables}
    kept: list[str] = []
    is_replaced = False
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = re.sub(r"[\s\"']", "", header["name"])
            is_replaced = any(name == table or name.startswith(f"{table}.") for table in replaced)
        if not is_replaced:
            kept.append(line)
    parts = ["\n".join(kept).rstrip("\n")]
    parts += [_table(f"latency_model.{runtime}.{precision}", table) for (runtime, precision), table in tables.items()]
    return "\n\n".join(parts) + "\n"


def write_profile(path: Path, text: str) -> None:
    """Writes a user's profile, whole or not at all.

    Raises:
        ResourceError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise ResourceError(
            f"The profile {path} cannot be written: {error.strerror}. Run this in a folder that you may write."
        ) from error


def _table(name: str, content: Mapping[str, Any]) -> str:
    flat = [f"{key} = {_value(value)}" for key, value in content.items() if not isinstance(value, Mapping)]
    nested = [_table(f"{name}.{key}", value) for key, value in content.items() if isinstance(value, Mapping)]
    return "\n".join([f"[{name}]", *flat, *([""] if nested else []), "\n\n".join(nested)]).rstrip("\n")


def _value(value: object) -> str:
    if isinstance(value, float):
        # Six digits: a rate is known to two or three, and a person reads it.
        return f"{value:.6g}" if "." in f"{value:.6g}" or "e" in f"{value:.6g}" else f"{value:.6g}.0"
    if isinstance(value, list):
        return "[" + ", ".join(map(_value, value)) + "]"
    # JSON's text, numbers, true and false are TOML's too.
    return json.dumps(value, ensure_ascii=False)
