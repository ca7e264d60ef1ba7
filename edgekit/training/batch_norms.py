"""Batch norms for a captured graph, which has none: capturing folds them away, and training needs them.

Without normalization the layers of a folded network differ in scale by orders of magnitude, and a learning rate that is
right for one of them throws another off. A batch norm with the statistics that a convolution's results have now, and
with these very statistics as its scale and shift, computes the identity; from there on it does in training what it is
for (Ioffe & Szegedy, "Batch Normalization", 2015, algorithms 1 and 2). Capturing the trained graph folds it again.

Runs in a worker that has torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.fx import GraphModule

_CONVOLUTIONS: Final = {"conv1d": "BatchNorm1d", "conv2d": "BatchNorm2d", "conv3d": "BatchNorm3d"}
_NORMS: Final = frozenset({"layer_norm", "native_layer_norm", "group_norm", "instance_norm", "batch_norm"})
_BEHIND: Final = frozenset(
    {"relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "silu", "silu_", "hardswish", "hardswish_", "gelu"}
    | {"leaky_relu", "leaky_relu_", "elu", "prelu", "add", "add_", "max_pool2d", "avg_pool2d", "cat"}
)
"""What follows a convolution that was trained with a batch norm: an activation, a sum, a pool."""


def insert_batch_norms(graph_module: GraphModule, batches: Iterable[tuple[Tensor, ...]]) -> int:
    """Puts a batch norm behind each convolution that had one, in place; the graph computes what it did.

    A network that normalizes in another way is left alone.

    Args:
        graph_module: torch.fx.GraphModule that takes any batch size, its weights parameters.
        batches: Inputs (batch, ...) that the statistics are taken of.

    Returns:
        How many were put in.
    """
    nodes = list(graph_module.graph.nodes)
    if any(operator_name(node) in _NORMS for node in nodes):
        return 0
    chosen = [node for node in nodes if _had_norm(graph_module, node)]
    moments = _moments(graph_module, chosen, batches) if chosen else {}
    for node in chosen:
        mean, deviation = moments[node]
        name = f"norm_{node.name}"
        graph_module.add_submodule(name, _norm(node, mean, deviation))
        _divide(graph_module, node, deviation)
        with graph_module.graph.inserting_after(node):
            made = graph_module.graph.call_module(name, (node,))
        made.meta = dict(node.meta)
        node.replace_all_uses_with(made, delete_user_cb=lambda user, made=made: user is not made)
    graph_module.graph.lint()
    graph_module.recompile()
    return len(chosen)


def set_training(graph_module: GraphModule, *, training: bool) -> None:
    """Switches the batch norms of a graph, and nothing else of it, between training and use."""
    from torch import nn

    for module in graph_module.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
            module.train(training)


def _had_norm(graph_module: GraphModule, node: Node) -> bool:
    """Returns whether a batch norm can stand behind a node, and probably did: a convolution with weights of its own."""
    if operator_name(node) not in _CONVOLUTIONS or attribute(graph_module, node.args[1]) is None:
        return False
    shared = [node.args[1], *(item for item in node.args[2:3] if is_node(item))]
    return all(len(item.users) == 1 for item in shared) and any(operator_name(user) in _BEHIND for user in node.users)


def _moments(
    graph_module: GraphModule, chosen: list[Node], batches: Iterable[tuple[Tensor, ...]]
) -> dict[Node, tuple[Tensor, Tensor]]:
    """Returns mean and standard deviation (channels,) of each chosen node's values over all batches."""
    import torch

    sums: dict[Node, list[Tensor]] = {}
    wanted = set(chosen)

    class Observer(torch.fx.Interpreter):  # type: ignore[misc]  # torch is Any here
        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n in wanted:
                rows = value.detach().double().transpose(0, 1).flatten(1)
                found = [rows.sum(dim=1), rows.square().sum(dim=1), rows.shape[1]]
                sums[n] = [one + other for one, other in zip(sums.get(n, [0, 0, 0]), found, strict=True)]
            return value

    observer = Observer(graph_module)
    with torch.no_grad():
        for inputs in batches:
            observer.run(*inputs)
    result: dict[Node, tuple[Tensor, Tensor]] = {}
    for node, (total, squares, count) in sums.items():
        mean = total / count
        deviation = (squares / count - mean.square()).clamp(min=0).sqrt()
        dead = deviation <= 1e-6 * deviation.max().clamp(min=1e-12)
        # A channel that is constant has no scale to divide by.
        result[node] = (mean, torch.where(dead, torch.ones_like(deviation), deviation))
    return result


def _norm(node: Node, mean: Tensor, deviation: Tensor) -> nn.Module:
    """Returns a batch norm that gives back what the convolution computed before its weights were divided."""
    import torch

    norm: Any = getattr(torch.nn, _CONVOLUTIONS[operator_name(node)])(len(mean))
    with torch.no_grad():
        norm.running_mean.copy_(mean / deviation)
        norm.running_var.fill_(1.0 - norm.eps)
        norm.weight.copy_(deviation)
        norm.bias.copy_(mean)
    return norm.eval()


def _divide(graph_module: GraphModule, node: Node, deviation: Tensor) -> None:
    """Divides a convolution's weight and bias by its results' deviation: all layers then learn on one scale."""
    import torch

    weight = attribute(graph_module, node.args[1])
    bias = attribute(graph_module, node.args[2]) if len(node.args) > 2 and node.args[2] is not None else None
    with torch.no_grad():
        weight.div_(deviation.to(weight.dtype).reshape(-1, *[1] * (weight.ndim - 1)))
        if bias is not None:
            bias.div_(deviation.to(bias.dtype))
