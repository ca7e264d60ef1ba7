"""Makes one depthwise convolution of branches that are trained side by side and added.

RepVGG's kind of block (Ding et al., "RepVGG: Making VGG-style ConvNets Great Again", 2021, section 3.3; MobileOne,
FastViT, RepViT, RepGhost) adds convolutions of one tensor, batch norms of it, and the tensor itself. Each of these is
linear in each channel, and with zero padding their sum is one convolution:

    sum_i s_i (K_i * x + b_i) = (sum_i s_i K_i) * x + sum_i s_i b_i

with every kernel K_i centred in the largest one, scales s_i per channel, and a 1 in the middle of the kernel for x
itself. Beside the time of the other operators this saves their rounding: in integers each branch and each sum has a
grid of its own. Only depthwise convolutions are merged: in a dense one the 1 of the identity would share a scale with
hundreds of small weights, whose rounding would cost more than is saved. Runs in a worker that has torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.torch_program.fold_batch_norm import BATCH_NORMS, normalisation_of, set_layer, uses_of_tensors
from edgekit.torch_program.graph_nodes import attribute, is_node, operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

_SIGNS: Final = {"add": 1.0, "sub": -1.0}
_CONVOLUTIONS: Final = ("conv1d", "conv2d")
_DEFAULTS: Final[tuple[Any, ...]] = (None, None, None, (1,), (0,), (1,), 1)
"""What a convolution's arguments are where they are left out: bias, stride, padding, dilation, groups."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Branch:
    """A map that is linear in each channel.

    Attributes:
        source: The node whose tensor (N, C, ...) it reads.
        kernel: (C, 1, ...), float64; its sizes are odd.
        bias: (C,), float64.
        stride: Of each axis behind the channels.
        dilation: Likewise.
        layer: The convolution; None for the tensor itself and for a batch norm of it.
    """

    source: Node
    kernel: Tensor
    bias: Tensor
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    layer: Node | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the kernel."""
        return tuple(self.kernel.shape[2:])

    def scaled(self, scale: Tensor | float, shift: Tensor | float = 0.0) -> _Branch:
        """Returns scale * branch + shift, each a number or one a channel, (C,)."""
        channels = self.bias.new_ones(len(self.bias))
        factors = (channels * scale).reshape(-1, *[1] * (self.kernel.ndim - 1))
        return replace(self, kernel=self.kernel * factors, bias=self.bias * scale + channels * shift)


def merge_branches(graph_module: GraphModule) -> int:
    """Merges in place each sum of two branches of which one is a convolution, and returns how many it merged.

    Args:
        graph_module: The module of an ExportedProgram (parameters are `get_attr` nodes, every other has `meta["val"]`).
    """
    merged = 0
    for node in list(graph_module.graph.nodes):
        pair = _pair(graph_module, node, uses_of_tensors(graph_module)) if operator_name(node) in _SIGNS else None
        if pair is None:
            continue
        layer, large, small = pair
        kernel = large.kernel + _centred(small.kernel, large.sizes)
        set_layer(graph_module, layer, kernel, large.bias + small.bias)
        node.replace_all_uses_with(layer)
        node.graph.erase_node(node)
        merged += 1
    if merged:
        graph_module.graph.eliminate_dead_code()
        graph_module.graph.lint()
        graph_module.recompile()
    return merged


def _pair(graph_module: GraphModule, node: Node, uses: Mapping[int, int]) -> tuple[Node, _Branch, _Branch] | None:
    """Returns the convolution that can hold both branches of a sum, its branch and the other one, or None."""
    if node.kwargs.get("alpha", 1) != 1 or not all(map(is_node, node.args[:2])):
        return None
    one, other = (_branch(graph_module, item, uses) for item in node.args[:2])
    if one is None or other is None or one.source is not other.source or one.stride != other.stride:
        return None
    other = other.scaled(_SIGNS[operator_name(node)])
    large, small = sorted((one, other), key=lambda branch: (branch.layer is None, -branch.kernel.numel()))
    axes = zip(small.sizes, large.sizes, small.dilation, large.dilation, strict=True)
    fits = all(inner == 1 or (inner <= outer and steps == wanted) for inner, outer, steps, wanted in axes)
    return (large.layer, large, small) if large.layer is not None and fits else None


def _branch(graph_module: GraphModule, node: Node, uses: Mapping[int, int]) -> _Branch | None:
    """Returns a term of a sum as a map of what it reads, else of itself; None where it has no channels."""
    if getattr(node.meta.get("val"), "ndim", 0) < 3:
        return None
    name, alone = operator_name(node), len(node.users) == 1
    found = None
    if alone and name in _CONVOLUTIONS:
        found = _convolution(graph_module, node, uses)
    elif alone and name in BATCH_NORMS:
        norm = normalisation_of(graph_module, node)
        if norm is not None and norm.result is node:
            found = _identity(node.args[0]).scaled(norm.scale, norm.beta - norm.mean * norm.scale)
    elif alone and name == "mul" and is_node(node.args[1]):
        factors, inner = _factors(graph_module, node.args[1], node), _branch(graph_module, node.args[0], uses)
        found = None if factors is None or inner is None else inner.scaled(factors)
    return found or _identity(node)


def _factors(graph_module: GraphModule, given: Node, product: Node) -> Tensor | None:
    """Returns a constant with one number a channel of a product, (C,) float64; None for any other value."""
    values = attribute(graph_module, given)
    rank, channels = product.meta["val"].ndim, int(product.meta["val"].shape[1])
    if values is None or values.numel() != channels or (1,) * (rank - values.ndim) + tuple(values.shape) != (
        1, channels, *(1,) * (rank - 2),
    ):  # fmt: skip
        return None
    factors: Tensor = values.detach().double().reshape(-1)
    return factors


def _identity(source: Node) -> _Branch:
    import torch

    channels, rank = int(source.meta["val"].shape[1]), source.meta["val"].ndim - 2
    return _Branch(
        source=source,
        kernel=torch.ones(channels, 1, *[1] * rank, dtype=torch.float64),
        bias=torch.zeros(channels, dtype=torch.float64),
        stride=(1,) * rank,
        dilation=(1,) * rank,
    )


def _convolution(graph_module: GraphModule, node: Node, uses: Mapping[int, int]) -> _Branch | None:
    """Returns a depthwise convolution with odd sizes whose padding keeps it centred; None for any other."""
    import torch

    source, weight_node, given, *settings = (*node.args, *_DEFAULTS[len(node.args) :])
    weight, bias = attribute(graph_module, weight_node), attribute(graph_module, given)
    if weight is None or uses[weight.data_ptr()] != 1 or (given is not None and bias is None):
        return None
    *places, groups = settings
    if isinstance(places[1], str) or not weight.shape[0] == groups == source.meta["val"].shape[1]:
        return None
    sizes = tuple(weight.shape[2:])
    stride, padding, dilation = (tuple(place) * (len(sizes) // len(place)) for place in places)
    axes = zip(sizes, padding, dilation, strict=True)
    if any(size % 2 == 0 or 2 * width != steps * (size - 1) for size, width, steps in axes):
        return None
    return _Branch(
        source=source,
        kernel=weight.detach().double(),
        bias=torch.zeros(weight.shape[0], dtype=torch.float64) if bias is None else bias.detach().double(),
        stride=stride,
        dilation=dilation,
        layer=node,
    )


def _centred(kernel: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Returns a kernel with zeros around it, up to larger sizes."""
    import torch

    around = [(large - size) // 2 for size, large in zip(kernel.shape[2:], sizes, strict=True)]
    return torch.nn.functional.pad(kernel, [width for pair in zip(around, around, strict=True) for width in pair][::-1])
