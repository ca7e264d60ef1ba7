"""Computes complex numbers as pairs of real ones. Runs in a worker that has torch.

Spectra (`stft`, `rfft` and their inverses) and rotary embeddings are complex inside and real at both ends; formats have
no complex tensors. Every complex tensor becomes two real ones; a Fourier transform becomes a product with cosines and
sines, and that of windows a convolution with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.replace_operators import insert_traced, replace_results
from edgekit.torch_program.rewrites.complex_operators import OPERATORS
from edgekit.torch_program.rewrites.pair import Pair
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_Pairs: TypeAlias = dict[Node, tuple[Node, Node]]


def use_real_numbers(graph_module: GraphModule) -> int:
    """Replaces in place all complex tensors of a graph, if it knows every operator on them.

    Returns:
        How many operators were replaced; 0 leaves the graph as it was.
    """
    graph = graph_module.graph
    complex_nodes = [node for node in graph.nodes if _is_complex(node)]
    readers = [n for n in graph.nodes if n in complex_nodes or any(_is_complex(m) for m in n.all_input_nodes)]
    if not complex_nodes or not all(n.op == "get_attr" or operator_name(n) in OPERATORS for n in readers):
        return 0
    pairs: _Pairs = {}
    for node in readers:
        if node.op == "get_attr":
            pairs[node] = _split(graph_module, node)
            continue
        results = _insert(graph_module, node, pairs)
        if _is_complex(node):
            pairs[node] = (results[0], results[1])
        else:
            replace_results(node, results)
    graph.eliminate_dead_code()
    for name in {str(node.target) for node in pairs if node.op == "get_attr"}:
        _forget(graph_module, name)
    graph.lint()
    graph_module.recompile()
    return len(readers)


def _is_complex(node: Node) -> bool:
    value = node.meta.get("val")
    return bool(getattr(getattr(value, "dtype", None), "is_complex", False))


def _split(graph_module: GraphModule, node: Node) -> tuple[Node, Node]:
    """Returns nodes of the real and the imaginary part of a constant, where it stands."""
    value = attribute(graph_module, node).detach()
    made: list[Node] = []
    for part, tensor in (("real", value.real), ("imaginary", value.imag)):
        name = f"{str(node.target).replace('.', '_')}_{part}"
        graph_module.register_buffer(name, tensor.clone().contiguous())
        with node.graph.inserting_before(node):
            new = node.graph.get_attr(name)
        new.meta = {**{key: item for key, item in node.meta.items() if key != "from_node"}, "val": tensor}
        made.append(new)
    return made[0], made[1]


def _forget(graph_module: GraphModule, name: str) -> None:
    """Removes a constant that nothing reads: converters look at all of them, and complex ones stop some."""
    path, _, last = name.rpartition(".")
    owner = graph_module.get_submodule(path)
    if not any(node.op == "get_attr" and node.target == name for node in graph_module.graph.nodes):
        delattr(owner, last)


def _insert(graph_module: GraphModule, node: Node, pairs: Mapping[Node, tuple[Node, Node]]) -> list[Node]:
    """Puts what an operator computes, with pairs in the place of complex tensors, before it."""
    given: list[Node] = []

    def described(value: Any) -> Any:
        """Returns an argument with the places of its tensors in `given` instead of nodes."""
        if isinstance(value, (list, tuple)):
            return [described(item) for item in value]
        if not is_node(value):
            return _Plain(value)
        parts = pairs.get(value, (value,))
        given.extend(parts)
        return tuple(range(len(given) - len(parts), len(given)))

    arguments = [described(value) for value in node.args]
    named = {name: described(value) for name, value in node.kwargs.items()}
    compute = OPERATORS[operator_name(node)]

    def function(*tensors: Tensor) -> object:
        result = compute(
            node.target,
            *(_filled(value, tensors) for value in arguments),
            **{name: _filled(value, tensors) for name, value in named.items()},
        )
        return (result.real, result.imaginary) if isinstance(result, Pair) else result

    return insert_traced(graph_module, node, function, given)


class _Plain:
    """An argument that is no tensor."""

    def __init__(self, value: object) -> None:
        self.value = value


def _filled(described: Any, tensors: Sequence[Tensor]) -> Any:
    if isinstance(described, _Plain):
        return described.value
    if isinstance(described, tuple):
        parts = [tensors[place] for place in described]
        return parts[0] if len(parts) == 1 else Pair(real=parts[0], imaginary=parts[1])
    return [_filled(item, tensors) for item in described]
