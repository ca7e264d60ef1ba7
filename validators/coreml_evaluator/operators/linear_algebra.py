"""Matrix products and attention."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel


def _linear(call: Call) -> Tensor:
    x, weight, bias = call.tensor("x"), call.tensor("weight"), call.optional("bias")
    if x.is_floating_point():
        return functional.linear(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype))
    product = torch.matmul(x, weight.to(x.dtype).transpose(0, 1))
    return product if bias is None else product + bias.to(x.dtype)


def _matmul(call: Call) -> Tensor:
    x, y = call.tensor("x"), call.tensor("y")
    if call.flag("transpose_x", default=False) and x.dim() > 1:
        x = x.transpose(-1, -2)
    if call.flag("transpose_y", default=False) and y.dim() > 1:
        y = y.transpose(-1, -2)
    common = torch.promote_types(x.dtype, y.dtype)
    return torch.matmul(x.to(common), y.to(common))


def _einsum(call: Call) -> Tensor:
    return torch.einsum(call.text("equation", "").replace(" ", ""), *call.tensors("values"))


def _attention(call: Call) -> Tensor:
    return functional.scaled_dot_product_attention(
        call.tensor("query"), call.tensor("key"), call.tensor("value"), attn_mask=call.optional("attn_mask")
    )


OPERATORS: dict[str, Kernel] = {
    "einsum": _einsum,
    "linear": _linear,
    "matmul": _matmul,
    "scaled_dot_product_attention": _attention,
}
"""By operator type."""
