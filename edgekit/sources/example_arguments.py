"""The arguments that a torch module is captured with. Runs in a worker that has torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.errors import ModelError, UsageError
from edgekit.sources.base import CaptureRequest
from edgekit.sources.example_inputs import Given, example_of, given_value, nothing_given, tensors_in
from edgekit.task.input_sizes import FLAG, InputSizes, OpenInput
from edgekit.torch_program.batch_axis import batch_size, first_rows
from edgekit.torch_program.example_call import ExampleCall, bound_call, parameter_names

if TYPE_CHECKING:
    from torch import Tensor, nn


def example_call(module: nn.Module, request: CaptureRequest, known: Given | None = None) -> ExampleCall:
    """Returns what to capture a module with: `[model] example_inputs`, else sizes, else the first calibration sample.

    Sizes that the user gives by name come before those of the example inputs.

    Args:
        module: The model.
        request: What the user gives.
        known: What the model itself says, for where the user gives nothing.

    Raises:
        ModelError: the task names neither, they hold anything but tensors, or it is not clear whether their first axis
            is a batch.
        UsageError: sizes of an input that the module does not have.
    """
    given = given_value(request) if request.example_inputs is not None or not request.input_sizes else None
    given = given or known
    if given is None:
        if not request.input_sizes:
            why = "a torch model is captured with example inputs"
            raise ModelError(f"{request.source}: {nothing_given(why, _as_pictures(module))}")
        return _call_of_sizes(module, request.input_sizes, request.source)
    call = _call_of(module, given)
    if request.input_sizes:
        return _resized(call, request.input_sizes, request.source)
    return _settled(module, call, given, request.source)


def _as_pictures(module: nn.Module) -> list[OpenInput]:
    """Returns what the forward must be given, as advice shows it: nothing says that these are no pictures."""
    needed = [p.name for p in inspect.signature(module.forward).parameters.values() if p.default is p.empty]
    names = [name for name in parameter_names(module) if name in needed]
    return [OpenInput(name=name, shape=(1, 3, None, None), dtype="float32") for name in names]


def _call_of(module: nn.Module, given: Given) -> ExampleCall:
    value = tensors_in(given)
    if isinstance(value, Mapping) and set(value) <= set(parameter_names(module)):
        return bound_call(module, (), value)
    return bound_call(module, tuple(value) if type(value) in (tuple, list) else (value,), {})


def _call_of_sizes(module: nn.Module, sizes: Sequence[InputSizes], title: str) -> ExampleCall:
    _check_names(sizes, parameter_names(module), title)
    return bound_call(module, (), {item.name: example_of(item) for item in sizes})


def _resized(call: ExampleCall, sizes: Sequence[InputSizes], title: str) -> ExampleCall:
    _check_names(sizes, call.names, title)
    wanted = {item.name: example_of(item) for item in sizes}
    pairs = zip(call.names, call.tensors, strict=True)
    return call.with_tensors([_like(tensor, wanted.get(name)) for name, tensor in pairs])


def _like(tensor: Tensor, wanted: Tensor | None) -> Tensor:
    """Returns the user's own values where they have the wanted form."""
    if wanted is None or (tensor.shape == wanted.shape and tensor.dtype == wanted.dtype):
        return tensor
    return wanted


def _check_names(sizes: Sequence[InputSizes], names: Sequence[str], title: str) -> None:
    for item in sizes:
        if item.name not in names:
            raise UsageError(
                f'{FLAG} {item.text}: {title} has no input "{item.name}"; its inputs are {", ".join(names)}.'
            )


def _settled(module: nn.Module, call: ExampleCall, given: Given, title: str) -> ExampleCall:
    """Returns the call that artifacts are to take.

    An item of data may hold several rows, of which one is a call. Example inputs say what a call is; where their rows
    are independent of each other, they may as well have been meant as a batch.
    """
    rows = batch_size(module, call)
    if rows is None:
        return call
    if given.is_sample:
        return call.with_tensors(first_rows(call.tensors))
    shapes = [(name, tuple(tensor.shape)) for name, tensor in zip(call.names, call.tensors, strict=True)]
    flags = " ".join(f"{FLAG} {name}={'x'.join(map(str, shape)) or 'scalar'}" for name, shape in shapes)
    raise ModelError(
        f"{title}: the example inputs of {given.reference} hold {rows} rows, and the model computes each alone as it "
        f"does among the others: are they a batch, or does one call take {rows}? For artifacts that take one row, "
        f"return one ([:1]). For artifacts that take {rows}, say so: {flags}"
    )
