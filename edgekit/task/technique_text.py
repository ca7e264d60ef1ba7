"""Techniques and their settings as text: `round_weights:method=gptq,bits=8`."""

from __future__ import annotations

from edgekit.errors import UsageError


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


def split_pipeline(text: str) -> list[str]:
    """Returns the steps of `equalize round_weights:method=gptq,bits=8`, the form in which artifacts carry them."""
    return [part for part in _split(text, " ") if part]


def _split_at_commas(text: str) -> list[str]:
    """Returns the parts between commas; those between parentheses or quotes separate nothing.

    `student=net.py:build(width=8, depth=1),epochs=3` has two parts.
    """
    return _split(text, ",")


def _split(text: str, separator: str) -> list[str]:
    parts, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            # Only arguments of a reference hold text in quotes: elsewhere it is an apostrophe in a path.
            quote = character if depth else ""
        else:
            depth = max(0, depth + (character == "(") - (character == ")"))
        if character == separator and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += character
    return parts
