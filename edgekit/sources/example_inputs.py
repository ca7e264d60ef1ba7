"""Example inputs of a torch model: the tensors, batch 1, that its graph is captured with. Imports torch late."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import DataError, ModelError
from edgekit.sources.base import CaptureRequest
from edgekit.task.array_file import read_npz
from edgekit.task.input_sizes import InputSizes, OpenInput, chosen_sizes, code_of, flags_of
from edgekit.task.user_code import call_user, check_callable_without_arguments, load_object

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_WHAT: Final = "[model] example_inputs"
_A_PICTURE: Final = (OpenInput(name="NAME", shape=(1, 3, 224, 224), dtype="float32"),)
"""What the advice shows where nothing is known about the inputs."""


def advice(inputs: Sequence[OpenInput] = ()) -> str:
    """Returns how a user gives example inputs, with the model's own inputs where they are known."""
    flags = f"Give the sizes: {flags_of(inputs)}\nOr add" if any(item.is_open for item in inputs) else "Add"
    return (
        f"{flags} a function that returns them and name it in edgekit.toml:\n"
        "    def example_inputs():\n"
        f"        return {code_of(inputs or _A_PICTURE)}\n"
        '    [model] example_inputs = "model.py:example_inputs"\n'
        "or on the command line: --example-inputs model.py:example_inputs"
    )


def gather(request: CaptureRequest) -> tuple[Tensor, ...] | None:
    """Returns the example inputs that the task names, float tensors as float32, or None if it names none.

    They have the sizes that `--input` gives, else they come from `[model] example_inputs`, else they are the first
    sample of `[data] calibration`.

    Raises:
        ConfigError: a reference is wrong.
        ModelError: what the function returns is no tuple of tensors with batch 1.
        DataError: the calibration data has no first sample to take.
    """
    if request.input_sizes:
        return tuple(_zeros(sizes) for sizes in request.input_sizes)
    if request.example_inputs is not None:
        reference = request.example_inputs
        function = load_object(reference, request.base, _WHAT)
        check_callable_without_arguments(function, reference, _WHAT, ModelError)
        value = call_user(function, (), f"{reference} failed", ModelError)
        return tuple(_as_tensors(value, reference, batch_one=True))
    if request.calibration is not None:
        value = _first_sample(request.calibration, request.base)
        return tuple(_as_tensors(value, request.calibration, batch_one=False))
    return None


def require(request: CaptureRequest, why: str, inputs: Sequence[OpenInput] = ()) -> tuple[Tensor, ...]:
    """Returns what `gather` returns, in the order of `inputs` where they are known.

    Args:
        request: What is captured.
        why: Why they are needed.
        inputs: What the model says about its inputs, where it says anything.

    Raises:
        ModelError: the task names neither example inputs nor calibration data, or sizes of other inputs.
    """
    if request.input_sizes and inputs:
        return of_sizes(request, inputs)
    found = gather(request)
    if found is None:
        raise ModelError(
            f"{request.source}: {why}, and the task has neither example inputs nor calibration data. {advice(inputs)}"
        )
    return found


def of_sizes(request: CaptureRequest, inputs: Sequence[OpenInput]) -> tuple[Tensor, ...]:
    """Returns zeros of the sizes that `--input` gives, in the model's order; what it does not give is the model's own.

    Raises:
        UsageError: sizes of an input that the model does not have, or that it does not take.
    """
    return tuple(map(_zeros, chosen_sizes(inputs, request.input_sizes, request.source)))


def _zeros(sizes: InputSizes) -> Tensor:
    import torch

    return torch.zeros(sizes.shape, dtype=getattr(torch, sizes.dtype or "float32"))


def _first_sample(reference: str, base: Path) -> object:
    what = "[data] calibration"
    path = base / reference
    if (path / "samples.json").is_file():
        from edgekit.samples import Samples

        return next(iter(Samples.open(path).rows()), None)
    if path.suffix == ".npz" and path.is_file():
        return _first_of_npz(path, reference)
    if path.is_dir():
        raise ModelError(
            f"{reference} is a folder, and its files do not say how the model wants them as tensors. {advice()}"
        )
    function = load_object(reference, base, what)
    check_callable_without_arguments(function, reference, what, DataError)
    items = call_user(function, (), f"{reference} failed", DataError)
    if not isinstance(items, Iterable):
        raise DataError(
            f"{reference} returned something of type {type(items).__name__}; "
            "expected an iterable of input tuples, one item a sample."
        )
    found: list[object] = call_user(lambda: list(itertools.islice(items, 1)), (), f"{reference} failed", DataError)
    if not found:
        raise DataError(f"{reference} yields no sample; at least one is needed to capture the model.")
    return found[0]


def _first_of_npz(path: Path, reference: str) -> tuple[NDArray[Any], ...]:
    arrays = tuple(read_npz(path, reference).values())
    if not arrays or any(array.ndim == 0 or not len(array) for array in arrays):
        raise DataError(f"{reference} holds no rows; expected one array (N, ...) for each input, N at least 1.")
    return tuple(array[:1] for array in arrays)


def _as_tensors(value: Any, reference: str, *, batch_one: bool) -> list[Tensor]:
    """Returns the tensors in `value`, checked; floats as float32.

    Args:
        value: What user code gave: a tuple or list of tensors or arrays, or one tensor.
        reference: Where it came from.
        batch_one: Batch must be 1; else the first row is taken.
    """
    import numpy as np
    import torch

    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = (value,)
    if not isinstance(value, (tuple, list)) or not value:
        what = f"an empty {type(value).__name__}" if isinstance(value, (tuple, list)) else f"a {type(value).__name__}"
        raise ModelError(
            f"{reference} returned {what}; expected a tuple of tensors, one for each input, batch 1: "
            "return (torch.zeros(1, 3, 224, 224),)"
        )
    tensors: list[Tensor] = []
    for i, item in enumerate(value):
        if not isinstance(item, (torch.Tensor, np.ndarray)):
            raise ModelError(
                f"{reference}: input {i} is of type {type(item).__name__}; expected a tensor. "
                "Bind what is no tensor inside the factory (functools.partial, or an attribute of the module)."
            )
        # A copy: samples are read-only memory maps.
        tensor = (torch.from_numpy(np.array(item)) if isinstance(item, np.ndarray) else item).detach().cpu()
        if tensor.ndim == 0:
            raise ModelError(
                f"{reference}: input {i} is a scalar; expected a tensor whose first dimension is the batch."
            )
        if tensor.shape[0] != 1 and batch_one:
            raise ModelError(
                f"{reference}: input {i} has shape {tuple(tensor.shape)}: the first dimension is the batch and must "
                f"be 1, because artifacts are exported with batch 1. Return input {i} as [:1]."
            )
        if tensor.shape[0] == 0:
            raise ModelError(f"{reference}: input {i} has shape {tuple(tensor.shape)}, which holds no row.")
        tensors.append((tensor[:1].float() if tensor.is_floating_point() else tensor[:1]).contiguous())
    return tensors
