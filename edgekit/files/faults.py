"""Faults of a file that a person wrote: all at once, each with its key path, what came and what is accepted.

pydantic finds the faults; this turns them into sentences. What a key accepts is the `description` of its field, so the
schema and the messages cannot drift apart.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError
    from pydantic.fields import FieldInfo

FAULT: Final = "edgekit"
"""Type of a `PydanticCustomError` whose message is already a sentence for people."""

_SHOWN_CHARACTERS: Final = 60


def find_faults(error: ValidationError, schema: type[BaseModel]) -> tuple[str, ...]:
    """Returns one sentence for each fault, in the order of the schema, without doubles.

    Args:
        error: What pydantic found.
        schema: The model that was validated; its fields' descriptions say what is accepted.
    """
    return tuple(dict.fromkeys(_sentence(dict(fault), schema) for fault in error.errors(include_url=False)))


def describe_file_faults(file: object, faults: Iterable[str], advice: str) -> str:
    """Returns one message for a person: the file, each fault on a line of its own, and what to do."""
    lines = list(faults)
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return "\n".join((f"{file} has {count}:", *(f"  {line}" for line in lines), advice))


def show_value(value: object) -> str:
    """Returns a value as it stands in a TOML file, shortened: `"text"`, `4`, `true`, `a table`, `a list`."""
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f'{text[:_SHOWN_CHARACTERS]}..."'


def nearest(text: str, names: Iterable[str], count: int = 1) -> list[str]:
    """Returns up to `count` of `names` that `text` was probably meant to be, the nearest first."""
    return difflib.get_close_matches(text, list(names), n=count, cutoff=0.6)


def _sentence(fault: Mapping[str, Any], schema: type[BaseModel]) -> str:
    location: tuple[str | int, ...] = fault["loc"]
    path = _path(location)
    if fault["type"] == FAULT:
        return f"{path}: {fault['msg']}"
    field = _field(schema, location)
    accepted = field.description if field is not None and field.description else fault["msg"]
    if fault["type"] == "missing":
        return f"{path}: missing; expected {accepted}"
    if fault["type"] == "extra_forbidden":
        keys = _keys(schema, location[:-1])
        meant = nearest(str(location[-1]), keys)
        guess = f' (did you mean "{meant[0]}"?)' if meant else ""
        return f"{path}: unknown key{guess}; accepted are {', '.join(keys)}"
    return f"{path}: {show_value(fault['input'])} was given; expected {accepted}"


def _path(location: tuple[str | int, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _field(schema: type[BaseModel], location: tuple[str | int, ...]) -> FieldInfo | None:
    """Returns the innermost field on the way to `location`: that of the list for an element of a list."""
    field: FieldInfo | None = None
    current: type[BaseModel] | None = schema
    is_free_key = False  # the part after a `dict[str, ...]` field is the user's own key and no field
    for part in location:
        if is_free_key or not isinstance(part, str):
            is_free_key = False
            continue
        found = _fields(current).get(part) if current is not None else None
        if found is None:
            break
        field = found
        current = _model_in(field.annotation)
        is_free_key = get_origin(field.annotation) is dict
    return field


def _keys(schema: type[BaseModel], location: tuple[str | int, ...]) -> tuple[str, ...]:
    """Returns the keys that the table at `location` accepts."""
    field = _field(schema, location)
    model = _model_in(field.annotation) if field is not None else schema
    return tuple(_fields(model)) if model is not None else ()


def _fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Returns the model that an annotation holds: itself, or in `Model | None`, `list[Model]`, `dict[str, Model]`."""
    if hasattr(annotation, "model_fields"):
        model: type[BaseModel] = annotation
        return model
    return next((found for part in get_args(annotation) if (found := _model_in(part)) is not None), None)
