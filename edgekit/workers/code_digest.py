"""Digests of code: of every module that a function can reach, and of a plug-in that somebody else has installed.

Work is found again in the cache as long as the code that did it is the same. What code that is, is read from the
imports of edgekit's own files: a change of the HTML report's code leaves every entry valid, and nobody has to list what
a stage uses.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from edgekit.registry import OLD_CONVERTERS, metric_names, metric_target

PACKAGE: Final = "edgekit"

CHOSEN_BY_NAME: Final = "edgekit.registry"
"""Its tables list plug-ins of which a request names one: only that one's code counts (see `plugin_digest`)."""

LOADERS: Final[Mapping[str, tuple[str, Callable[[], Mapping[str, str]]]]] = {
    "edgekit.metrics.table": ("edgekit.metrics", lambda: {name: metric_target(name) for name in metric_names()}),
}
"""Modules that load whichever plug-in of a group they come to need, by other facts than a request's: the whole group
counts. A metric stands in for another one where there are no targets."""

# Statements of one logical line, as the formatter leaves them. An import that stands in a text is found as well, which
# only makes the digest cover more. A test holds this equal to what the compiler finds in every file.
_IMPORT: Final = re.compile(
    r"^[ \t]*(?:"
    r"from[ \t]+(?P<base>[\w.]+)[ \t]+import[ \t]+(?P<names>\([^)]*\)|[^\n#]*)"
    r"|import[ \t]+(?P<modules>[^\n#]*))",
    re.MULTILINE,
)
_TYPES_ONLY: Final = re.compile(r"^if TYPE_CHECKING:\n(?:(?:[ \t]+[^\n]*)?\n)*", re.MULTILINE)
_TARGET: Final = re.compile(r"[\"'](edgekit(?:\.\w+)+):\w+[\"']")
"""`module:name` in a table: what is imported once it is needed."""


def code_digest(*modules: str) -> str:
    """Returns a hash of the source of modules of edgekit and of everything of edgekit's that they can import.

    Args:
        modules: Dotted names. A package, `edgekit.validators.runners`, stands for all files that lie in it: what is
            started or read by its path is no import.
    """
    return _digest_of(frozenset(modules))


@cache
def _digest_of(modules: frozenset[str]) -> str:
    hashed = hashlib.sha256()
    starts = set(modules)
    for package in sorted(name for name in modules if module_file(name).name == "__init__.py"):
        folder = module_file(package).parent
        for path in _files_under(folder):
            inside = path.relative_to(folder)
            hashed.update(f"{package}/{inside} {_file_digest(path)}\n".encode())
            if path.suffix == ".py" and path.name != "__init__.py":
                starts.add(".".join((package, *inside.with_suffix("").parts)))
    for name in sorted(reachable_modules(*starts)):
        hashed.update(f"{name} {_file_digest(module_file(name))}\n".encode())
        for plugin, target in sorted(_strangers(name).items()):
            hashed.update(f"{plugin} {plugin_digest(LOADERS[name][0], plugin, target)}\n".encode())
    return hashed.hexdigest()[:32]


def reachable_modules(*modules: str) -> frozenset[str]:
    """Returns the modules of edgekit that can be imported once `modules` are, themselves included."""
    found: set[str] = set()
    open_ = list(modules)
    while open_:
        name = open_.pop()
        if name not in found:
            found.add(name)
            open_.extend(imports_of(name))
    return frozenset(found)


@cache
def imports_of(module: str) -> frozenset[str]:
    """Returns the modules of edgekit that one names in its imports, wherever they stand, and its parent packages."""
    text = _TYPES_ONLY.sub("", module_file(module).read_text(encoding="utf-8"))
    named = list(_imported_names(text))
    if module != CHOSEN_BY_NAME:
        named += _TARGET.findall(text)
    if module in LOADERS:
        named += (target.partition(":")[0] for target in LOADERS[module][1]().values())
    own = {found for name in named if name.startswith(PACKAGE) and (found := _existing(name))}
    return frozenset(own | set(_parents(module)))


def _strangers(module: str) -> dict[str, str]:
    """Returns the third parties' plug-ins that a module may load, by name."""
    targets = LOADERS[module][1]() if module in LOADERS else {}
    return {name: target for name, target in targets.items() if not target.startswith(f"{PACKAGE}.")}


def _imported_names(text: str) -> Iterator[str]:
    """Yields what an import can mean: for `from a import b` both `a` and `a.b`, of which one may be no module."""
    for match in _IMPORT.finditer(text):
        if match["modules"] is not None:
            yield from (part.split()[0] for part in match["modules"].split(",") if part.strip())
            continue
        base = match["base"]
        names = re.sub(r"#[^\n]*", "", match["names"].strip("()"))
        yield from (f"{base}.{part.split()[0]}" for part in names.split(",") if part.strip())


def _parents(module: str) -> Iterator[str]:
    while "." in module:
        module = module.rpartition(".")[0]
        yield module


def _existing(name: str) -> str | None:
    """Returns the module that a dotted name is, or lies in."""
    while name != PACKAGE:
        try:
            module_file(name)
        except ModuleNotFoundError:
            name = name.rpartition(".")[0]
        else:
            return name
    return None


@cache
def module_file(module: str) -> Path:
    """Returns the file of a module of edgekit; for a package its `__init__.py`.

    Raises:
        ModuleNotFoundError: there is none.
    """
    path = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"edgekit has no module {module}")


@cache
def plugin_digest(group: str, name: str, target: str) -> str:
    """Returns a hash of the code of a plug-in.

    Args:
        group: Its entry point group.
        name: Under which it is registered.
        target: Its `module:name`.

    Returns:
        For one of edgekit's own, `code_digest` of its module. For one that came by an entry point, a hash of all files
        of its distribution and of its package, or of its module where that is a single file.
    """
    module = target.partition(":")[0]
    if module.partition(".")[0] == PACKAGE:
        return code_digest(module)
    hashed = hashlib.sha256()
    for path in sorted({*_distribution_files(group, name), *_package_files(module)}):
        hashed.update(f"{path.name} {_file_digest(path)}\n".encode())
    return hashed.hexdigest()[:32]


def _distribution_files(group: str, name: str) -> Iterable[Path]:
    """Returns the files that an entry point's distribution says it has installed; none where it keeps no list."""
    older = importlib.metadata.entry_points(group=OLD_CONVERTERS, name=name) if group == "edgekit.formats" else ()
    for point in (*importlib.metadata.entry_points(group=group, name=name), *older):
        listed = point.dist.files if point.dist is not None else None
        yield from (path for item in listed or () if (path := Path(str(item.locate()))).is_file() and _is_source(path))


def _package_files(module: str) -> Iterable[Path]:
    """Returns the files of the outermost package that a module lies in (not a namespace), or its only file."""
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        spec = importlib.util.find_spec(".".join(parts[:depth]))
        if spec is None:
            return
        if spec.origin is None:
            continue  # a namespace: other distributions lie in it as well
        origin = Path(spec.origin)
        yield from _files_under(origin.parent) if spec.submodule_search_locations else (origin,)
        return


def _files_under(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and _is_source(path))


def _is_source(path: Path) -> bool:
    return path.suffix != ".pyc" and "__pycache__" not in path.parts


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
