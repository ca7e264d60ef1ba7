"""Runs a function's operators in order. Imported only once a package is loaded: it imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import ArtifactError, EdgekitError
from edgekit.validators.coreml_evaluator.graph import Block, Constant, Function, Operation, Reference
from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel, Machine, StateCell, Value
from edgekit.validators.coreml_evaluator.operators.table import OPERATORS, PICKING, UNDECLARED_SHAPES
from edgekit.validators.coreml_evaluator.operators.tensor_types import TORCH_TYPES, round_to_fp16

Trace: TypeAlias = Callable[[str, NDArray[Any]], object]

FAILURES = (RuntimeError, ValueError, IndexError, TypeError, KeyError, ZeroDivisionError)
"""What torch raises where an operator's inputs do not fit."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """One result of an operator as the program declares it.

    Attributes:
        name: The value's name.
        dtype: Torch type, None for what is not a tensor of numbers.
        shape: Declared shape where it is fixed.
        rounded: Whether the value is rounded to fp16.
    """

    name: str
    dtype: torch.dtype | None
    shape: tuple[int, ...] | None
    rounded: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """One operator made ready to run.

    Attributes:
        operation: The operator.
        kernel: What computes it.
        arguments: By parameter: values where the file holds them, references where they are computed.
        results: What must come out.
        releases: Values that nothing needs afterwards.
    """

    operation: Operation
    kernel: Kernel
    arguments: Mapping[str, tuple[Reference | Value, ...]]
    results: tuple[_Result, ...]
    releases: tuple[str, ...] = ()


def to_value(constant: Constant) -> Value:
    """Returns a constant as the kernels take it."""
    if not isinstance(constant, np.ndarray):
        return constant
    array: NDArray[Any] = constant
    held = {"float16": np.float32, "float64": np.float32, "uint16": np.int32, "uint32": np.int64, "uint64": np.int64}
    return torch.from_numpy(np.array(array, held.get(array.dtype.name, array.dtype)))  # np.array copies: writable


@final
class Interpreter:
    """Runs one function.

    Args:
        function: The function; every operator must be in the table.
        round_fp16: Round every fp16-typed result to fp16.
    """

    def __init__(self, function: Function, *, round_fp16: bool) -> None:
        self._function = function
        self._round_fp16 = round_fp16
        self._constants: dict[str, Value] = {name: to_value(value) for name, value in function.constants.items()}
        self._plans: dict[int, tuple[_Step, ...]] = {}
        self._prepare(function.block)
        main = id(function.block)
        self._plans[main] = _with_releases(self._plans[main], keep=frozenset(function.block.outputs))

    def run(
        self, inputs: Mapping[str, Tensor], states: Mapping[str, StateCell], trace: Trace | None = None
    ) -> dict[str, Value]:
        """Returns the function's results by name.

        Args:
            inputs: Input tensors by name, in the torch types of their declared types.
            states: States by name; operators change what they hold.
            trace: Called with every result's name and value as it is computed.

        Raises:
            ArtifactError: An operator cannot be computed on these inputs, or gives another shape than declared.
        """
        values: dict[str, Value] = {**inputs, **states}

        def run_block(block: Block, arguments: Sequence[Value]) -> list[Value]:
            values.update(zip(block.inputs, arguments, strict=True))
            for step in self._plans[id(block)]:
                self._run_step(step, values, machine, trace)
            return [self._look_up(values, name) for name in block.outputs]

        generator = torch.Generator().manual_seed(0)
        machine = Machine(opset=self._function.opset, run_block=run_block, generator=generator)
        with torch.inference_mode():
            results = run_block(self._function.block, ())
        return dict(zip(self._function.block.outputs, results, strict=True))

    def _prepare(self, block: Block) -> None:
        self._plans[id(block)] = tuple(self._step(operation) for operation in block.operations)
        for operation in block.operations:
            for nested in operation.blocks:
                self._prepare(nested)

    def _step(self, operation: Operation) -> _Step:
        checked = operation.type not in UNDECLARED_SHAPES
        rounds = self._round_fp16 and operation.type not in PICKING
        results = tuple(
            _Result(
                name=output.name,
                dtype=TORCH_TYPES.get(output.type.dtype) if output.type.kind == "tensor" else None,
                shape=output.type.fixed_shape if checked and output.type.kind == "tensor" else None,
                rounded=rounds and output.type.dtype == "fp16" and output.type.kind == "tensor",
            )
            for output in operation.outputs
        )
        arguments = {
            parameter: tuple(self._bound(item) for item in items) for parameter, items in operation.inputs.items()
        }
        return _Step(operation=operation, kernel=OPERATORS[operation.type], arguments=arguments, results=results)

    def _bound(self, item: Reference | Constant) -> Reference | Value:
        """Returns the value where the file holds it, else the reference to look up when running."""
        if isinstance(item, Reference):
            return self._constants.get(item.name, item)
        return to_value(item)

    def _run_step(self, step: _Step, values: dict[str, Value], machine: Machine, trace: Trace | None) -> None:
        arguments = {
            parameter: tuple(
                self._look_up(values, item.name) if isinstance(item, Reference) else item for item in items
            )
            for parameter, items in step.arguments.items()
        }
        operation = step.operation
        try:
            computed = step.kernel(Call(operation=operation, arguments=arguments, machine=machine))
        except EdgekitError:
            raise
        except FAILURES as error:
            raise ArtifactError(
                f'Operator {operation.type} "{operation.name}" cannot be computed on these inputs: {error}. '
                "The package is inconsistent, or an input has a shape that the model was not made for."
            ) from error
        # A tuple is one value, class labels; several results come as a list.
        results = computed if isinstance(computed, list) else [cast("Value", computed)]
        for declared, value in zip(step.results, results, strict=True):
            finished = self._finished(operation, declared, value)
            values[declared.name] = finished
            if trace is not None and isinstance(finished, Tensor):
                trace(declared.name, finished.numpy())
        for name in step.releases:
            values.pop(name, None)

    def _finished(self, operation: Operation, declared: _Result, value: Value) -> Value:
        """Returns a result in its declared type, rounded where fp16 is, after checking its shape."""
        if not isinstance(value, Tensor):
            return value
        if declared.shape is not None and tuple(value.shape) != declared.shape:
            raise ArtifactError(
                f'Operator {operation.type} "{operation.name}" gives "{declared.name}" the shape {list(value.shape)}, '
                f"but the package declares {list(declared.shape)}. The package is inconsistent: export it again."
            )
        if declared.dtype is not None and value.dtype != declared.dtype:
            value = value.to(declared.dtype)
        return round_to_fp16(value) if declared.rounded else value

    def _look_up(self, values: Mapping[str, Value], name: str) -> Value:
        if name in values:
            return values[name]
        if name in self._constants:
            return self._constants[name]
        raise ArtifactError(
            f'The program uses "{name}" before anything computes it. The package is corrupt: export it again.'
        )


def _with_releases(steps: Sequence[_Step], *, keep: frozenset[str]) -> tuple[_Step, ...]:
    """Returns the steps, each with the values whose last use it is."""
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name in _references(step.operation):
            last[name] = index
    releases: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in keep:
            releases.setdefault(index, []).append(name)
    return tuple(replace(step, releases=tuple(releases.get(index, ()))) for index, step in enumerate(steps))


def _references(operation: Operation) -> set[str]:
    """Returns the names that an operator uses, in its nested blocks too."""
    names = {item.name for items in operation.inputs.values() for item in items if isinstance(item, Reference)}
    for block in operation.blocks:
        names.update(block.outputs)
        for nested in block.operations:
            names |= _references(nested)
    return names
