"""Convolutions and linear layers as matrix products: what each output of a layer reads, as columns.

A layer with `groups` groups is G = groups problems of R = outputs / groups rows and K = inputs / groups * taps columns:
y[g] = W[g] x[g] at every position. A depthwise convolution is C problems of one row; a linear layer is one problem.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.torch_program.graph_nodes import operator_name
from edgekit.torch_program.torch_protocols import Node

if TYPE_CHECKING:
    from torch import Tensor

CONVOLUTIONS: Final = frozenset({"conv1d", "conv2d"})
LINEAR: Final = "linear"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LayerForm:
    """How a layer reads its input.

    Attributes:
        groups: Groups of a convolution; 1 for a linear layer.
        kernel: (height, width); (1, 1) for a linear layer.
        stride: (vertical, horizontal).
        padding: (vertical, horizontal), zeros on both sides.
        dilation: (vertical, horizontal).
        is_linear: The channels are the last axis and not the second.
    """

    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    is_linear: bool = False

    def problems(self, weight: Tensor) -> Tensor:
        """Returns a weight (outputs, inputs / groups, ...) as (G, R, K)."""
        return weight.reshape(self.groups, weight.shape[0] // self.groups, -1)

    def columns(self, value: Tensor) -> Tensor:
        """Returns the columns of an input (1, C, H, W), (1, C, L) or (..., C), as (G, K, positions)."""
        import torch

        if self.is_linear:
            return value.reshape(-1, value.shape[-1]).t()[None]
        image = value if value.ndim == 4 else value[:, :, None, :]
        width = image.shape[1] // self.groups
        if self.kernel == (1, 1) and self.padding == (0, 0):
            return image[0, :, :: self.stride[0], :: self.stride[1]].reshape(self.groups, width, -1)
        unfolded = torch.nn.functional.unfold(image, self.kernel, self.dilation, self.padding, self.stride)
        # Channels first, then taps: the order of a weight's columns.
        return unfolded.reshape(self.groups, width * self.kernel[0] * self.kernel[1], -1)


def form_of(node: Node, weight: Tensor) -> LayerForm | None:
    """Returns how a convolution or linear node of a captured graph reads its input; None for any other node.

    Args:
        node: torch.fx.Node.
        weight: Its weight.
    """
    name = operator_name(node)
    if name == LINEAR:
        return LayerForm(is_linear=True)
    if name not in CONVOLUTIONS or str(node.target).endswith(".padding"):
        return None
    defaults: tuple[object, ...] = (None, None, None, [1], [0], [1], 1)
    arguments: tuple[Any, ...] = (*node.args, *defaults[len(node.args) :])
    stride, padding, dilation, groups = arguments[3:]
    flat = weight.ndim == 3

    def pair(values: Any, own: int) -> tuple[int, int]:
        numbers = [int(n) for n in values] if isinstance(values, list | tuple) else [int(values)]
        # A one-dimensional layer is one of height 1.
        return (own, numbers[0]) if flat else (numbers[0], numbers[-1])

    return LayerForm(
        groups=int(groups),
        kernel=(1, int(weight.shape[2])) if flat else (int(weight.shape[2]), int(weight.shape[3])),
        stride=pair(stride, 1),
        padding=pair(padding, 0),
        dilation=pair(dilation, 1),
    )
