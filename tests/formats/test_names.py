"""No module but a format's own spells its name: what differs by format is asked of its descriptor."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from edgekit.formats.table import find_format
from edgekit.registry import FORMATS

ROOT = Path(__file__).parents[2]

OWN = ("converter", "session", "inspector", "graph_reader")
"""Members of a descriptor that name its own modules."""

SHARED = {
    "edgekit/registry.py": "the table of names itself",
    "edgekit/model.py": "kinds of captured models, which are files that a user gives",
    "edgekit/sources/onnx_file.py": "the kind of a source",
    "edgekit/sources/tflite_file.py": "the kind of a source",
    "edgekit/analysis/analyze.py": "kinds of captured models",
    "edgekit/analysis/finished_file.py": "a distribution",
    "edgekit/gating/outputs/measuring.py": "the tools of Apple and of Android that measure one format each",
    "edgekit/in_memory/models.py": "kinds of models in memory",
    "edgekit/pipeline/capture.py": "kinds of captured models, and a distribution",
    "edgekit/testing/format_contract.py": "a kind of captured model, which most converters refuse",
    "converters/onnx_source.py": "a part of the ONNX converter, and a kind of captured model",
    "converters/to_coreml.py": "kinds of captured models that it refuses",
    "converters/to_executorch.py": "kinds of captured models that it refuses",
    "converters/to_onnx.py": "kinds of captured models that it refuses",
    "converters/to_tflite.py": "kinds of captured models that it refuses",
}
"""Files that spell a name which is not (only) their own format's, and what the name stands for there."""


def file_of(module: str) -> str:
    parts = module.removeprefix("edgekit.").split(".")
    inside = parts if parts[0] in ("converters", "validators") else ["edgekit", *parts]
    return str(Path(*inside).with_suffix(".py"))


def own_files(name: str) -> set[str]:
    found = find_format(name)
    members = [FORMATS[name], *(getattr(found, member) for member in OWN)]
    return {file_of(text.partition(":")[0]) for text in members if text}


def spelled(path: Path) -> set[str]:
    """Returns the formats' names that are whole strings in a file; docstrings are sentences and do not count."""
    tree = ast.parse(path.read_text())
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and node.value in FORMATS}


@cache
def strangers() -> dict[str, set[str]]:
    """Returns the names that each file spells though it is no module of that format."""
    owners = {name: own_files(name) for name in FORMATS}
    found: dict[str, set[str]] = {}
    for folder in ("edgekit", "converters", "validators"):
        for path in sorted((ROOT / folder).rglob("*.py")):  # which follows no links
            file = str(path.relative_to(ROOT))
            names = {name for name in spelled(path) if file not in owners[name]}
            if names:
                found[file] = names
    return found


def test_no_module_but_a_format_s_own_spells_its_name():
    assert {file: names for file, names in strangers().items() if file not in SHARED} == {}


@pytest.mark.parametrize("file", SHARED)
def test_each_exception_is_still_needed(file):
    assert file in strangers()
