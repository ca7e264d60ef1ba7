"""Values as JSON and back: the only place where what travels between processes, or lies in the cache, is converted.

A value is a frozen dataclass. Its hints say how it is read: a list becomes a tuple where the hint is a tuple, a text
becomes a path where it is a path. Nothing is guessed: an unknown key, a missing one or a value of another type is a
fault, reported with its path from the top (`$.inputs[0].shape`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edgekit.errors import InternalError

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

_ACCEPTED: Final[Mapping[type, tuple[type, ...]]] = {bool: (bool,), int: (int,), float: (float, int), str: (str,)}
"""What JSON may hold where a hint names a type; True is no number, though Python says that it is."""


def unstructure(value: object) -> Any:
    """Returns the JSON form of a dataclass: objects, lists, text and numbers. NumPy's scalars become Python's."""
    return _converter().unstructure(value)


def structure(data: Any, kind: type[T], what: str) -> T:
    """Returns the dataclass that `unstructure` was given.

    Args:
        data: As `json.loads` gives it.
        kind: The dataclass.
        what: What it is, for messages: `request of the capture`.

    Raises:
        InternalError: it does not have this form; all faults at once.
    """
    from cattrs import BaseValidationError, transform_error

    try:
        if not isinstance(data, Mapping):
            raise InternalError(f"The {what} is no JSON object; expected one of the form of {kind.__name__}.")
        return _converter().structure(data, kind)
    except BaseValidationError as error:
        faults = "".join(f"\n  {fault}" for fault in transform_error(error, "$", _describe))
        raise InternalError(f"The {what} does not have the form of {kind.__name__}:{faults}") from error


def write_value(path: Path, value: object) -> None:
    """Writes a dataclass as a JSON file for `read_value`."""
    path.write_text(json.dumps(unstructure(value)), encoding="utf-8")


def read_value(path: Path, kind: type[T]) -> T:
    """Returns the dataclass that `write_value` has written.

    Raises:
        OSError: no such file.
        InternalError: it holds something else.
    """
    return structure(json.loads(path.read_text(encoding="utf-8")), kind, f"file {path}")


@cache
def _converter() -> Converter:
    return make_converter()


def make_converter() -> Converter:
    """Returns a new converter with edgekit's rules, to which others can be added. Costs about 50 ms the first time."""
    from cattrs import Converter
    from cattrs.strategies import configure_union_passthrough

    made = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    for kind, accepted in _ACCEPTED.items():
        made.register_structure_hook(kind, _strict(kind, accepted))
        made.register_unstructure_hook_func(_same_as(kind), kind)  # a NumPy scalar is no JSON
    made.register_structure_hook(Path, lambda data, _: Path(_strict(str, (str,))(data, str)))
    configure_union_passthrough(str | bool | int | float | None, made)
    return made


def _same_as(wanted: type) -> Callable[[Any], bool]:
    return lambda kind: kind is wanted


def _strict(kind: type, accepted: tuple[type, ...]) -> Callable[[Any, Any], Any]:
    def read(data: Any, _kind: Any) -> Any:
        if type(data) not in accepted:
            raise TypeError(f"{json.dumps(data)} is no {kind.__name__}")
        return kind(data)

    return read


def _describe(error: BaseException, _kind: Any) -> str:
    """Returns a fault in words; cattrs adds where it is."""
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        return f"unknown keys: {', '.join(sorted(error.extra_fields))}"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    if isinstance(error, AttributeError):  # of the dictionary that the value should be
        return "no JSON object"
    return str(error)


def is_value(kind: object) -> bool:
    """Tells whether `kind` is a frozen dataclass: what requests and results must be."""
    parameters: Any = getattr(kind, "__dataclass_params__", None)
    return isinstance(kind, type) and dataclasses.is_dataclass(kind) and bool(parameters and parameters.frozen)
