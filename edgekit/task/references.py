"""References to Python objects: `module:name` or `file.py:name`, with keyword arguments where they are wanted.

`resnet.py:build(width=8, depth=1)` is the function `build` with two of its parameters set. Arguments are literals:
numbers, text, true and false. Nothing is evaluated.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.errors import ConfigError, InputError

Value = int | float | str | bool
"""What an argument of a reference may be."""

# The first colon that a name and a parenthesis follow: a Windows path has a colon behind the drive letter, and text
# among the arguments may hold any character.
_CALL: Final = re.compile(r"(.*?:[^\W\d]\w*(?:\.[^\W\d]\w*)*)\s*(\(.*\))", re.DOTALL)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A reference, taken apart.

    Attributes:
        where: `package.module` or `file.py`.
        name: What it is called there; may have dots.
        arguments: Keyword arguments that are set, in the order in which they were written.
    """

    where: str
    name: str
    arguments: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        """The form in which users write it."""
        words = ", ".join(f"{name}={value!r}" for name, value in self.arguments)
        return f"{self.where}:{self.name}({words})" if words else f"{self.where}:{self.name}"

    def with_arguments(self, arguments: Mapping[str, Value]) -> Reference:
        """Returns the reference with these arguments set too; they take the place of those of the same name."""
        both = {**dict(self.arguments), **arguments}
        return Reference(where=self.where, name=self.name, arguments=tuple(both.items()))


def parse_reference(reference: str, what: str, error: type[InputError] = ConfigError) -> Reference:
    """Returns what `module:name`, `file.py:name` or `file.py:name(key=value)` refers to.

    Args:
        reference: What the user wrote.
        what: What it is for, for the message: `[model] source`.
        error: The error to raise.

    Raises:
        InputError: it has no colon, or nothing before or behind it; the name is no Python name; an argument has no
            name, is given twice, or is no literal.
    """
    called = _CALL.fullmatch(reference.strip())
    head, arguments = (called[1], called[2]) if called else (reference, "")
    # The last colon: a Windows path has one behind the drive letter.
    where, _, name = head.rpartition(":")
    if not where or not name or not all(part.isidentifier() for part in name.split(".")):
        hint = f' (for example "{reference}:build")' if reference.endswith(".py") else ""
        raise error(f'{what}: "{reference}" names no Python object. Write file.py:name or module:name{hint}.')
    read = read_arguments(arguments, f'{what}: "{reference}"', error) if arguments else ()
    return Reference(where=where, name=name, arguments=read)


def read_arguments(text: str, title: str, error: type[InputError]) -> tuple[tuple[str, Value], ...]:
    """Returns the arguments in a text such as `(width=8, kind="small")`.

    Raises:
        InputError: they cannot be read; `title` is what the message starts with.
    """
    advice = "Write them as in build(width=8, depth=1)."
    try:
        call: Any = ast.parse(f"_{text}", mode="eval").body
    except (SyntaxError, ValueError) as problem:
        raise error(f"{title}: its arguments cannot be read: {_reason(problem)}. {advice}") from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise error(f"{title}: its arguments cannot be read: too many parentheses. {advice}")
    if call.args or any(item.arg is None for item in call.keywords):
        raise error(f"{title}: an argument has no name. {advice}")
    names = [item.arg for item in call.keywords]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise error(f"{title}: {double} is given twice. {advice}")
    return tuple((str(item.arg), _literal(item, title, error)) for item in call.keywords)


def _literal(item: ast.keyword, title: str, error: type[InputError]) -> Value:
    try:
        value: Any = ast.literal_eval(item.value)
    except (ValueError, TypeError, MemoryError, RecursionError):
        value = None
    if isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise error(
        f"{title}: {item.arg}={ast.unparse(item.value)} was given; expected a number, text in quotes, True or False."
    )


def _reason(problem: Exception) -> str:
    return problem.msg if isinstance(problem, SyntaxError) else str(problem)
