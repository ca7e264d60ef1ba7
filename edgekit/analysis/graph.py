"""A costed graph: the operators that a runtime will run, what each costs, and which bytes each needs.

Everything here is plain data that goes to JSON and back, so that an analysis is made once per model and cached.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, final, get_args

from edgekit.model import Family

KernelClass = Literal[
    "dense_conv",
    "pointwise_conv",
    "depthwise_conv",
    "linear",
    "attention_matmul",
    "recurrent",
    "embedding",
    "elementwise",
    "normalization",
    "pooling",
    "data_movement",
]
"""How an operator spends its time:

dense_conv        convolution with a kernel larger than 1, groups of several channels included
pointwise_conv    1 x 1 convolution: a matrix product over the channels
depthwise_conv    one filter per channel
linear            a matrix product with a weight
attention_matmul  a matrix product of two activations
recurrent         LSTM, GRU or plain RNN
embedding         rows looked up in a table
elementwise       one arithmetic step per element
normalization     layer, group, batch norm that was not folded, softmax: several passes over the data
pooling           pooling and reductions
data_movement     transpose, concatenation, slice, pad: bytes are copied, nothing is computed
"""

KERNEL_CLASSES: Final[tuple[KernelClass, ...]] = get_args(KernelClass)

WeightRole = Literal["kernel", "recurrent", "table", "bias", "norm", "constant"]
"""What a weight is for, which decides how each precision stores it:

kernel     matrix of a convolution or linear layer: quantized with a scale per output channel
recurrent  matrix of a recurrent layer
table      embedding table
bias       added per output channel
norm       scale, shift or statistics of a normalization that was not folded
constant   anything else that is stored: masks, positions, constants of the graph
"""

StorageForm = Literal["float32", "float16", "int8", "int4"]
"""How a weight may lie in a file: float, 8 bits with a scale per channel, 4 bits with a scale per 32 columns."""

DTYPE_BYTES: Final[Mapping[str, float]] = {
    "float64": 8, "int64": 8, "uint64": 8, "complex64": 8,
    "float32": 4, "int32": 4, "uint32": 4,
    "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "float8": 1,
    "int4": 0.5, "uint4": 0.5, "int2": 0.25,
}  # fmt: skip
"""Bytes of one element, by NumPy's name of the type."""


def elements(shape: tuple[int, ...]) -> int:
    """Returns the number of elements of a tensor of this shape (1 for a scalar)."""
    return math.prod(shape)


NARROW: Final = 8
"""How many times more rows than columns a narrow matrix has."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An activation: an input, an output or something between.

    Attributes:
        name: Unique in the graph.
        shape: Sizes as the source has them (torch and ONNX: channels first; TFLite: channels last).
        dtype: NumPy's name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size_bytes(self) -> int:
        """Bytes in memory."""
        return math.ceil(elements(self.shape) * DTYPE_BYTES.get(self.dtype, 4))


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A stored tensor; tied weights are one `Weight`.

    Attributes:
        name: As the model's state names it.
        shape: Sizes as the source has them.
        dtype: NumPy's name.
        role: What it is for.
        channels: Output channels of a kernel, rows of a table, else the number of elements: how many scales it gets.
        deflated: Deflated bytes per stored byte in each form, and of its 4-bit scales, measured on its own values.
        shared_by: How many operators use it.
        read_share: Share of its elements that is read: below 1 where the model slices it. All formats but ExecuTorch
            store only these.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: WeightRole
    channels: int
    deflated: Mapping[str, float] = field(default_factory=dict[str, float])
    shared_by: int = 1
    read_share: float = 1.0

    @property
    def count(self) -> int:
        """Number of elements."""
        return elements(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes in its own type."""
        return math.ceil(self.count * DTYPE_BYTES.get(self.dtype, 4))

    @property
    def is_float(self) -> bool:
        """True for float types: only those get smaller by quantization."""
        return self.dtype in {"float64", "float32", "float16", "bfloat16"}

    @property
    def is_narrow_recurrent(self) -> bool:
        """True for a recurrent layer's input weights of few columns.

        Features of very different size share a row there: most formats keep these as half floats, and they are small.
        """
        return self.role == "recurrent" and len(self.shape) > 1 and NARROW * self.shape[-1] < self.shape[-2]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator as a runtime will run it.

    Attributes:
        name: Unique in the graph.
        type: In the source's words: `conv2d`, `Conv`, `CONV_2D`.
        kernel: How it spends its time.
        module: Dotted name of the module it came from, or its own name where the source has no modules.
        inputs: Names of the activations it reads.
        outputs: Names of the activations it writes.
        weights: Names of the weights it reads.
        macs: Multiply-accumulates of one inference.
        fused: Types of the operators that run inside this one: pad, batch_norm, relu6.
        in_place: True where it may write over its first input, if nobody else needs that any more.
        attributes: Integers that decide its speed: kernel_h, kernel_w, stride_h, stride_w, groups, steps.
    """

    name: str
    type: str
    kernel: KernelClass
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...] = ()
    macs: int = 0
    fused: tuple[str, ...] = ()
    in_place: bool = False
    attributes: Mapping[str, int] = field(default_factory=dict[str, int])


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What the activations need while the graph runs, operators in order, one at a time.

    Attributes:
        live_peak_bytes: Largest sum of the tensors alive at one time, with in-place reuse: no runtime needs less.
        arena_bytes: Size of one block that holds them at fixed offsets (greedy by size): what a runtime allocates.
        peak_operator: Name of the operator at which the peak lies.
        peak_tensors: Names of the tensors alive there, largest first.
    """

    live_peak_bytes: int
    arena_bytes: int
    peak_operator: str
    peak_tensors: tuple[str, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A model's costed graph.

    Attributes:
        operators: In execution order.
        tensors: All activations, by name.
        weights: All stored tensors, by name, tied ones once.
        inputs: Names of the model's inputs.
        outputs: Names of the model's outputs.
        memory: Activation memory at the source's own precision.
        family: Architecture family.
        family_evidence: Why.
        notes: What could not be costed, in sentences.
        bodies: Graphs of branches and loops that lie in the file, at any depth: runtimes set up each.
    """

    operators: tuple[Operator, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Weight]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    memory: Memory
    family: Family
    family_evidence: str
    notes: tuple[str, ...] = ()
    bodies: int = 0

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(operator.macs for operator in self.operators)

    @property
    def parameters(self) -> int:
        """Number of float weights, tied ones counted once; constants of the graph do not count."""
        return sum(weight.count for weight in self.weights.values() if weight.role != "constant")

    @property
    def has_dense_outputs(self) -> bool:
        """True where an output says something of each of many places: boxes, masks, keypoints, pictures."""
        shapes = [self.tensors[name].shape[1:] for name in self.outputs if name in self.tensors]
        return any(sum(size > 1 for size in shape) > 1 for shape in shapes)

    def weight_bytes(self, operator: Operator) -> int:
        """Returns the bytes of an operator's weights in their own type."""
        return sum(self.weights[name].size_bytes for name in operator.weights)

    def activation_bytes(self, operator: Operator) -> tuple[int, int]:
        """Returns the bytes that an operator reads and writes, weights apart."""
        read = sum(self.tensors[name].size_bytes for name in operator.inputs)
        return read, sum(self.tensors[name].size_bytes for name in operator.outputs)


def recurrent_cells(analysis: Analysis, operator: Operator) -> float:
    """Returns time steps times layers of a recurrent operator, 0 for others; a layer has two matrices."""
    if operator.kernel != "recurrent":
        return 0.0
    matrices = sum(analysis.weights[name].role == "recurrent" for name in operator.weights)
    return float(operator.attributes.get("steps", 0)) * matrices / 2
