"""Convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgekit.sources.onnx_to_torch.node import Builder, Function, Node, UnsupportedError

if TYPE_CHECKING:
    from torch import Tensor


def explicit_pads(node: Node, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """Returns [begin..., end...] of each spatial axis, with `auto_pad` worked out for the input's shape."""
    mode = node.number("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return [int(pad) for pad in node.number("pads", [0] * (2 * len(kernel)))]
    if mode == "VALID":
        return [0] * (2 * len(kernel))
    begins: list[int] = []
    ends: list[int] = []
    for size, taps, step, dilation in zip(node.shape()[2:], kernel, strides, dilations, strict=True):
        total = max(0, (-(-size // step) - 1) * step + dilation * (taps - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        begins.append(small if mode == "SAME_UPPER" else large)
        ends.append(large if mode == "SAME_UPPER" else small)
    return [*begins, *ends]


def torch_pads(pads: Sequence[int]) -> list[int]:
    """Returns [begin..., end...] in the order of torch's pad: last axis first, begin and end side by side."""
    half = len(pads) // 2
    return [pads[i + side * half] for i in reversed(range(half)) for side in (0, 1)]


def _per_axis(node: Node, name: str, axes: int) -> list[int]:
    return [int(value) for value in node.number(name, [1] * axes)]


def _conv(node: Node) -> Function:
    import torch

    axes = node.rank() - 2
    kernel = node.shape(1)[2:]
    strides, dilations = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    pads = explicit_pads(node, kernel, strides, dilations)
    groups = node.number("group", 1)
    function = _of_rank("conv", axes)
    symmetric = pads[:axes] == pads[axes:]
    inside = pads[:axes] if symmetric else [0] * axes
    outside = torch_pads(pads)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padded = x if symmetric else torch.nn.functional.pad(x, outside)
        return function(padded, weight, bias, strides, inside, dilations, groups)

    return run


def _of_rank(name: str, axes: int) -> Callable[..., Tensor]:
    import torch

    if axes not in (1, 2, 3):
        raise UnsupportedError(f"it has {axes} spatial axes; 1, 2 and 3 are supported")
    found: Callable[..., Tensor] = getattr(torch.nn.functional, f"{name}{axes}d")
    return found


def _conv_transpose(node: Node) -> Function:
    axes = node.rank() - 2
    kernel = node.shape(1)[2:]
    strides, dilations = _per_axis(node, "strides", axes), _per_axis(node, "dilations", axes)
    extra = [int(value) for value in node.number("output_padding", [0] * axes)]
    groups = node.number("group", 1)
    full = [
        step * (size - 1) + dilation * (taps - 1) + 1
        for size, taps, step, dilation in zip(node.shape()[2:], kernel, strides, dilations, strict=True)
    ]
    pads = _transposed_pads(node, full, strides, extra)
    function = _of_rank("conv_transpose", axes)
    begins, ends = pads[:axes], pads[axes:]
    if begins == ends and min(begins) >= 0:
        return lambda x, w, b=None: function(x, w, b, strides, begins, extra, groups, dilations)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        import torch

        out = function(x, weight, bias, strides, 0, 0, groups, dilations)
        # Negative padding crops; output padding takes less away at the end.
        crop = [*(-pad for pad in begins), *(more - pad for more, pad in zip(extra, ends, strict=True))]
        return torch.nn.functional.pad(out, torch_pads(crop))

    if any(more > pad for more, pad in zip(extra, ends, strict=True)) and node.has(2):
        raise UnsupportedError("its output padding reaches past the computed values, where the bias is missing")
    return run


def _transposed_pads(node: Node, full: Sequence[int], strides: Sequence[int], extra: Sequence[int]) -> list[int]:
    """Returns [begin..., end...]: given, or so that the output has `output_shape` (or input times stride)."""
    wanted = node.attributes.get("output_shape")
    mode = node.number("auto_pad", "NOTSET")
    if wanted is None and mode in ("NOTSET", "VALID"):
        return (
            [int(pad) for pad in node.number("pads", [0] * (2 * len(full)))]
            if mode == "NOTSET"
            else [0] * (2 * len(full))
        )
    if wanted is None:
        wanted = [size * step for size, step in zip(node.shape()[2:], strides, strict=True)]
    totals = [have + more - int(want) for have, more, want in zip(full, extra, wanted[-len(full) :], strict=True)]
    small = [total // 2 for total in totals]
    large = [total - total // 2 for total in totals]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]


def _gemm(node: Node) -> Function:
    import torch

    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    left, right = node.number("transA", 0), node.number("transB", 0)
    bias_fits = not node.has(2) or (node.is_constant[2] and node.rank(2) <= 1)
    if node.is_constant[1] and not node.is_constant[0] and bias_fits:
        weight = node.inputs[1] if right else node.inputs[1].T
        node.replace(1, (weight * alpha if alpha != 1.0 else weight).contiguous())
        if node.has(2):
            node.replace(2, (node.inputs[2] * beta).expand(weight.shape[0]).contiguous())
        return lambda x, w, b=None: torch.nn.functional.linear(x.T if left else x, w, b)

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        product = torch.matmul(a.T if left else a, b.T if right else b)
        product = product * alpha if alpha != 1.0 else product
        return product if c is None else product + (c * beta if beta != 1.0 else c)

    return run


def _matmul(node: Node) -> Function:
    import torch

    # A constant matrix on the right is a linear layer: quantizers look for that.
    if node.is_constant[1] and not node.is_constant[0] and node.rank(1) == 2 and node.rank(0) >= 2:
        node.replace(1, node.inputs[1].T.contiguous())
        linear: Function = torch.nn.functional.linear
        return linear
    product: Function = torch.matmul
    return product


def _einsum(node: Node) -> Function:
    import torch

    equation = node.number("equation", "").replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


OPERATORS: Final[Mapping[str, Builder]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
}
"""Operator type to builder."""
