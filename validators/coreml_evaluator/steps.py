"""Operators made ready to run, and what is done to them once so that each run is quick.

An operator whose arguments all come from the file is computed once. A `quantize` that only one `dequantize` reads
becomes one step with it: the values are the same, and the integers between them are never stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from torch import Tensor

from edgekit.validators.coreml_evaluator.graph import Block, Operation, Reference
from edgekit.validators.coreml_evaluator.operators.call import Call, Kernel, Value
from edgekit.validators.coreml_evaluator.operators.elementwise import IN_PLACE
from edgekit.validators.coreml_evaluator.operators.quantization import GridPair
from edgekit.validators.coreml_evaluator.operators.table import FRESH, RANDOM

_CONVOLUTION: Final = "conv"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
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
class Step:
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
    results: tuple[Result, ...]
    releases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the first result, "" without one."""
        return self.results[0].name if self.results else ""

    @property
    def is_constant(self) -> bool:
        """Whether every run gives the same: nothing is computed before, and no state, block or chance plays a part."""
        if self.operation.blocks or self.operation.type in RANDOM:
            return False
        return all(isinstance(item, Tensor | str | tuple) for items in self.arguments.values() for item in items)

    def given(self, parameter: str) -> str:
        """Returns the name of the computed value that a parameter takes, "" where it takes none."""
        items = self.arguments.get(parameter, ())
        return items[0].name if items and isinstance(items[0], Reference) else ""

    def references(self) -> Iterator[str]:
        """Yields the name of each computed value that the step uses, in nested blocks too, as often as it does."""
        yield from (x.name for items in self.arguments.values() for x in items if isinstance(x, Reference))
        for block in self.operation.blocks:
            yield from references_in(block)


def references_in(block: Block) -> Iterator[str]:
    """Yields the names that a nested block uses, constants' among them, as often as it does."""
    yield from block.outputs
    for operation in block.operations:
        yield from (x.name for items in operation.inputs.values() for x in items if isinstance(x, Reference))
        for nested in operation.blocks:
            yield from references_in(nested)


def in_fast_layout(operation: Operation, parameter: str, value: Value) -> Value:
    """Returns a constant as its kernel reads it quickest: the channels of a convolution's weights last in memory."""
    is_weight = operation.type == _CONVOLUTION and parameter == "weight"
    if is_weight and isinstance(value, Tensor) and value.dim() == 4:
        return value.contiguous(memory_format=torch.channels_last)
    return value


def fold_constants(
    steps: Sequence[Step], compute: Callable[[Step], Mapping[str, Value]]
) -> tuple[list[Step], dict[str, Value]]:
    """Returns the steps that are left, and the values of those that were computed, by name.

    Args:
        steps: In the order in which they run.
        compute: Callback that computes a step without references and returns its results by name.
    """
    known: dict[str, Value] = {}
    left: list[Step] = []
    for step in steps:
        arguments = {
            parameter: tuple(
                in_fast_layout(step.operation, parameter, known[x.name])
                if isinstance(x, Reference) and x.name in known
                else x
                for x in items
            )
            for parameter, items in step.arguments.items()
        }
        bound = replace(step, arguments=arguments)
        if bound.is_constant:
            known.update(compute(bound))
        else:
            left.append(bound)
    return left, known


def use_less_memory(steps: Sequence[Step], keep: frozenset[str]) -> list[Step]:
    """Returns the steps with each `quantize` joined to the `dequantize` that alone reads it, and clamps in place.

    Args:
        steps: In the order in which they run.
        keep: Values that must be there at the end.
    """
    readers = Counter(name for step in steps for name in step.references())
    ends = {step.given("input"): step for step in steps if step.operation.type == "dequantize" and _is_static(step)}
    held = {
        step.name: step
        for step in steps
        if step.operation.type == "quantize"
        and step.name not in keep
        and readers[step.name] == 1
        and step.name in ends
        and _is_static(step)
        # A package that declares other shapes for the two is inconsistent, which running them apart reports.
        and step.results[0].shape == ends[step.name].results[0].shape
    }
    quantizers = {id(ends[name]): step for name, step in held.items()}
    fresh = {step.name for step in steps if step.operation.type in FRESH and step.name not in keep}
    alone = {name for name in fresh if readers[name] == 1}
    made: list[Step] = []
    for step in steps:
        if id(step) in quantizers:
            made.append(_joined(quantizers[id(step)], step, alone))
        elif step.operation.type in IN_PLACE and step.given("x") in alone:
            made.append(replace(step, kernel=IN_PLACE[step.operation.type]))
        elif step.name not in held:
            made.append(step)
    return made


def with_releases(steps: Sequence[Step], keep: frozenset[str]) -> tuple[Step, ...]:
    """Returns the steps, each with the values whose last use it is."""
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        last.update(dict.fromkeys(step.references(), index))
    releases: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in keep:
            releases.setdefault(index, []).append(name)
    return tuple(replace(step, releases=tuple(releases.get(index, ()))) for index, step in enumerate(steps))


def _is_static(step: Step) -> bool:
    """Returns whether all but what is quantized or dequantized is in the file: scales, zero points."""
    return all(not step.given(parameter) for parameter in step.arguments if parameter != "input")


def _joined(quantize: Step, dequantize: Step, alone: AbstractSet[str]) -> Step:
    """Returns one step for two; values that nobody else needs (`alone`) are changed in place."""
    (result,) = dequantize.results
    in_place = quantize.given("input") in alone
    settings = {
        key: tuple(x for x in items if not isinstance(x, Reference))
        for key, items in quantize.arguments.items()
        if key != "input"
    }
    pairs: dict[int, GridPair] = {}

    def kernel(call: Call) -> Tensor:
        x = call.tensor("input")
        if x.dim() not in pairs:
            before = Call(operation=quantize.operation, arguments={**settings, "input": (x,)}, machine=call.machine)
            pairs[x.dim()] = GridPair.of(before, call, x)
        return pairs[x.dim()].apply(x, rounded=result.rounded, in_place=in_place)

    return replace(
        dequantize,
        kernel=kernel,
        arguments={**dequantize.arguments, "input": quantize.arguments["input"]},
        results=(replace(result, rounded=False),),
    )
