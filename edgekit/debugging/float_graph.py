"""The float model as a graph that can be run from anywhere: any node, on any values. Only in a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.model import CapturedModel
from edgekit.quantization.pt2e_graph import (
    constant_of,
    is_float_tensor,
    modules_of,
    placeholders,
    read_float_graph,
    results_of,
    target_of,
)
from edgekit.quantization.pt2e_ranges import read_by_activations
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

Values = dict[str, Any]
"""Node name to its value: a torch tensor, or a tuple of them."""

WEIGHTED: Final = frozenset({"conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "linear"})
"""Operators whose second argument is a weight."""

ACTIVATIONS: Final = frozenset(
    {
        *("relu", "hardtanh", "relu6", "clamp", "clamp_min", "sigmoid", "tanh", "gelu", "silu", "elu", "leaky_relu"),
        *("hardswish", "hardsigmoid", "softmax", "prelu", "mish", "softplus"),
    }
)
"""Operators that an artifact can lose while it still computes something."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FloatNode:
    """One node of the float graph.

    Attributes:
        name: Unique.
        operator: `conv2d`, `relu`; `input` for an input.
        module: Dotted name of the module that it came from, "" where it came from none.
        sources: Names of the nodes that it reads, weights left out.
        shape: At batch 1; () for what is no float tensor.
        comparable: Its value is a float tensor.
        weight: Name of its weight, "" where it has none.
    """

    name: str
    operator: str
    module: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    comparable: bool
    weight: str = ""


@final
class FloatGraphRun:
    """Runs single nodes of a captured model.

    Args:
        model: Captured as `pt2`.

    Attributes:
        activations: The activation that reads a node, where nothing else does.

    Raises:
        ModelError: the file cannot be read.
        ConversionError: the graph cannot be brought into the simple form.
    """

    def __init__(self, model: CapturedModel) -> None:
        graph = read_float_graph(model)
        module = graph.module
        nodes = [node for node in module.graph.nodes if node.op in ("placeholder", "call_function")]
        self._by_name = {node.name: node for node in nodes}
        self._constants: dict[str, Tensor] = {
            n.name: constant_of(module, n) for n in module.graph.nodes if n.op == "get_attr"
        }
        self.inputs: tuple[str, ...] = tuple(node.name for node in placeholders(module))
        self.outputs: tuple[str, ...] = tuple(node.name for node in results_of(module))
        self.activations = read_by_activations(module)
        self.nodes: tuple[FloatNode, ...] = tuple(_describe(node) for node in nodes)
        self.by_name: dict[str, FloatNode] = {node.name: node for node in self.nodes}
        self.users: dict[str, list[str]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for source in node.sources:
                self.users[source].append(node.name)

    def start(self, row: Sequence[NDArray[Any]]) -> Values:
        """Returns the inputs' values, for one row (one array (1, ...) for each input)."""
        import torch

        return {
            name: torch.from_numpy(array.copy()).to(self._by_name[name].meta["val"].dtype)
            for name, array in zip(self.inputs, row, strict=True)
        }

    def evaluate(self, name: str, values: Mapping[str, Tensor], weights: Mapping[str, Tensor] | None = None) -> Tensor:
        """Returns the value of one node.

        Args:
            name: Name of the node.
            values: Values of all nodes that it reads.
            weights: Tensors that take the place of weights, by name.
        """
        import torch
        from torch.fx.node import map_arg

        changed = weights or {}

        def look_up(item: Node) -> Tensor:
            if item.name in self._constants:
                return changed.get(item.name, self._constants[item.name])
            return values[item.name]

        node = self._by_name[name]
        if node.op == "placeholder":
            return values[name]
        with torch.no_grad():
            return node.target(*map_arg(node.args, look_up), **map_arg(node.kwargs, look_up))

    def run(self, row: Sequence[NDArray[Any]]) -> Values:
        """Returns the values of all nodes."""
        values = self.start(row)
        for node in self.nodes:
            if node.operator != "input":
                values[node.name] = self.evaluate(node.name, values)
        return values

    def weight(self, name: str) -> Tensor:
        """Returns a weight by name."""
        return self._constants[name]

    def between(self, ancestors: frozenset[str], name: str) -> list[str]:
        """Returns the nodes between `ancestors` and `name`, that one included, in order of execution."""
        wanted, open_names = {name}, [name]
        while open_names:
            for source in self.by_name[open_names.pop()].sources:
                if source not in ancestors and source not in wanted:
                    wanted.add(source)
                    open_names.append(source)
        return [node.name for node in self.nodes if node.name in wanted and node.operator != "input"]


def _describe(node: Node) -> FloatNode:
    operator = "input" if node.op == "placeholder" else target_of(node).removeprefix("aten.").split(".")[0]
    modules = modules_of(node)
    weight = ""
    if operator in WEIGHTED and len(node.args) > 1 and getattr(node.args[1], "op", "") == "get_attr":
        weight = node.args[1].name
    comparable = is_float_tensor(node)
    return FloatNode(
        name=node.name,
        operator=operator.rstrip("_") or "call",
        module=modules[0] if modules else "",
        sources=tuple(item.name for item in node.all_input_nodes if item.op != "get_attr"),
        shape=tuple(int(size) for size in node.meta["val"].shape) if comparable else (),
        comparable=comparable,
        weight=weight,
    )


def as_array(value: Tensor) -> NDArray[np.float32]:
    """Returns a tensor as float32."""
    import numpy as np

    found: NDArray[np.float32] = np.asarray(value.detach().numpy(), dtype=np.float32)
    return found
