"""Reads nodes of a torch FX graph: operator names, views, in-place operators, the tensors of `get_attr` nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeGuard

from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram
    from torch.fx import GraphModule


def operator_name(node: Node) -> str:
    """Returns `conv2d` for any overload of aten.conv2d, `namespace::name` for others', and "" for no operator."""
    schema = _schema(node)
    return "" if schema is None else str(schema.name).removeprefix("aten::")


def is_in_place(node: Node) -> bool:
    """Returns whether a node changes one of its inputs."""
    schema = _schema(node)
    return schema is not None and bool(schema.is_mutable)


def is_view(node: Node) -> bool:
    """Returns whether a node's output shares memory with its input."""
    schema = _schema(node)
    return schema is not None and any(
        result.alias_info is not None and not result.alias_info.is_write for result in schema.returns
    )


def viewed(node: Node) -> list[Node]:
    """Returns the node and what it is a view of, down to the tensor that owns the memory."""
    chain = [node]
    while is_view(chain[-1]) and chain[-1].args and is_node(chain[-1].args[0]):
        chain.append(chain[-1].args[0])
    return chain


def is_node(value: object) -> TypeGuard[Node]:
    """Returns whether an argument is another node."""
    return hasattr(value, "all_input_nodes")


def attribute(graph_module: GraphModule, node: Any) -> Any:
    """Returns the tensor of a `get_attr` node, or None for any other node or value."""
    if getattr(node, "op", None) != "get_attr":
        return None
    found: Any = graph_module
    for part in node.target.split("."):
        found = getattr(found, part)
    return found


def change_weights(
    graph_module: GraphModule, wanted: Callable[[Tensor], bool], change: Callable[[Tensor], Tensor]
) -> None:
    """Replaces the weights and constants that `wanted` picks by what `change` makes of them; tied ones stay tied."""
    import torch

    made: dict[int, Any] = {}
    for module in graph_module.modules():
        for table in (module._parameters, module._buffers):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  tied weights must stay one tensor
            for name, tensor in table.items():
                if tensor is None or not wanted(tensor):
                    continue
                if id(tensor) not in made:
                    plain = change(tensor.detach())
                    is_parameter = isinstance(tensor, torch.nn.Parameter)
                    made[id(tensor)] = torch.nn.Parameter(plain, requires_grad=False) if is_parameter else plain
                table[name] = made[id(tensor)]


def example_inputs_of(program: ExportedProgram) -> tuple[Tensor, ...]:
    """Returns the inputs that a program was captured with; each program that edgekit opens has some."""
    return tuple(program.example_inputs[0])  # pyright: ignore[reportOptionalSubscript]  None only where torch had none


def _schema(node: Node) -> Any:
    return getattr(node.target, "_schema", None) if node.op == "call_function" else None
