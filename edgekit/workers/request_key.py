"""The cache key of a request: its canonical JSON, the versions of the tools, a digest of the code that does the work.

What a result depends on and what is hashed are the same object, so they cannot differ. Paths are the only exception: a
work folder may lie anywhere. So a request holds no bare path. One that is written to, or whose content other fields
tell, is a `Place` and counts for nothing; a file or folder that is read is `Contents` and counts by its bytes. Values
that know their own digest, such as a captured model, say by `key_facts` what counts. The name of a plug-in brings the
plug-in's code with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, final, get_args, get_origin, get_type_hints

from edgekit.registry import format_target, source_targets, technique_targets, validator_targets
from edgekit.workers.cache import content_key, versions
from edgekit.workers.code_digest import code_digest, plugin_digest
from edgekit.workers.structure import is_value, make_converter

if TYPE_CHECKING:
    from cattrs import Converter


class PathMeaning(Enum):
    """What a path in a request has to do with the result."""

    PLACE = "nothing"
    CONTENTS = "its bytes"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class PluginKind:
    """Marks a field that names a plug-in, registered in the entry point group `group`."""

    group: str


Place = Annotated[Path, PathMeaning.PLACE]
Contents = Annotated[Path, PathMeaning.CONTENTS]
FormatName = Annotated[str, PluginKind(group="edgekit.formats")]
SourceName = Annotated[str, PluginKind(group="edgekit.sources")]
TechniqueName = Annotated[str, PluginKind(group="edgekit.techniques")]
ValidatorName = Annotated[str, PluginKind(group="edgekit.validators")]

_CHUNK_BYTES: Final = 1 << 20

_TARGETS: Final[Mapping[str, Callable[[str], str]]] = {
    "edgekit.formats": format_target,
    "edgekit.sources": lambda name: source_targets()[name],
    "edgekit.techniques": lambda name: technique_targets()[name],
    "edgekit.validators": lambda name: validator_targets()[name],
}


def request_key(request: object, *, code: tuple[str, ...], tools: tuple[str, ...] = ()) -> str:
    """Returns the key under which the result of a request is cached.

    Args:
        request: A frozen dataclass.
        code: Modules of edgekit that do the work; what they import counts too.
        tools: Distributions whose versions the result depends on.

    Raises:
        TypeError: the request holds a bare path.
    """
    facts = {"kind": type(request).__qualname__, "request": key_facts(request)}
    return content_key({**facts, "code": code_digest(*code), "tools": versions(tools)})


def key_facts(request: object) -> Any:
    """Returns the JSON of a request in which paths and plug-ins stand for their content."""
    return _converter().unstructure(request)


@cache
def _converter() -> Converter:
    made = make_converter()
    made.register_unstructure_hook(Path, _bare_path)
    made.register_unstructure_hook_factory(_is_marked, _hook_of_mark)
    made.register_unstructure_hook_factory(is_value, lambda kind: _hook_of_value(made, kind))
    return made


def _hook_of_value(converter: Converter, kind: type) -> Callable[[Any], Any]:
    """Returns what makes key facts of a dataclass. cattrs' own drops the marks of hints."""
    if hasattr(kind, "key_facts"):
        return lambda value: converter.unstructure(dict(value.key_facts()))
    hints = get_type_hints(kind, include_extras=True)
    hooks = {item.name: converter.get_unstructure_hook(hints[item.name]) for item in fields(kind)}
    return lambda value: {name: hook(getattr(value, name)) for name, hook in hooks.items()}


def _is_marked(kind: Any) -> bool:
    return get_origin(kind) is Annotated and isinstance(get_args(kind)[1], (PathMeaning, PluginKind))


def _hook_of_mark(kind: Any) -> Callable[[Any], Any]:
    mark = get_args(kind)[1]
    if mark is PathMeaning.PLACE:
        return lambda _place: None
    if mark is PathMeaning.CONTENTS:
        return content_digest
    return lambda name: {"name": name, "code": plugin_digest(mark.group, name, _TARGETS[mark.group](name))}


def content_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, or of the names and contents of all files in a folder."""
    hashed = hashlib.sha256()
    for file in sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,):
        hashed.update(file.relative_to(path).as_posix().encode() + b"\0")
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                hashed.update(chunk)
    return hashed.hexdigest()


def _bare_path(path: Path) -> Any:
    raise TypeError(f"A request holds the bare path {path}: mark the field as Place or Contents.")
