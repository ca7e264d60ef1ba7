"""How many annotations say `Any`, by folder. `scripts/annotations.py --names` lists each one.

An annotation is that of an argument, of what a function returns, or of an attribute or variable. It counts as:

- `Any`: it holds the name `Any` anywhere (`list[Any]`, `Callable[..., Any]`), or names an alias that does.
- JSON: its only `Any` is the value type of an object, `Mapping[str, Any]` or `dict[str, Any]`: data from a file or for
  one, whose form a schema or a dataclass checks where it is read.
- array: its only `Any` is a dtype, `NDArray[Any]` or what that stands for: NumPy's own words for an array of any dtype.

`tests/test_layout.py` holds the limits.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Kind = Literal["Any", "JSON", "array", "plain"]
KINDS: tuple[Kind, ...] = ("Any", "JSON", "array", "plain")  # the first one that an annotation holds counts
FOLDERS = {"edgekit": "edgekit", "edgekit.converters": "converters", "edgekit.validators": "validators"}
_OBJECTS = frozenset({"dict", "Mapping", "MutableMapping"})
_ARRAYS = frozenset({"NDArray", "ndarray", "dtype"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation: where it is, what it says, and how it counts."""

    path: Path
    line: int
    text: str
    kind: Kind


@dataclass(slots=True, kw_only=True)
class Module:
    """One file, with what its names stand for."""

    name: str
    path: Path
    tree: ast.Module
    aliases: dict[str, Kind] = field(default_factory=dict[str, Kind])
    imported: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])


def modules(root: Path) -> dict[str, Module]:
    """Returns the modules of the checkout by name."""
    found: dict[str, Module] = {}
    for package, folder in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            name = ".".join([package, *path.relative_to(root / folder).with_suffix("").parts]).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            found[name] = Module(name=name, path=path.relative_to(root), tree=tree, imported=_imported(tree))
    while any([_find_aliases(module, found) for module in found.values()]):  # noqa: C419  all of them, each time
        pass  # an alias can name another module's
    return found


def annotations(root: Path) -> list[Annotation]:
    """Returns every annotation of the package."""
    known = modules(root)
    return [
        Annotation(path=module.path, line=node.lineno, text=ast.unparse(node), kind=_kind(node, module, known))
        for module in known.values()
        for node in _annotations_in(module.tree)
    ]


def by_folder(found: list[Annotation]) -> dict[str, Counter[Kind]]:
    """Returns how many annotations of each kind a folder has, sub-folders of the second level each by itself."""
    counts: dict[str, Counter[Kind]] = {}
    for item in found:
        folder = "/".join(item.path.parts[:-1][:2])
        counts.setdefault(folder, Counter())[item.kind] += 1
    return counts


def _annotations_in(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = node.args
            for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
                if argument is not None and argument.annotation is not None:
                    yield argument.annotation
            if node.returns is not None:
                yield node.returns
        elif isinstance(node, ast.AnnAssign):
            yield node.annotation


def _imported(tree: ast.Module) -> dict[str, tuple[str, str]]:
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _find_aliases(module: Module, known: dict[str, Module]) -> bool:
    """Notes the module's aliases that hold Any; returns whether there was a new one."""
    before = len(module.aliases)
    for node in module.tree.body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        says_alias = isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation)
        is_type = isinstance(value, ast.Name | ast.Attribute | ast.Subscript | ast.BinOp)
        if value is not None and isinstance(target, ast.Name) and (says_alias or is_type):
            kind = _kind(value, module, known)
            if kind != "plain":
                module.aliases[target.id] = kind
    return len(module.aliases) > before


def _kind(annotation: ast.expr, module: Module, known: dict[str, Module]) -> Kind:
    held = set(_kinds(annotation, module, known))
    return next(kind for kind in KINDS if kind in held or kind == "plain")


def _kinds(node: ast.AST, module: Module, known: dict[str, Module]) -> Iterator[Kind]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            yield from _kinds(ast.parse(node.value, mode="eval").body, module, known)
        except SyntaxError:
            return  # a text of Literal
    elif isinstance(node, ast.Name):
        yield _kind_of_name(node.id, module, known)
    elif isinstance(node, ast.Subscript) and _is_dtype(node.slice) and _last_word(node.value) in _ARRAYS:
        yield "array"
    elif isinstance(node, ast.Subscript) and _is_object(node):
        yield "JSON"
    else:
        for child in ast.iter_child_nodes(node):
            yield from _kinds(child, module, known)


def _kind_of_name(name: str, module: Module, known: dict[str, Module]) -> Kind:
    if name == "Any":
        return "Any"
    if name in module.aliases:
        return module.aliases[name]
    owner, original = module.imported.get(name, ("", ""))
    return known[owner].aliases.get(original, "plain") if owner in known else "plain"


def _is_object(node: ast.Subscript) -> bool:
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else []
    is_text = len(parts) == 2 and _last_word(parts[0]) == "str"
    return is_text and _is_any(parts[1]) and _last_word(node.value) in _OBJECTS


def _is_dtype(node: ast.expr) -> bool:
    """Returns whether Any is a dtype among these arguments: of `NDArray[Any]`, or `ndarray[Any, dtype[Any]]`."""
    last = node.elts[-1] if isinstance(node, ast.Tuple) else node
    if isinstance(last, ast.Subscript) and _last_word(last.value) == "dtype":
        last = last.slice
    return _is_any(last)


def _is_any(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "Any"


def _last_word(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def main() -> None:
    """Writes the table, or with `--names` each annotation that counts as Any."""
    found = annotations(Path(__file__).parents[1])
    if "--names" in sys.argv[1:]:
        for item in found:
            if item.kind == "Any":
                sys.stdout.write(f"{item.path}:{item.line}: {item.text}\n")
        return
    counts = by_folder(found)
    total: Counter[Kind] = Counter(item.kind for item in found)
    rows = [*sorted(counts.items(), key=lambda entry: -entry[1]["Any"] / entry[1].total()), ("all", total)]
    sys.stdout.write(f"{'folder':32}{'annotations':>12}{'Any':>6}{'share':>8}{'JSON':>6}{'array':>7}\n")
    for folder, count in rows:
        share = count["Any"] / count.total()
        sys.stdout.write(
            f"{folder:32}{count.total():12}{count['Any']:6}{share:8.1%}{count['JSON']:6}{count['array']:7}\n"
        )


if __name__ == "__main__":
    main()
