"""Matrix products, attention and reductions of the Core ML evaluator against NumPy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch.nn import functional

RNG = np.random.default_rng(4)
X = RNG.normal(0, 1, (2, 3, 4)).astype(np.float32)
POSITIVE = RNG.uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
INTEGERS = RNG.integers(-4, 5, (2, 3)).astype(np.int32)
WEIGHT, BIAS = RNG.normal(0, 1, (5, 4)).astype(np.float32), RNG.normal(0, 1, 5).astype(np.float32)
WHOLE = RNG.integers(-4, 5, (5, 3)).astype(np.int32)
Q, K, V = (RNG.normal(0, 1, (1, 2, rows, 4)).astype(np.float32) for rows in (3, 5, 5))
MASK = RNG.normal(0, 1, (3, 5)).astype(np.float32)
LEFT, RIGHT = RNG.normal(0, 1, (2, 3, 1, 4)).astype(np.float32), RNG.normal(0, 1, (2, 4, 5, 6)).astype(np.float32)


def reduction(operator, reference, array=X):
    """Over one axis with the dimension kept, over two, and over all."""

    def build(mb, x):
        function = getattr(mb, operator)
        return [function(x=x, axes=[1], keep_dims=True), function(x=x, axes=[-1, 0]), function(x=x)]

    def expected(x):
        return [reference(x, 1, True), reference(x, (0, 2), False), reference(x, (0, 1, 2), False)]

    return ("iOS15", {"x": array}, build, expected)


def attention(x, y, z, mask):
    return functional.scaled_dot_product_attention(*(torch.from_numpy(a) for a in (x, y, z)), torch.from_numpy(mask))


CASES = {
    "linear": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.linear(x=x, weight=WEIGHT, bias=BIAS), mb.linear(x=x, weight=WEIGHT)],
        lambda x: [x @ WEIGHT.T + BIAS, x @ WEIGHT.T],
    ),
    "linear-integers": (
        "iOS15",
        {"x": INTEGERS},
        lambda mb, x: mb.linear(x=x, weight=WHOLE, bias=np.arange(5, dtype=np.int32)),
        lambda x: x @ WHOLE.T + np.arange(5),
    ),
    "matmul": (
        "iOS15",
        {"x": X, "y": WEIGHT},
        lambda mb, x, y: [mb.matmul(x=x, y=y, transpose_y=True), mb.matmul(x=x, y=x, transpose_x=True)],
        lambda x, y: [x @ y.T, x.transpose(0, 2, 1) @ x],
    ),
    "matmul-integers": (
        "iOS15",
        {"x": INTEGERS},
        lambda mb, x: mb.matmul(x=x, y=x, transpose_y=True),
        lambda x: x @ x.T,
    ),
    "einsum": (
        "iOS15",
        {"x": LEFT, "y": RIGHT},
        lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
        lambda x, y: np.einsum("nchw,nwhu->nchu", np.broadcast_to(x, (2, 3, 5, 4)), y),
    ),
    "scaled_dot_product_attention": (
        "iOS18",
        {"q": Q, "k": K, "v": V, "mask": MASK},
        lambda mb, q, k, v, mask: mb.scaled_dot_product_attention(query=q, key=k, value=v, attn_mask=mask),
        lambda q, k, v, mask: attention(q, k, v, mask).numpy(),
    ),
    "scaled_dot_product_attention-bool": (
        "iOS18",
        {"q": Q, "k": K, "v": V, "mask": MASK},
        lambda mb, q, k, v, mask: mb.scaled_dot_product_attention(
            query=q, key=k, value=v, attn_mask=mb.greater(x=mask, y=-1.0)
        ),
        lambda q, k, v, mask: attention(q, k, v, mask > -1).numpy(),
    ),
    "reduce_argmax": (
        "iOS15",
        {"x": X},
        lambda mb, x: [mb.reduce_argmax(x=x), mb.reduce_argmax(x=x, axis=1, keep_dims=True)],
        lambda x: [x.argmax(-1), x.argmax(1, keepdims=True)],
    ),
    "reduce_argmin": (
        "iOS17",
        {"x": X},
        lambda mb, x: [
            mb.reduce_argmin(x=x, axis=0),
            mb.cast(x=mb.reduce_argmin(x=x, axis=2, output_dtype="uint16"), dtype="int32"),
        ],
        lambda x: [x.argmin(0), x.argmin(2)],
    ),
    "reduce_l1_norm": reduction("reduce_l1_norm", lambda x, axes, keep: np.abs(x).sum(axes, keepdims=keep)),
    "reduce_l2_norm": reduction("reduce_l2_norm", lambda x, axes, keep: np.sqrt((x**2).sum(axes, keepdims=keep))),
    "reduce_log_sum": reduction("reduce_log_sum", lambda x, a, keep: np.log(x.sum(a, keepdims=keep)), POSITIVE),
    "reduce_log_sum_exp": reduction("reduce_log_sum_exp", lambda x, axes, keep: logsumexp(x, axes, keepdims=keep)),
    "reduce_max": reduction("reduce_max", lambda x, axes, keep: x.max(axes, keepdims=keep)),
    "reduce_mean": reduction("reduce_mean", lambda x, axes, keep: x.mean(axes, keepdims=keep)),
    "reduce_mean-integers": (
        "iOS15",
        {"x": INTEGERS},
        lambda mb, x: mb.reduce_mean(x=x, axes=[1]),
        lambda x: np.trunc(x.mean(1)),
    ),
    "reduce_min": reduction("reduce_min", lambda x, axes, keep: x.min(axes, keepdims=keep)),
    "reduce_prod": reduction("reduce_prod", lambda x, axes, keep: x.prod(axes, keepdims=keep)),
    "reduce_sum": reduction("reduce_sum", lambda x, axes, keep: x.sum(axes, keepdims=keep)),
    "reduce_sum_square": reduction("reduce_sum_square", lambda x, axes, keep: (x**2).sum(axes, keepdims=keep)),
}


@pytest.mark.parametrize("name", CASES)
def test_matrix_operator_agrees_with_its_reference(name, run_case):
    run_case(name, CASES[name])
