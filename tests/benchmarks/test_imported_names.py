"""What benchmarks import from edgekit is there, in their strings of code too, which no type checker reads."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT = re.compile(r"\bfrom (edgekit(?:\.\w+)*) import (\([^)]*\)|[\w ,]+)")
FILES = sorted(path for path in (ROOT / "benchmarks").rglob("*.py") if IMPORT.search(path.read_text()))


@cache
def names_of(module: str) -> frozenset[str]:
    """Returns the names that a module or package has, without importing it."""
    place = ROOT.joinpath(*module.split("."))
    file = place.with_suffix(".py") if place.with_suffix(".py").is_file() else place / "__init__.py"
    found = {one.stem for one in place.iterdir()} if place.is_dir() else set()
    for node in ast.walk(ast.parse(file.read_text())) if file.is_file() else ():
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return frozenset(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT / "benchmarks")))
def test_the_names_that_a_benchmark_imports_exist(path: Path) -> None:
    missing = [
        f"{module}.{name}"
        for module, listed in IMPORT.findall(path.read_text())
        for name in re.findall(r"(?<!as )\b(?!as\b)\w+", listed)
        if name not in names_of(module)
    ]
    assert missing == []


def test_a_name_that_is_gone_is_seen() -> None:
    assert "capture_model" in names_of("edgekit.pipeline.capture")
    assert "capture_model_that_is_gone" not in names_of("edgekit.pipeline.capture")
