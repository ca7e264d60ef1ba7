"""The work that decides how long an operator runs, counted in terms that a person can check by hand.

Every operator is described by a few amounts, each in its own unit; a device's latency model has one rate for each. The
amounts of a model are the sums over its operators, so a latency is a sum over operators too.

Matrix products run in tiles of some 8 output channels by 8 positions, and what is missing to a full tile is computed
for nothing, so their multiply-accumulates are counted in full tiles: 8 x 8 is the tile of ruy's kernels on ARM
(`ruy/kernel_arm.h`) and near XNNPACK's (4 x 8, 6 x 8, 4 x 16) and Winograd's. One position is a product of a matrix and
a vector, which has kernels of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, Literal, get_args

from edgekit.analysis.graph import Analysis, KernelClass, Operator, elements

Term = Literal[
    "dense_macs",
    "dense_3x3_macs",
    "shallow_macs",
    "grouped_macs",
    "pointwise_macs",
    "depthwise_macs",
    "linear_macs",
    "attention_macs",
    "recurrent_macs",
    "first_macs",
    "layer_elements",
    "weights",
    "linear_weights",
    "positions",
    "cheap_elements",
    "costly_elements",
    "pooled_elements",
    "moved_elements",
    "operators",
]
"""What is counted:

dense_macs       multiply-accumulates of convolutions over several channels that no other term names
dense_3x3_macs   those of 3 x 3 convolutions with stride 1: Winograd kernels save up to half of their products
shallow_macs     those of convolutions that read fewer than 8 channels: too few to fill a vector
grouped_macs     those of convolutions with several groups of several channels, which run group by group
pointwise_macs   those of 1 x 1 convolutions
depthwise_macs   those of depthwise convolutions, where each value loaded is used once per tap: memory decides
linear_macs      those of products with a weight matrix, and of 1 x 1 convolutions at one position
attention_macs   those of products of two activations
recurrent_macs   those of LSTM, GRU and RNN layers: small products, one after the other
first_macs       the first two million of each convolution or product, counted above as well: kernels give each thread a
                 least amount of work, so a small product runs on few threads
layer_elements   values that convolutions and linear layers read and write
weights          stored values of convolutions: kernels bring them into tiles of their own
linear_weights   stored values of linear and recurrent layers and of layers with one output position: each is used once
                 or a few times, so memory decides
positions        output positions of convolutions and rows of linear layers: each is packed, stored and clamped once,
                 whatever its channels
cheap_elements   values written by additions, products, clamps
costly_elements  values written by sigmoid, softmax, division, norms: many instructions each
pooled_elements  values read by pooling and reductions
moved_elements   values written by transposes, concatenations, slices, table look-ups
operators        kernels that are started: threads meet before and after each
"""

TERMS: Final[tuple[Term, ...]] = get_args(Term)

_VECTOR: Final = 8
"""Channels below which a vector register stays partly empty, in 16-bit arithmetic."""

_FIRST_MACS: Final = 2_000_000
"""Multiply-accumulates below which a product does not fill all threads."""

_TILE: Final = 8
"""Output channels, and positions, of one tile of a matrix product."""

_TILED: Final = ("dense_conv", "pointwise_conv", "linear")

_CHEAP: Final = frozenset({
    "add", "add_", "sub", "rsub", "mul", "mul_", "relu", "relu_", "relu6", "hardtanh", "hardtanh_", "clamp", "clamp_",
    "clamp_min", "clamp_max", "maximum", "minimum", "abs", "neg", "leaky_relu", "leaky_relu_", "where",
    "Add", "Sub", "Mul", "Relu", "Clip", "Max", "Min", "Abs", "Neg", "LeakyRelu", "PRelu", "Where", "prelu",
    "ADD", "SUB", "MUL", "RELU", "RELU6", "MAXIMUM", "MINIMUM", "ABS", "NEG", "LEAKY_RELU", "PRELU", "SELECT",
    "SELECT_V2", "RELU_N1_TO_1", "RELU_0_TO_1", "QUANTIZE", "DEQUANTIZE", "CAST", "Cast",
    "eq", "ne", "lt", "le", "gt", "ge", "masked_fill", "hardsigmoid", "hardsigmoid_", "hardswish", "hardswish_",
    "HardSwish", "HardSigmoid", "HARD_SWISH",
})  # fmt: skip
"""Element-wise operators of one to three instructions a value; every other one is costly."""

_MACS: Final[Mapping[KernelClass, Term]] = {
    "pointwise_conv": "pointwise_macs",
    "depthwise_conv": "depthwise_macs",
    "linear": "linear_macs",
    "attention_matmul": "attention_macs",
    "recurrent": "recurrent_macs",
}


def count_work(analysis: Analysis) -> dict[Term, float]:
    """Returns the amounts of a whole model, every term named."""
    total = dict.fromkeys(TERMS, 0.0)
    for operator in analysis.operators:
        for term, amount in count_operator(analysis, operator).items():
            total[term] += amount
    return total


def count_operator(analysis: Analysis, operator: Operator) -> dict[Term, float]:
    """Returns the amounts of one operator, those that are 0 left out."""
    read = sum(elements(analysis.tensors[name].shape) for name in operator.inputs)
    written = sum(elements(analysis.tensors[name].shape) for name in operator.outputs)
    stored = sum(analysis.weights[name].count for name in operator.weights)
    found: dict[Term, float] = {"operators": 1.0}
    if operator.kernel in _MACS or operator.kernel == "dense_conv":
        found["first_macs"] = min(operator.macs, _FIRST_MACS)
        found |= {"layer_elements": read + written, **_count_product(analysis, operator, written, stored)}
    elif operator.kernel == "elementwise":
        found["cheap_elements" if operator.type in _CHEAP else "costly_elements"] = written
    elif operator.kernel == "normalization":
        found["costly_elements"] = written
    elif operator.kernel == "pooling":
        found["pooled_elements"] = read
    else:
        found["moved_elements"] = written
    return {term: float(amount) for term, amount in found.items() if amount}


def _count_product(analysis: Analysis, operator: Operator, written: int, stored: int) -> dict[Term, float]:
    """Returns multiply-accumulates, weights and positions of a convolution, a linear layer or another product."""
    kernels = [analysis.weights[name] for name in operator.weights]
    channels = max((weight.channels for weight in kernels if weight.role in ("kernel", "recurrent")), default=0)
    positions = written // channels if channels else 0
    is_vector = positions == 1
    macs: float = operator.macs
    if operator.kernel in _TILED and channels:
        macs *= _in_tiles(channels) * (_in_tiles(positions) if positions >= _TILE // 2 else 1)
    term = "linear_macs" if is_vector and operator.kernel == "pointwise_conv" else _macs_term(operator, written)
    is_linear = is_vector or operator.kernel in ("linear", "recurrent")
    found: dict[Term, float] = {term: macs, "linear_weights" if is_linear else "weights": stored}
    if operator.kernel in _TILED:
        found["positions"] = positions
    return found


def _in_tiles(size: int) -> float:
    """Returns what a side of a matrix grows by where it is filled up to full tiles."""
    return math.ceil(size / _TILE) * _TILE / size


def _macs_term(operator: Operator, written: int) -> Term:
    """Returns under which term an operator's multiply-accumulates count."""
    if operator.kernel in _MACS:
        return _MACS[operator.kernel]
    size = operator.attributes
    taps = size.get("kernel_h", 1) * size.get("kernel_w", 1)
    # The same for every source, whichever order its weights have.
    channels_per_group = operator.macs / max(1, written * taps)
    if size.get("groups", 1) > 1:
        return "grouped_macs"
    if channels_per_group < _VECTOR:
        return "shallow_macs"
    is_3x3 = size.get("kernel_h") == size.get("kernel_w") == 3 and size.get("stride_h") == size.get("stride_w") == 1
    return "dense_3x3_macs" if is_3x3 else "dense_macs"
