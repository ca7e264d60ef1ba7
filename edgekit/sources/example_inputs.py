"""Example inputs: what a model's graph is captured with, and where free sizes come from. Imports torch late."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from edgekit.errors import DataError, ModelError
from edgekit.sources.base import CaptureRequest
from edgekit.task.array_file import read_npz
from edgekit.task.input_sizes import InputSizes, OpenInput, chosen_sizes, code_of, flags_of
from edgekit.task.nested_values import leaves_of, mapped, parts_of
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


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What user code or data gave as example inputs.

    Attributes:
        value: A tensor, or tuples, dicts and dataclasses of tensors.
        reference: Where it came from.
        is_sample: It is an item of data, which may hold several rows.
    """

    value: Any
    reference: str
    is_sample: bool


def given_value(request: CaptureRequest) -> Given | None:
    """Returns what the task names: `[model] example_inputs`, else the first item of `[data] calibration`.

    Raises:
        ConfigError: a reference is wrong.
        ModelError: the user's function failed.
        DataError: the calibration data has no first sample to take.
    """
    if request.example_inputs is not None:
        reference = request.example_inputs
        function = load_object(reference, request.base, _WHAT)
        check_callable_without_arguments(function, reference, _WHAT, ModelError)
        value = call_user(function, (), f"{reference} failed", ModelError)
        return Given(value=value, reference=reference, is_sample=False)
    if request.calibration is not None:
        value = _first_sample(request.calibration, request.base)
        return Given(value=value, reference=request.calibration, is_sample=True)
    return None


def gather(request: CaptureRequest, names: Sequence[str] = ()) -> tuple[Tensor, ...] | None:
    """Returns the example inputs that the task names, one after the other, or None if it names none.

    Args:
        request: What is captured.
        names: What the model calls its inputs, for examples in a dict.

    Raises:
        ConfigError: a reference is wrong.
        ModelError: what the function returns holds anything but tensors.
        DataError: the calibration data has no first sample to take.
    """
    given = given_value(request)
    if given is None:
        return None
    value = tensors_in(given)
    if isinstance(value, Mapping) and set(names) <= set(value):
        value = {name: value[name] for name in names} if names else value
    return tuple(tensor for _, tensor in leaves_of(value))


def require(request: CaptureRequest, why: str, inputs: Sequence[OpenInput] = ()) -> tuple[Tensor, ...]:
    """Returns what `gather` returns, in the order of `inputs` where they are known.

    Args:
        request: What is captured.
        why: Why they are needed.
        inputs: What the model says about its inputs, where it says anything.

    Raises:
        ModelError: the task names neither example inputs nor calibration data.
    """
    found = gather(request, [item.name for item in inputs])
    if found is None:
        raise ModelError(f"{request.source}: {nothing_given(why, inputs)}")
    return found


def nothing_given(why: str, inputs: Sequence[OpenInput] = ()) -> str:
    """Returns that example inputs are missing, why they are needed and how they are given."""
    return f"{why}, and the task has neither example inputs nor calibration data. {advice(inputs)}"


def fixed_shapes(inputs: Sequence[OpenInput], request: CaptureRequest) -> list[tuple[int, ...]]:
    """Returns the shapes of a file's inputs: free ones as `--input` or the example inputs have them, one for a batch.

    Raises:
        ModelError: a size is free and nothing gives it, or the example inputs do not fit.
        UsageError: `--input` gives sizes of other inputs.
    """
    if request.input_sizes:
        return [sizes.shape for sizes in chosen_sizes(inputs, request.input_sizes, request.source)]
    free = next((item for item in inputs if item.is_open), None)
    if free is None:
        return [item.with_batch_one() for item in inputs]
    has = "has no shape" if free.shape is None else f"has the shape {free.shape_text} with free sizes"
    examples = require(request, f'the input "{free.name}" {has}, and artifacts have fixed shapes', inputs)
    if len(examples) != len(inputs):
        raise ModelError(
            f"{request.source} takes {len(inputs)} inputs ({', '.join(item.name for item in inputs)}), and the example "
            f"inputs are {len(examples)}."
        )
    return [_fixed(item, tuple(e.shape), request.source) for item, e in zip(inputs, examples, strict=True)]


def _fixed(item: OpenInput, example: tuple[int, ...], title: str) -> tuple[int, ...]:
    if item.shape is None:
        return example
    sizes = zip(item.shape, example, strict=False)
    if len(example) != len(item.shape) or any(want not in (None, have) for want, have in sizes):
        raise ModelError(
            f'{title}: the example inputs give {example} for the input "{item.name}"; expected {item.shape_text}.'
        )
    return tuple(1 if axis in item.batch_axes else size for axis, size in enumerate(example))


def example_of(sizes: InputSizes) -> Tensor:
    """Returns a tensor of these sizes: random floats, zeros of any other dtype."""
    import torch

    dtype: torch.dtype = getattr(torch, sizes.dtype or "float32")
    if dtype.is_floating_point:
        return torch.randn(sizes.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.zeros(sizes.shape, dtype=dtype)


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


def tensors_in(given: Given) -> Any:
    """Returns the same containers with tensors on the CPU inside: wide and brain floats as float32.

    Raises:
        ModelError: it holds anything but tensors, arrays, containers of them and None, or no value at all.
    """
    import numpy as np
    import torch

    value, reference = given.value, given.reference
    if isinstance(value, (torch.Tensor, np.ndarray)):
        value = (value,)
    leaves = list(leaves_of(value))
    if parts_of(value) is None or not leaves:
        what = f"a {type(value).__name__}" if parts_of(value) is None else f"an empty {type(value).__name__}"
        raise ModelError(
            f"{reference} returned {what}; expected a tuple of tensors, one for each input: "
            "return (torch.zeros(1, 3, 224, 224),)"
        )
    for way, leaf in leaves:
        if not isinstance(leaf, (torch.Tensor, np.ndarray, np.generic)):
            raise ModelError(
                f"{reference}: input {'.'.join(way)} is of type {type(leaf).__name__}; expected a tensor. "
                "Bind what is no tensor inside the factory (functools.partial, or an attribute of the module)."
            )
        if 0 in leaf.shape:
            raise ModelError(
                f"{reference}: input {'.'.join(way)} has shape {tuple(leaf.shape)}, which holds no values."
            )
    return mapped(value, _as_tensor)


def _as_tensor(value: Any) -> Tensor:
    import numpy as np
    import torch

    # A copy: samples are read-only memory maps.
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value))
    tensor = tensor.detach().cpu().contiguous()
    return tensor.float() if tensor.dtype in (torch.float64, torch.bfloat16) else tensor
