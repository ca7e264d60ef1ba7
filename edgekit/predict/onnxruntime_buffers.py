"""Which buffers onnxruntime takes and gives back in a run: those of its own graph, which is not quite the model's.

Measured on chains of one operator in onnxruntime 1.32.0 (`tests/predict/test_grown_arena.py` does it again): of the
kernels that could write over their input only those of `_IN_PLACE` do, sums and products never. Convolutions in float
compute on channels in blocks (NCHWc, `nchwc_transformer.cc`): what else reads them gets a copy in the usual order, and
so does a convolution that reads something else. An operator in float that reads integers gets a float copy of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, final

from edgekit.analysis.graph import Analysis, Operator
from edgekit.predict.grown_arena import Change
from edgekit.recipe import Precision

_IN_PLACE: Final = frozenset({
    "relu", "relu_", "clip", "clamp", "clamp_", "clamp_min", "hardtanh", "hardtanh_", "relu6", "tanh", "sigmoid",
    "hardsigmoid", "leakyrelu", "leaky_relu", "leaky_relu_", "elu", "elu_", "softplus", "softmax", "_softmax",
    "softsign", "selu", "celu", "thresholdedrelu",
})  # fmt: skip
_CONVOLUTIONS: Final = frozenset({"dense_conv", "pointwise_conv", "depthwise_conv"})
_KEEPS_BLOCKS: Final = frozenset({
    "maxpool", "max_pool2d", "averagepool", "avg_pool2d", "globalaveragepool", "globalmaxpool", "adaptive_avg_pool2d",
    "add", "add_", "sum", "mul", "mul_", "concat", "cat", "relu", "relu_", "sigmoid", "tanh",
})  # fmt: skip
"""Operators that compute on blocks of channels, where all that they read has them."""

_JOINS_CONVOLUTIONS: Final = frozenset(
    {"leakyrelu", "leaky_relu", "leaky_relu_", "clip", "clamp", "hardtanh", "hardsigmoid"}
)
"""Activations that a convolution takes in, beside those that keep blocks, where nothing else reads it."""

_BLOCK: Final = 16
"""Channels of a block with AVX-512; processors with 256 bits have 8."""

_GATES: Final[Mapping[str, int]] = {"lstm": 4, "gru": 3, "rnn": 1, "rnn_tanh": 1, "rnn_relu": 1}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One kernel: what it reads, what it writes with bytes, what it takes for itself, and if it writes in place."""

    reads: tuple[str, ...]
    writes: tuple[tuple[str, int], ...]
    own_bytes: int = 0
    in_place: bool = False


def changes_of_a_run(
    analysis: Analysis, precisions: Mapping[str, Precision], size_of: Callable[[str], int]
) -> tuple[Change, ...]:
    """Returns what a run takes and gives back, in order. Inputs are the caller's; outputs stay.

    Args:
        analysis: The costed graph.
        precisions: Of each operator, by name.
        size_of: Bytes of an activation.
    """
    graph = _Graph(analysis, precisions, size_of)
    for operator in analysis.operators:
        graph.add(operator)
    return _lifetimes(graph.steps, analysis.outputs)


@final
class _Graph:
    """Lays out an analysis as onnxruntime's kernels, with the copies between them."""

    def __init__(self, analysis: Analysis, precisions: Mapping[str, Precision], size_of: Callable[[str], int]) -> None:
        self._analysis, self._precisions, self._size_of = analysis, precisions, size_of
        self._in_blocks: dict[str, str] = {}
        self._in_order: dict[str, str] = {}
        self._integers: set[str] = set()
        self._readers = Counter(name for operator in analysis.operators for name in operator.inputs)
        self._readers.update(analysis.outputs)
        self._reader = {name: operator for operator in analysis.operators for name in operator.inputs}
        self._convolved: set[str] = set()
        self._sigmoids: dict[str, str] = {}
        self.steps: list[_Step] = []

    def add(self, operator: Operator) -> None:
        kind, precision = operator.type.lower().rsplit(".", 1)[-1], self._precisions[operator.name]
        is_blocked = self._is_convolution_in_blocks(operator, precision)
        if kind == "sigmoid" and self._is_of_a_product(operator):
            self._sigmoids[operator.outputs[0]] = operator.inputs[0]
            return
        if kind == "mul" and any(name in self._sigmoids for name in operator.inputs):
            operator = replace(operator, inputs=tuple(n for n in operator.inputs if n not in self._sigmoids))
        joins = kind in _JOINS_CONVOLUTIONS and len(operator.inputs) == 1 and operator.inputs[0] in self._convolved
        keeps = joins or (kind in _KEEPS_BLOCKS and bool(operator.inputs) and self._can_keep(operator))
        in_blocks = is_blocked or keeps
        reads = tuple(self._read(name, operator, precision, wants_blocks=in_blocks) for name in operator.inputs)
        own = self._own_bytes(operator, kind, precision)
        if kind == "hardswish":  # becomes a hard sigmoid and a product
            gate = (f"{operator.outputs[0]} / gate", self._size_of(operator.outputs[0]))
            self.steps.append(_Step(reads=reads, writes=(gate,)))
            self._write(operator, (*reads, gate[0]), is_blocked=False)
            return
        self._write(operator, reads, is_blocked=in_blocks, own=own, in_place=kind in _IN_PLACE)
        if precision == "int8_static":
            self._integers.update(operator.outputs)
        if is_blocked:
            self._convolved.update(name for name in operator.outputs if self._readers[name] == 1)

    def _is_of_a_product(self, operator: Operator) -> bool:
        """Returns True if a sigmoid is only there to be multiplied with what it is of: one kernel does both."""
        if len(operator.inputs) != 1 or self._readers[operator.outputs[0]] != 1:
            return False
        product = self._reader.get(operator.outputs[0])
        return product is not None and product.type.lower() == "mul" and operator.inputs[0] in product.inputs

    def _write(
        self, operator: Operator, reads: tuple[str, ...], *, is_blocked: bool, own: int = 0, in_place: bool = False
    ) -> None:
        (self._in_blocks if is_blocked else self._in_order).update((name, name) for name in operator.outputs)
        writes = tuple((name, self._size_of(name)) for name in operator.outputs)
        self.steps.append(_Step(reads=reads, writes=writes, own_bytes=own, in_place=in_place))

    def _is_convolution_in_blocks(self, operator: Operator, precision: Precision) -> bool:
        shapes = [self._analysis.tensors[name].shape for name in operator.outputs]
        return (
            operator.kernel in _CONVOLUTIONS
            and precision in ("fp32", "fp16")
            and "transpose" not in operator.type.lower()
            and all(len(shape) == 4 and shape[1] >= _BLOCK for shape in shapes)
        )

    def _can_keep(self, operator: Operator) -> bool:
        shapes = {self._analysis.tensors[name].shape for name in operator.inputs}
        is_joined = operator.type.lower() in ("concat", "cat")
        return all(name in self._in_blocks for name in operator.inputs) and (
            (is_joined and all(shape[1] % _BLOCK == 0 for shape in shapes))
            or (not is_joined and len(shapes) == 1 and not operator.weights)
        )

    def _read(self, name: str, operator: Operator, precision: Precision, *, wants_blocks: bool) -> str:
        """Returns the buffer that an operator reads for an activation; copies are made here."""
        shape = self._analysis.tensors[name].shape
        if precision != "int8_static" and name in self._integers:
            copy = f"{name} / for {operator.name}"
            self.steps.append(_Step(reads=(name,), writes=((copy, 4 * self._size_of(name)),)))
            return copy
        home, other = (self._in_blocks, self._in_order) if wants_blocks else (self._in_order, self._in_blocks)
        if wants_blocks and (len(shape) != 4 or shape[1] < _BLOCK):
            return name  # few channels are read as they are
        if name not in home and name in other:
            home[name] = f"{name} / {'in blocks' if wants_blocks else 'in order'}"
            self.steps.append(_Step(reads=(other[name],), writes=((home[name], self._size_of(name)),)))
        return home.get(name, name)

    def _own_bytes(self, operator: Operator, kind: str, precision: Precision) -> int:
        if operator.kernel == "recurrent" and operator.outputs:
            # All steps' gates before the state is added.
            return _GATES.get(kind.removeprefix("dynamicquantize"), 1) * self._size_of(operator.outputs[0])
        if precision in ("int8_dynamic", "int8_hybrid") and operator.weights:
            return sum(self._size_of(name) // 4 for name in operator.inputs)
        return 0


def _lifetimes(steps: Sequence[_Step], outputs: Sequence[str]) -> tuple[Change, ...]:
    last = {name: i for i, step in enumerate(steps) for name in (*step.reads, *(w for w, _ in step.writes))}
    last |= dict.fromkeys(outputs, len(steps))
    home: dict[str, str] = {}
    sizes: dict[str, int] = {}
    alive: dict[str, set[str]] = {}
    found: list[Change] = []
    for i, step in enumerate(steps):
        for place, (name, size) in enumerate(step.writes):
            over = next(
                (home[r] for r in step.reads if r in home and last[r] == i and sizes[home[r]] == size),
                None,
            )
            if step.in_place and place == 0 and over is not None and len(alive[over]) == 1:
                home[name] = over
                alive[over].add(name)
                continue
            home[name], sizes[name], alive[name] = name, size, {name}
            found.append(Change(name=name, size_bytes=max(size, 1)))
        if step.own_bytes:
            own = Change(name=f"own {i}", size_bytes=step.own_bytes, planned=False)
            found += [own, replace(own, size_bytes=0)]
        for name in dict.fromkeys((*step.reads, *(w for w, _ in step.writes))):
            if name in home and last[name] <= i:
                place_of = home.pop(name)
                alive[place_of].discard(name)
                if not alive[place_of]:
                    found.append(Change(name=place_of))
    return tuple(found)
