"""Checks that reading a `.pt2` archive runs no code from it.

`torch.export.load` unpickles parts of an archive without restriction (weights and constants that are no plain tensors,
custom objects, the layout of versions before 2.8) and evaluates shape expressions as Python. Each of these is checked
here first, so that a file from a stranger can be opened.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_KNOWN_FUNCTIONS: Final = frozenset(
    {"Max", "Min", "Mod", "PythonMod", "FloorDiv", "CeilDiv", "CleanDiv", "IntTrueDiv", "FloatTrueDiv", "Integer"}
    | {"ModularIndexing", "Where", "TruncToInt", "FloorToInt", "CeilToInt", "ToFloat", "PowByNatural", "Identity"}
    | {
        "Add",
        "Mul",
        "Pow",
        "Rational",
        "Float",
        "Abs",
        "Infinity",
        "NegativeInfinity",
        "IntInfinity",
        "NegativeIntInfinity",
    }
    | {"Eq", "Ne", "Lt", "Le", "Gt", "Ge", "And", "Or", "Not", "True", "False", "oo", "int_oo"}
)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")
_SYMBOL: Final = re.compile(r"[a-z]{1,3}\d+")
_QUOTED: Final = re.compile(r"Symbol\('[A-Za-z_]\w*'(?:, [a-z_]+=(?:True|False))*\)")
"""How SymPy spells a symbol with its assumptions."""

_DECIMAL: Final = re.compile(r"\d\.\d+(e[+-]?\d+)?")
_PLAIN: Final = re.compile(r"[\w\s+\-*/(),<>=&|~]*")


def check_archive(path: Path, title: str) -> None:
    """Checks an archive that `torch.export.save` wrote.

    Raises:
        ModelError: it is damaged, of the layout before torch 2.8, or reading it would run code.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            bad = archive.testzip()
            if bad is not None:
                raise ModelError(
                    f"{title} is damaged: {bad} inside it fails its checksum. Copy or save the file again."
                )
            if not any(name.endswith("/archive_format") for name in names):
                raise ModelError(_wrong_layout(title, names))
            _check_pickles(archive, names, title)
            _check_expressions(archive, names, title)
    except (zipfile.BadZipFile, OSError, EOFError) as error:
        raise ModelError(
            f"{title} is damaged: it is no complete zip archive ({path.stat().st_size} bytes). Copy or save the file "
            "again."
        ) from error


def _wrong_layout(title: str, names: list[str]) -> str:
    if any(name.endswith("data.pkl") for name in names):
        return (
            f"{title} is a pickle that torch.save or torch.jit.save wrote, and edgekit loads none. "
            "Save the model with torch.export.save, or give its factory: model.py:build."
        )
    return (
        f"{title} is no archive that torch.export.save of torch 2.8 or newer wrote. Load it where it came from and "
        "save it again with torch.export.save."
    )


def _check_pickles(archive: zipfile.ZipFile, names: list[str], title: str) -> None:
    """Checks every part that torch would unpickle without restriction."""
    suspects = {name for name in names if "/data/" in name and name.endswith(".pt")}
    suspects |= {name for name in names if name.rpartition("/")[2].startswith(("custom_obj", "opaque_obj"))}
    for config in (name for name in names if name.endswith("_config.json")):
        folder = config.rpartition("/")[0]
        parts = _entries(json.loads(archive.read(config)))
        suspects |= {f"{folder}/{part['path_name']}" for part in parts if part.get("use_pickle")}
    for name in sorted(suspects):
        _check_pickle(archive, name, title)


def _entries(value: object) -> Iterator[dict[str, Tensor]]:
    """Yields every object with a `path_name`, however the version nests them."""
    if isinstance(value, dict):
        if "path_name" in value:
            yield value
        for item in value.values():
            yield from _entries(item)
    elif isinstance(value, list):
        for item in value:
            yield from _entries(item)


def _check_pickle(archive: zipfile.ZipFile, name: str, title: str) -> None:
    import torch

    if not archive.getinfo(name).file_size:
        return  # a program without example inputs
    try:
        torch.load(io.BytesIO(archive.read(name)), weights_only=True, map_location="cpu")
    except Exception as error:
        raise ModelError(
            f"{title} holds a pickled object ({name.partition('/')[2]}) that is more than tensors; loading it could "
            "run any code, so edgekit does not. Export the model again without custom objects."
        ) from error


def _check_expressions(archive: zipfile.ZipFile, names: list[str], title: str) -> None:
    """Checks the shape expressions, which torch hands to SymPy, which evaluates them as Python."""
    for name in names:
        if "/models/" not in name or not name.endswith(".json"):
            continue
        for text in _expressions(json.loads(archive.read(name))):
            plain = _DECIMAL.sub("0", _QUOTED.sub("0", text))
            known = all(_SYMBOL.fullmatch(word) or word in _KNOWN_FUNCTIONS for word in _IDENTIFIER.findall(plain))
            if not known or not _PLAIN.fullmatch(plain):
                raise ModelError(
                    f"{title} holds the shape expression {text[:80]!r}, which is no arithmetic of sizes; reading it "
                    "could run code, so edgekit does not. Export the model again."
                )


def _expressions(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "expr_str" and isinstance(item, str):
                yield item
            elif key == "range_constraints" and isinstance(item, dict):
                yield from item
            else:
                yield from _expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from _expressions(item)
