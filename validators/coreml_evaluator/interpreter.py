"""Runs a function's operators in order. Imported only once a package is loaded: it imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgekit.errors import ArtifactError, EdgekitError
from edgekit.validators.coreml_evaluator.graph import Block, Constant, Function, Operation, Reference
from edgekit.validators.coreml_evaluator.operators.call import Call, Machine, StateCell, Value
from edgekit.validators.coreml_evaluator.operators.table import FRESH, OPERATORS, PICKING, UNDECLARED_SHAPES
from edgekit.validators.coreml_evaluator.operators.tensor_types import TORCH_TYPES, round_to_fp16
from edgekit.validators.coreml_evaluator.steps import (
    Result,
    Step,
    fold_constants,
    in_fast_layout,
    use_less_memory,
    with_releases,
)

Trace: TypeAlias = Callable[[str, NDArray[Any]], object]

FAILURES = (RuntimeError, ValueError, IndexError, TypeError, KeyError, ZeroDivisionError)
"""What torch raises where an operator's inputs do not fit."""


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
        self._plans: dict[int, tuple[Step, ...]] = {}
        self._prepare(function.block)
        self._kept = frozenset(function.block.outputs)
        self._whole = with_releases(self._plans[id(function.block)], self._kept)
        self._quick: tuple[Step, ...] | None = None

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

        def run_steps(steps: Sequence[Step]) -> None:
            for step in steps:
                self._run_step(step, values, machine, trace)

        def run_block(block: Block, arguments: Sequence[Value]) -> list[Value]:
            values.update(zip(block.inputs, arguments, strict=True))
            run_steps(self._plans[id(block)])
            return [self._look_up(values, name) for name in block.outputs]

        generator = torch.Generator().manual_seed(0)
        machine = Machine(opset=self._function.opset, run_block=run_block, generator=generator)
        with torch.inference_mode():
            # Whoever traces sees every value, also those that are computed once or never stored.
            run_steps(self._quick_steps(machine) if trace is None else self._whole)
            return {name: self._look_up(values, name) for name in self._function.block.outputs}

    def _quick_steps(self, machine: Machine) -> tuple[Step, ...]:
        """Returns the main block's steps without what is the same in every run; made at the first run."""
        if self._quick is None:

            def compute(step: Step) -> dict[str, Value]:
                values: dict[str, Value] = {}
                self._run_step(step, values, machine, None)
                return values

            left, known = fold_constants(self._whole, compute)
            self._constants |= known
            self._quick = with_releases(use_less_memory(left, self._kept), self._kept)
        return self._quick

    def _prepare(self, block: Block) -> None:
        self._plans[id(block)] = tuple(self._step(operation) for operation in block.operations)
        for operation in block.operations:
            for nested in operation.blocks:
                self._prepare(nested)

    def _step(self, operation: Operation) -> Step:
        checked = operation.type not in UNDECLARED_SHAPES
        rounds = self._round_fp16 and operation.type not in PICKING
        results = tuple(
            Result(
                name=output.name,
                dtype=TORCH_TYPES.get(output.type.dtype) if output.type.kind == "tensor" else None,
                shape=output.type.fixed_shape if checked and output.type.kind == "tensor" else None,
                rounded=rounds and output.type.dtype == "fp16" and output.type.kind == "tensor",
            )
            for output in operation.outputs
        )
        arguments = {
            parameter: tuple(self._bound(operation, parameter, item) for item in items)
            for parameter, items in operation.inputs.items()
        }
        return Step(operation=operation, kernel=OPERATORS[operation.type], arguments=arguments, results=results)

    def _bound(self, operation: Operation, parameter: str, item: Reference | Constant) -> Reference | Value:
        """Returns the value where the file holds it, else the reference to look up when running."""
        if not isinstance(item, Reference):
            return in_fast_layout(operation, parameter, to_value(item))
        if item.name not in self._constants:
            return item
        return in_fast_layout(operation, parameter, self._constants[item.name])

    def _run_step(self, step: Step, values: dict[str, Value], machine: Machine, trace: Trace | None) -> None:
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

    def _finished(self, operation: Operation, declared: Result, value: Value) -> Value:
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
        return round_to_fp16(value, in_place=operation.type in FRESH) if declared.rounded else value

    def _look_up(self, values: Mapping[str, Value], name: str) -> Value:
        if name in values:
            return values[name]
        if name in self._constants:
            return self._constants[name]
        raise ArtifactError(
            f'The program uses "{name}" before anything computes it. The package is corrupt: export it again.'
        )
