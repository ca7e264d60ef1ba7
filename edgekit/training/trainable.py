"""A captured program as a module that can be trained in batches. Runs in a worker that has torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import TechniqueError
from edgekit.torch_program.graph_nodes import attribute, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_RESHAPES: Final = frozenset({"expand", "reshape", "view"})
_RECURRENT: Final = frozenset({"lstm", "gru", "rnn_tanh", "rnn_relu"})
_TOLERANCE: Final = 1e-3  # of the largest output: kernels for a batch sum in another order


def free_batch(graph_module: GraphModule) -> None:
    """Lets reshapes that spell out a batch of 1 take any batch: the first axis is left open."""
    # A hook of torch.export checks that the batch is the captured one.
    graph_module._forward_pre_hooks.clear()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  there is no public way
    for node in graph_module.graph.nodes:
        if operator_name(node) in _RESHAPES:
            source = getattr(node.args[0], "meta", {}).get("val")
            wanted = [int(size) for size in node.meta["val"].shape]
            if source is not None and source.shape[:1] == (1,) and wanted[:1] == [1]:
                sizes = list(node.args[1])
                node.args = (node.args[0], [-1, *(sizes if -1 not in sizes[1:] else wanted)[1:]], *node.args[2:])
    graph_module.recompile()


def require_batches(graph_module: GraphModule, feed: tuple[Tensor, ...], title: str) -> None:
    """Checks that the graph computes rows side by side as it does one by one.

    Args:
        graph_module: After `free_batch`.
        feed: One tensor (1, ...) for each input.
        title: For messages: what is trained.

    Raises:
        TechniqueError: a shape in the graph holds the batch of 1.
    """
    import torch

    reason = ""
    if any(operator_name(node) in _RECURRENT for node in graph_module.graph.nodes):
        # Their initial states have the batch in them, and torch reads beyond their end instead of asking.
        reason = "a recurrent layer's initial state is captured at batch 1"
    else:
        with torch.no_grad():
            alone = flat(graph_module(*feed))
            try:
                both = flat(graph_module(*(torch.cat([tensor, tensor]) for tensor in feed)))
            except (RuntimeError, IndexError) as error:
                reason = str(error).splitlines()[0]
            else:
                for one, two in zip(alone, both, strict=True):
                    limit = _TOLERANCE * max(1e-12, float(one.abs().max())) if one.numel() else 0.0
                    if two.shape[0] != 2 or not torch.allclose(two[1:].double(), one.double(), rtol=0, atol=limit):
                        reason = "a batch of two gives other results than two single rows"
    if reason:
        raise TechniqueError(
            f"{title} cannot be trained in batches: {reason}. A forward that spells out a batch of 1 must use "
            "x.shape[0] or -1 instead."
        )


def make_trainable(graph_module: GraphModule) -> GraphModule:
    """Gives every floating-point weight that an operator reads gradients, in place; returns the graph module.

    Weights that the graph holds as buffers or constants become parameters of the same name.
    """
    import torch

    seen: set[str] = set()
    made: dict[int, Tensor] = {}  # by the tensor that it takes the place of: tied weights stay tied
    for node in graph_module.graph.nodes:
        tensor = attribute(graph_module, node)
        if tensor is None or node.target in seen or not tensor.is_floating_point() or not node.users:
            continue
        seen.add(node.target)
        if tensor.ndim and _is_weight(node):
            owner, _, leaf = node.target.rpartition(".")
            module = graph_module.get_submodule(owner)
            if leaf in dict(module.named_buffers(recurse=False)):
                delattr(module, leaf)
            made.setdefault(id(tensor), torch.nn.Parameter(tensor.detach().clone()))
            setattr(module, leaf, made[id(tensor)])
    return graph_module


def freeze(graph_module: GraphModule) -> GraphModule:
    """Takes the gradients from every parameter, in place; returns the graph module."""
    for parameter in graph_module.parameters():
        parameter.requires_grad_(False)
    return graph_module


def flat(value: Any) -> tuple[Tensor, ...]:
    """Returns outputs as a tuple, one tensor alone too."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


_LEARNING: Final = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "linear"), (1, 2)
    ),
    "layer_norm": (2, 3),
    "native_layer_norm": (2, 3),
    "group_norm": (2, 3),
    "batch_norm": (1, 2),
    "prelu": (1,),
    "embedding": (0,),
}
"""Operator to the positions of its weights. What other operators read is a constant of the model."""


def _is_weight(node: Node) -> bool:
    for user in node.users:
        positions = _LEARNING.get(operator_name(user), ())
        if any(position < len(user.args) and user.args[position] is node for position in positions):
            return True
    return False
