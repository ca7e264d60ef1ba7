"""Names of tensors and files as identifiers of a programming language."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final

# Keywords of Kotlin, Swift and C++, and the names that the templates use themselves.
_TAKEN: Final = """
abstract actor and any as assert async auto await bool break case catch char class const continue data default defer
delete do double else enum explicit extension extern false final finally float for friend from fun func goto guard if
import in init inline int interface internal is it let long main module mutable namespace new nil not null object open
operator or out override package private protected protocol public register repeat return self short signed sizeof
static std struct subscript super switch template this throw throws true try typealias typedef typename union unsigned
using val value values var virtual void volatile when where while xor
argc argv environment features inputs labels memory model outputs path preprocess quantize dequantize result results
run scalars session tensor tensors top inputBuffers outputBuffers
"""
_RESERVED: Final = frozenset(_TAKEN.split())


def words_of(name: str) -> list[str]:
    """Returns the parts of a name that can stand in an identifier: `serving_default:0` gives serving, default, 0."""
    return re.findall(r"[A-Za-z0-9]+", name.encode("ascii", "ignore").decode()) or ["tensor"]


def camel_case(name: str) -> str:
    """Returns `inputImage` for `input_image`: what Kotlin and Swift use."""
    first, *rest = words_of(name)
    return _legal(first[:1].lower() + first[1:] + "".join(word[:1].upper() + word[1:] for word in rest))


def snake_case(name: str) -> str:
    """Returns `input_image` for `inputImage:0`-like names: what Python and C++ use."""
    return _legal("_".join(words_of(name)).lower(), "_tensor")


def pascal_case(name: str) -> str:
    """Returns `NetInt8Static` for `net-int8-static`: the name of a class."""
    text = "".join(word[:1].upper() + word[1:] for word in words_of(name))
    return f"Model{text}" if text[:1].isdigit() else text


def distinct(names: Sequence[str]) -> list[str]:
    """Returns the names with a number behind each one that came before."""
    made: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in made:
            candidate, number = f"{name}{number}", number + 1
        made.append(candidate)
    return made


def quote(text: str) -> str:
    """Returns a string literal that Python, Kotlin, Swift and C++ all read as `text`."""
    # Only Kotlin sees something in a dollar, and its escape is an error elsewhere: names with one are refused before.
    return json.dumps(text, ensure_ascii=False)


def _legal(name: str, ending: str = "Tensor") -> str:
    if name[:1].isdigit():
        name = f"tensor{name}"
    return f"{name}{ending}" if name in _RESERVED else name
