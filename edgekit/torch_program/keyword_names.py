"""Modules called as a word of Python is (`nn.ModuleDict({"class": head})`): a program's own code cannot name them."""

from __future__ import annotations

import keyword
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.export import ExportedProgram


def without_keywords(path: str) -> str:
    """Returns a dotted path with an underscore behind each of Python's words: `heads.class_.weight`."""
    return ".".join(f"{part}_" if keyword.iskeyword(part) else part for part in path.split("."))


def rename_keywords(program: ExportedProgram) -> None:
    """Renames weights and modules that are called as Python's words: torch could not write the program's code."""
    if not any(keyword.iskeyword(part) for spec in _held(program) for part in spec.target.split(".")):
        return
    for spec in _held(program):
        spec.target = without_keywords(spec.target)
    for stored in (program.state_dict, program.constants):
        for name in [name for name in stored if without_keywords(name) != name]:
            stored[without_keywords(name)] = stored.pop(name)
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {
                key: (without_keywords(path), *rest) for key, (path, *rest) in stack.items()
            }


def _held(program: ExportedProgram) -> list[Any]:
    """Returns the inputs and outputs of a program's graph that stand for what its modules hold."""
    signature = program.graph_signature
    return [
        spec
        for spec in (*signature.input_specs, *signature.output_specs)
        if isinstance(spec.target, str) and (spec.target in program.state_dict or spec.target in program.constants)
    ]
