"""Where an operator stands in the user's model: for messages that say what cannot be converted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast

from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch.export import ExportedProgram

_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+)')
_SHORT: Final = 3
"""Letters of an operator's name that say too little to find it inside a longer one."""
_LIBRARIES: Final = ("site-packages", "dist-packages", "/torch/")


def operator_place(program: ExportedProgram, operator: str) -> str:
    """Returns where an operator stands first: `aten.foo in the layer features.3 (model.py, line 12)`.

    Layer and line are left out where the program does not know them.

    Args:
        program: torch ExportedProgram.
        operator: As converters name it: `aten.foo.default`, `aten::foo`.
    """
    calls = [cast("Node", node) for node in program.graph.nodes if node.op == "call_function"]
    wanted = operator.replace("::", ".")
    exact = [node for node in calls if str(node.target) == wanted or str(node.target).startswith(f"{wanted}.")]
    # A decomposition may have renamed it: prims.bessel_j0 for aten.special_bessel_j0, aten._cdist_forward for cdist.
    name = _base_name(wanted)
    alike = [node for node in calls if _base_name(str(node.target)).endswith(name)]
    inside = [
        node for node in calls if len(_base_name(str(node.target))) > _SHORT and _base_name(str(node.target)) in name
    ]
    node = next(iter([*exact, *alike, *inside]), None)
    return operator if node is None else f"{operator}{_layer(node)}{_line(node)}"


def node_place(node: Node) -> str:
    """Returns where a node of a program stands: `aten.foo.default in the layer features.3 (model.py, line 12)`."""
    return f"{node.target}{_layer(node)}{_line(node)}"


def node_at(program: ExportedProgram, file: str, line: int) -> Node | None:
    """Returns the first operator of a program whose trace has a line of a file, None where there is none."""
    frame = f'File "{file}", line {line},'
    calls = (cast("Node", node) for node in program.graph.nodes if node.op == "call_function")
    return next((node for node in calls if frame in (node.meta.get("stack_trace") or "")), None)


def _base_name(target: str) -> str:
    """Returns `conv2d` for `aten.conv2d.default`."""
    parts = target.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def _layer(node: Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    name = str(stack[-1][0]) if stack else ""
    return f" in the layer {name}" if name else ""


def _line(node: Node) -> str:
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in frames if not any(part in file for part in _LIBRARIES)]
    return f" ({Path(own[-1][0]).name}, line {own[-1][1]})" if own else ""
