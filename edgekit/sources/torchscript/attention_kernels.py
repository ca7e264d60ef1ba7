"""torch's joined attention kernels, which tracing without gradients writes, as the layers that they stand for.

Semantics: aten/src/ATen/native/transformers/{attention,transformer}.cpp. Attention is softmax(Q K^T / sqrt(d)) V
(Vaswani et al. 2017, equation 1); an encoder layer is attention and two linear layers, each added to its input and
normed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from edgekit.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

_MASKED: Final = (
    "The file was traced without gradients, which made torch write a joined kernel for attention with a mask. Trace it "
    "again after torch.backends.mha.set_fastpath_enabled(False)."
)


def encoder_layer(
    x: Tensor,
    width: int,
    heads: int,
    weights: Tensor,
    biases: Tensor,
    last: Tensor,
    last_bias: Tensor,
    use_gelu: bool,  # noqa: FBT001  the schema's
    norm_first: bool,  # noqa: FBT001  the schema's
    eps: float,
    norm_1: Tensor,
    norm_bias_1: Tensor,
    norm_2: Tensor,
    norm_bias_2: Tensor,
    wide: Tensor,
    wide_bias: Tensor,
    narrow: Tensor,
    narrow_bias: Tensor,
    mask: Tensor | None = None,
    *_: object,
) -> Tensor:
    """Returns what `aten::_transformer_encoder_layer_fwd` does with its arguments in this order.

    Raises:
        ModelError: it has a mask.
    """
    from torch.nn.functional import gelu, layer_norm, linear, relu

    if mask is not None:
        raise ModelError(_MASKED)

    def attend(y: Tensor) -> Tensor:
        return multi_head_attention(y, y, y, width, heads, weights, biases, last, last_bias, None, False)[0]

    def feed(y: Tensor) -> Tensor:
        return linear((gelu if use_gelu else relu)(linear(y, wide, wide_bias)), narrow, narrow_bias)

    if norm_first:
        x = x + attend(layer_norm(x, (width,), norm_1, norm_bias_1, eps))
        return x + feed(layer_norm(x, (width,), norm_2, norm_bias_2, eps))
    x = layer_norm(x + attend(x), (width,), norm_1, norm_bias_1, eps)
    return layer_norm(x + feed(x), (width,), norm_2, norm_bias_2, eps)


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    width: int,
    heads: int,
    weights: Tensor,
    biases: Tensor,
    last: Tensor,
    last_bias: Tensor,
    mask: Tensor | None = None,
    needs_shares: bool = True,  # noqa: FBT001, FBT002  the schema's
    averaged: bool = True,  # noqa: FBT001, FBT002  the schema's
    *_: object,
) -> tuple[Tensor, Tensor | None]:
    """Returns what `aten::_native_multi_head_attention` does: outputs (N, L, width), and the shares if they are asked.

    Raises:
        ModelError: it has a mask.
    """
    from torch.nn.functional import linear, scaled_dot_product_attention

    if mask is not None:
        raise ModelError(_MASKED)
    parts = zip((query, key, value), weights.chunk(3), biases.chunk(3), strict=True)
    q, k, v = (
        linear(x, weight, bias).unflatten(-1, (heads, width // heads)).transpose(1, 2) for x, weight, bias in parts
    )
    made = scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    if not needs_shares:
        return linear(made, last, last_bias), None
    shares = (q @ k.transpose(-2, -1) * (width // heads) ** -0.5).softmax(-1)
    return linear(made, last, last_bias), shares.mean(1) if averaged else shares


JOINED: Final[Mapping[str, Callable[..., object]]] = {
    "aten::_transformer_encoder_layer_fwd": encoder_layer,
    "aten::_native_multi_head_attention": multi_head_attention,
}
"""Node kind to what it stands for."""
