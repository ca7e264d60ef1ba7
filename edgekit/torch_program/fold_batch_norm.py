"""Folds batch normalisation into the convolution or linear layer before it.

In eval mode a batch norm is y = (x - mean) * gamma / sqrt(var + eps) + beta, per channel. After a layer x = W z + b
it is the layer with W' = W * s and b' = (b - mean) * s + beta, s = gamma / sqrt(var + eps) per output channel. Source:
Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", 2018,
section 3.2. Runs in a worker that has torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, final

from edgekit.torch_program.graph_nodes import attribute, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

BATCH_NORMS: Final = frozenset({"batch_norm", "_native_batch_norm_legit_no_training"})
_CONVOLUTIONS: Final = frozenset({"conv1d", "conv2d", "conv3d"})
_TRANSPOSED: Final = frozenset({"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"})
_LINEAR: Final = "linear"
_GENERAL: Final = "convolution"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Normalisation:
    """A batch norm in eval mode.

    Attributes:
        node: Its node.
        result: The node that stands for its output: itself, or the first item of a tuple.
        mean: (C,), float64.
        scale: gamma / sqrt(var + eps), (C,), float64.
        beta: (C,), float64.
    """

    node: Node
    result: Node
    mean: Tensor
    scale: Tensor
    beta: Tensor


def fold_batch_norms(graph_module: GraphModule) -> int:
    """Folds in place every batch norm that follows a layer nobody else reads, and returns how many were folded.

    Left alone: a batch norm in training mode, a layer whose weight is shared with another or is computed, a layer whose
    output has another reader, and a batch norm over an axis that is not the layer's output channel.

    Args:
        graph_module: The module of an ExportedProgram (parameters are `get_attr` nodes).
    """
    uses = uses_of_tensors(graph_module)
    folded = 0
    for node in list(graph_module.graph.nodes):
        layer = node.args[0] if operator_name(node) in BATCH_NORMS else None
        if layer is None or not _is_foldable(graph_module, layer, uses):
            continue
        normalisation = normalisation_of(graph_module, node)
        if normalisation is not None:
            _fold(graph_module, layer, normalisation)
            folded += 1
    graph_module.graph.lint()
    graph_module.recompile()
    return folded


def uses_of_tensors(graph_module: GraphModule) -> dict[int, int]:
    """Returns how many operators read each tensor, by address: tied weights have one address under several names."""
    uses: dict[int, int] = {}
    for node in graph_module.graph.nodes:
        tensor = attribute(graph_module, node)
        if tensor is not None and hasattr(tensor, "data_ptr"):
            uses[tensor.data_ptr()] = uses.get(tensor.data_ptr(), 0) + len(node.users)
    return uses


def _is_foldable(graph_module: GraphModule, layer: Node, uses: dict[int, int]) -> bool:
    name = operator_name(layer)
    if name not in _CONVOLUTIONS | _TRANSPOSED | {_LINEAR, _GENERAL} or len(layer.users) != 1:
        return False
    # A batch norm's channel is axis 1; a linear layer's is the last one.
    if name == _LINEAR and len(layer.meta["val"].shape) != 2:
        return False
    weight = attribute(graph_module, layer.args[1])
    bias = layer.args[2] if len(layer.args) > 2 else None
    if weight is None or uses[weight.data_ptr()] != 1:
        return False
    return bias is None or attribute(graph_module, bias) is not None


def normalisation_of(graph_module: GraphModule, node: Node) -> Normalisation | None:
    """Returns the batch norm's numbers, or None if it is not in eval mode or they are computed."""
    import torch

    _, gamma_node, beta_node, mean_node, variance_node, *rest = node.args
    if operator_name(node) == "batch_norm":
        training, _, epsilon = rest[0], rest[1], rest[2]
        result = node
    else:
        training, epsilon = False, rest[1]
        users = list(node.users)
        if len(users) != 1 or users[0].args[1:] != (0,):
            return None
        result = users[0]
    mean, variance = attribute(graph_module, mean_node), attribute(graph_module, variance_node)
    gamma, beta = attribute(graph_module, gamma_node), attribute(graph_module, beta_node)
    given = ((mean_node, mean), (variance_node, variance), (gamma_node, gamma), (beta_node, beta))
    if training or mean is None or variance is None or any(n is not None and t is None for n, t in given):
        return None
    mean64, variance64 = mean.detach().double(), variance.detach().double()
    scale = 1.0 / torch.sqrt(variance64 + epsilon)
    if gamma is not None:
        scale = scale * gamma.detach().double()
    shift = beta.detach().double() if beta is not None else torch.zeros_like(mean64)
    return Normalisation(node=node, result=result, mean=mean64, scale=scale, beta=shift)


def _fold(graph_module: GraphModule, layer: Node, normalisation: Normalisation) -> None:
    import torch

    weight = attribute(graph_module, layer.args[1]).detach()
    bias = attribute(graph_module, layer.args[2] if len(layer.args) > 2 else None)
    old_bias = bias.detach().double() if bias is not None else torch.zeros_like(normalisation.mean)
    new_bias = (old_bias - normalisation.mean) * normalisation.scale + normalisation.beta
    set_layer(graph_module, layer, _scaled(weight.double(), normalisation.scale, layer), new_bias)
    normalisation.result.replace_all_uses_with(layer)
    for node in dict.fromkeys((normalisation.result, normalisation.node)):
        node.graph.erase_node(node)


def set_layer(graph_module: GraphModule, layer: Node, weight: Tensor, bias: Tensor) -> None:
    """Gives a layer, whose weight nobody else reads, other values in their old type.

    Args:
        graph_module: The layer's graph.
        layer: A convolution or a linear layer.
        weight: Of any shape.
        bias: (outputs,).
    """
    weight_node, dtype = layer.args[1], attribute(graph_module, layer.args[1]).dtype
    bias_node = layer.args[2] if len(layer.args) > 2 else None
    bias_name = _name_of_bias(graph_module, weight_node.target, bias_node)
    _assign(graph_module, weight_node.target, weight.to(dtype))
    _assign(graph_module, bias_name, bias.to(dtype))
    with layer.graph.inserting_before(layer):
        new_bias_node = layer.graph.get_attr(bias_name)
    layer.args = (layer.args[0], weight_node, new_bias_node, *layer.args[3:])


def _scaled(weight: Tensor, scale: Tensor, layer: Node) -> Tensor:
    """Returns the weight with each output channel multiplied by its scale.

    A transposed convolution's weight is (C_in, C_out / groups, ...), every other one's (C_out, ...).
    """
    if not is_transposed(layer):
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    position = 8 if operator_name(layer) == _GENERAL else 6
    groups = layer.args[position] if len(layer.args) > position else 1
    grouped = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    factors = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    return (grouped * factors).reshape(weight.shape)


def is_transposed(layer: Node) -> bool:
    """Returns whether a convolution node is a transposed one."""
    return operator_name(layer) in _TRANSPOSED or (operator_name(layer) == _GENERAL and bool(layer.args[6]))


def _name_of_bias(graph_module: GraphModule, weight_name: str, bias_node: Node | None) -> str:
    """Returns the name for the new bias: the old bias's if nobody else reads it, else one beside the weight."""
    if bias_node is not None and len(bias_node.users) == 1:
        return str(bias_node.target)
    owner, _, leaf = weight_name.rpartition(".")
    module = graph_module.get_submodule(owner)
    name = "bias" if leaf == "weight" else f"{leaf}_bias"
    while getattr(module, name, None) is not None:
        name += "_folded"
    return f"{owner}.{name}" if owner else name


def _assign(graph_module: GraphModule, name: str, value: Tensor) -> None:
    import torch

    owner, _, leaf = name.rpartition(".")
    module = graph_module.get_submodule(owner)
    is_buffer = leaf in dict(module.named_buffers(recurse=False))
    setattr(module, leaf, value if is_buffer else torch.nn.Parameter(value, requires_grad=False))
