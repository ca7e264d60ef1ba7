"""The costed graph of a Core ML model: what its own operators compute, and in which precision. Runs in a worker.

Types of an ML Program name every size that the file fixes; those of open sizes, and all of a neural network, come from
one run of the evaluator on zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.analysis.graph import Analysis, KernelClass, WeightRole
from edgekit.analysis.graph_builder import GraphBuilder
from edgekit.analysis.operator_costs import conv_attributes, conv_kernel, conv_macs, matmul_macs, recurrent_macs
from edgekit.validators.coreml_evaluator.arithmetic import PRODUCTS
from edgekit.validators.coreml_evaluator.graph import NamedType, Operation, Reference, StoredConstant
from edgekit.validators.coreml_evaluator.number_formats import BY_NAME
from edgekit.validators.coreml_evaluator.program import Program, load

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ALIASES: Final = frozenset({
    "reshape", "squeeze", "expand_dims", "identity", "flatten2d",
    # The operators between them compute in integers: these say how and cost nothing of their own.
    "quantize", "dequantize",
})  # fmt: skip
_NORMS: Final = frozenset({
    "batch_norm", "layer_norm", "instance_norm", "l2_norm", "local_response_norm", "softmax", "cumsum",
})  # fmt: skip
_POOLS: Final = frozenset({"avg_pool", "max_pool", "l2_pool", "topk", "argsort"})
_MOVES: Final = frozenset({
    "transpose", "concat", "split", "stack", "pad", "tile", "reverse", "reverse_sequence", "depth_to_space",
    "space_to_depth", "space_to_batch", "batch_to_space", "pixel_shuffle", "pixel_unshuffle", "one_hot", "fill",
    "fill_like", "range_1d", "shape", "cast", "band_part", "crop", "crop_resize", "affine", "resample", "non_zero",
    "read_state", "coreml_update_state", "sliding_windows",
})  # fmt: skip
_MOVING_FAMILIES: Final = ("gather", "scatter", "slice", "resize", "upsample")
_TORCH_NAMES: Final[Mapping[str, str]] = {"clip": "clamp", "select": "where"}
"""Cheap operators that latency models know under torch's names."""

_DATA: Final = ("x", "input", "values", "data")
"""Parameters of the data that an operator is about."""

_WEIGHT_TYPES: Final = frozenset({"fp16", "fp32", "int8", "uint8", "int4", "uint4"})

_PARAMETER_ROLES: Final[Mapping[str, WeightRole]] = {
    "bias": "bias", "gamma": "norm", "beta": "norm", "mean": "norm", "variance": "norm",
}  # fmt: skip

_Roles = dict[str, tuple[WeightRole, "int | None"]]
_Cost = tuple[KernelClass, int, _Roles, Mapping[str, int]]


def read_costs(path: Path, sizes: Mapping[str, Sequence[int]], function: str = "") -> tuple[Analysis, dict[str, str]]:
    """Returns the analysis of a Core ML model, and operator name to the precision that it computes in.

    Args:
        path: The `.mlpackage` folder or `.mlmodel` file.
        sizes: Input name to its shape, where the file leaves sizes open.
        function: Which of its functions, where it has several; "" for its default one.

    Raises:
        ArtifactError: the model is broken, or the evaluator lacks an operator of it.
        DataError: a size does not fit.
        MissingDependencyError: coremltools or torch is not installed.
    """
    program = load(path, precision="fp32", function=function or None)
    reader = _Reader(program, _shapes(program, sizes))
    unknown = [item.name for item in program.inputs if item.name not in sizes and None in item.shape]
    return reader.read(unknown), reader.precisions


def _shapes(program: Program, sizes: Mapping[str, Sequence[int]]) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every input and result."""
    import numpy as np

    found = {
        item.name: tuple(sizes.get(item.name) or [size or 1 for size in item.shape])
        for item in (*program.inputs, *program.states)
    }
    declared = {item.name: item.type.fixed_shape for step in _walk(program.operations) for item in step.outputs}
    if all(shape is not None for shape in declared.values()):
        return found | {name: shape for name, shape in declared.items() if shape is not None}
    inputs = {
        item.name: np.zeros(found[item.name], BY_NAME[item.dtype].numpy_name if item.dtype in BY_NAME else "float32")
        for item in program.inputs
    }
    program.run(inputs, trace=lambda name, value: found.__setitem__(name, tuple(np.shape(value))))
    return found


def _walk(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yields the operators, those of nested blocks before the operator that holds them."""
    for item in operations:
        for inner in item.blocks:
            yield from _walk(inner.operations)
        yield item


@final
class _Reader:
    """Walks a program. Bodies of loops and branches count once."""

    def __init__(self, program: Program, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self._program = program
        self._shapes = shapes
        self._stored = {item.name: item for item in program.stored_constants}
        self._described = {str(item["name"]): item for item in program.described_operators}
        self._builder = GraphBuilder()
        self._on_grid: set[str] = set()
        self.precisions: dict[str, str] = {}

    def read(self, unknown: Sequence[str]) -> Analysis:
        """Returns the analysis; `unknown` names inputs whose sizes nobody gave."""
        program, builder = self._program, self._builder
        for item in program.stored_constants:
            builder.store(item.name, item.shape, _stored_type(item), partial(self._values, item.name))
        for feature in (*program.inputs, *program.states):
            builder.tensor(feature.name, self._shapes[feature.name], _numpy_type(feature.dtype))
        for operation in _walk(program.operations):
            self._add(operation)
        if any(item.blocks for item in program.operations):
            builder.note("Bodies of loops and branches count once.")
        for name in unknown:
            builder.note(f"{name}: its sizes are not known from the file; open ones count as 1.")
        return builder.finish([item.name for item in program.inputs], [item.name for item in program.outputs])

    def _values(self, name: str) -> NDArray[Any]:
        import numpy as np

        return np.asarray(self._program.constants[name])

    def _add(self, item: Operation) -> None:
        if item.blocks:
            for output, inner in zip(item.outputs, item.blocks[-1].outputs, strict=False):
                self._give_result(output, inner)
            return
        reads = self._reads(item)
        outputs = [output.name for output in item.outputs]
        if item.type == "dequantize":
            self._on_grid.update(outputs)
        if item.type in _ALIASES and reads:
            if set(reads[:1]) & self._on_grid and item.type != "quantize":
                self._on_grid.update(outputs)
            self._builder.alias(outputs[0], reads[0])
            return
        for output in item.outputs:
            self._declare(output)
        kernel, macs, roles, attributes = self._cost(item)
        self.precisions[item.name] = self._precision(item, reads)
        self._builder.add(
            name=item.name,
            type=_TORCH_NAMES.get(item.type, item.type),
            kernel=kernel,
            reads=reads,
            outputs=outputs,
            macs=macs,
            roles=roles,
            attributes=attributes,
        )

    def _reads(self, item: Operation) -> list[str]:
        """Returns the activations and weights that an operator reads, its data first; sizes and axes are no weights."""
        keys = sorted(item.inputs, key=lambda key: _DATA.index(key) if key in _DATA else len(_DATA))
        names = [name for key in keys for name in _names(item.inputs[key]) if self._builder.knows(name)]
        return [name for name in names if name not in self._stored or self._stored[name].dtype in _WEIGHT_TYPES]

    def _give_result(self, output: NamedType, inner: str) -> None:
        if self._builder.knows(inner):
            self._builder.alias(output.name, inner)
        else:
            self._declare(output)

    def _declare(self, output: NamedType) -> None:
        self._builder.tensor(output.name, self._shapes.get(output.name, ()), _numpy_type(output.type.dtype))

    def _precision(self, item: Operation, reads: Sequence[str]) -> str:
        """Returns the precision of an operator, from how its data and its weights lie in the file."""
        described = self._described.get(item.name, {})
        if item.type in PRODUCTS:
            if described.get("arithmetic") == "integer":
                return "int8_static"
            bits = int(described.get("weight_bits", 0))
            if 0 < bits <= 8:
                return "int8_weights" if bits > 4 else "int4_weights"
        elif set(reads[:1]) & self._on_grid:
            return "int8_static"
        # Core ML's own outputs are wider than what computes them: the cast at the end is no 32-bit arithmetic.
        reads_half = item.type == "cast" and "float16" in {self._builder.dtype(name) for name in reads}
        return "fp16" if reads_half or described.get("dtype") == "float16" else "fp32"

    def _cost(self, item: Operation) -> _Cost:
        """Returns (kernel class, MACs, roles of the weights, attributes) of an operator."""
        made = self._shapes.get(item.outputs[0].name, ()) if item.outputs else ()
        roles: _Roles = {
            name: (_PARAMETER_ROLES[key], None)
            for key, given in item.inputs.items()
            if key in _PARAMETER_ROLES
            for name in _names(given)
        }
        if item.type in ("conv", "conv_transpose"):
            return self._convolution(item, made, roles)
        if item.type in ("linear", "matmul"):
            return self._product(item, made, roles)
        if item.type in ("lstm", "gru", "rnn"):
            matrices = [name for key in PRODUCTS[item.type][1] for name in _names(item.inputs.get(key, ()))]
            seen = self._shape(_first(item, "x"))
            macs = recurrent_macs([self._shape(name) for name in matrices], seen[0], seen[1])
            roles |= {name: ("recurrent", self._shape(name)[0]) for name in matrices}
            return ("recurrent", macs, roles, {"steps": seen[0]})
        table = _first(item, "x")
        if item.type.startswith("gather") and self._builder.is_stored(table) and len(self._shape(table)) == 2:
            return ("embedding", 0, {table: ("table", self._shape(table)[0])}, {})
        return (_plain_kernel(item.type), 0, roles, {})

    def _convolution(self, item: Operation, made: Sequence[int], roles: _Roles) -> _Cost:
        """Filters are (out, in / groups, sizes), those of a transposed one (in, out / groups, sizes)."""
        transposed = item.type == "conv_transpose"
        seen, weight = self._shape(_first(item, "x")), _first(item, "weight")
        shape = self._shape(weight)
        size, groups = shape[2:], int(next(iter(self._numbers(item, "groups")), 1))
        channels = shape[0] if transposed else shape[1] * groups
        roles[weight] = ("kernel", shape[1] * groups if transposed else shape[0])
        return (
            conv_kernel(size, groups, channels),
            conv_macs(seen if transposed else made, size, shape[1]),
            roles,
            conv_attributes(size, self._numbers(item, "strides"), groups),
        )

    def _product(self, item: Operation, made: Sequence[int], roles: _Roles) -> _Cost:
        left = self._shape(_first(item, "x"))
        flipped = bool(next(iter(self._numbers(item, "transpose_x")), 0))
        macs = matmul_macs(made, left[-2 if flipped else -1] if len(left) > flipped else 1)
        operands = [_first(item, key) for key in ("weight", "y", "x")]
        stored = next((name for name in operands if name and self._builder.is_stored(name)), None)
        if stored is None:
            return ("attention_matmul", macs, {}, {})
        roles[stored] = ("kernel", made[-1] if made else 1)
        return ("linear", macs, roles, {})

    def _shape(self, name: str) -> tuple[int, ...]:
        """Returns a value's own shape: that of what it is an alias of may be another one."""
        if name in self._shapes:
            return self._shapes[name]
        return self._builder.shape(name) if self._builder.knows(name) else (1, 1)

    def _numbers(self, item: Operation, key: str) -> list[int]:
        """Returns a parameter that is known from the file, as integers; empty where it is not given."""
        import numpy as np

        given = item.inputs.get(key, ())
        value: Any = given[0] if given else ()
        if isinstance(value, Reference):
            value = self._program.constants.get(value.name, ())
        return [int(number) for number in np.atleast_1d(np.asarray(value)).ravel()]


def _plain_kernel(kind: str) -> KernelClass:
    if kind in _NORMS:
        return "normalization"
    if kind in _POOLS or kind.startswith("reduce_"):
        return "pooling"
    return "data_movement" if kind in _MOVES or kind.startswith(_MOVING_FAMILIES) else "elementwise"


def _names(given: Sequence[Any]) -> list[str]:
    return [item.name for item in given if isinstance(item, Reference)]


def _first(item: Operation, key: str) -> str:
    return next(iter(_names(item.inputs.get(key, ()))), "")


def _numpy_type(name: str) -> str:
    return BY_NAME[name].numpy_name if name in BY_NAME else "float32"


def _stored_type(item: StoredConstant) -> str:
    """Returns the type of what is stored: 4 bits have a name of their own, 1 to 3 and 6 count as their neighbours."""
    found = BY_NAME.get(item.stored_dtype)
    if found is None:
        return "float32"
    return (
        f"{'u' if found.name.startswith('u') else ''}int4"
        if found.is_sub_byte and found.bits <= 4
        else found.numpy_name
    )
