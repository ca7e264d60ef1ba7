"""Arrays of whatever framework, and example inputs given as values or as shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgekit.errors import UsageError
from edgekit.task.input_sizes import InputSizes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HOW: Final = (
    'Give a tensor or an array (1, ...), a tuple or a dict of them, or shapes: {"image": (1, 3, 224, 224)}, and '
    '{"ids": ((1, 16), "int64")} where the dtype is not float32.'
)


def is_array(value: object) -> bool:
    """Returns whether `value` is an array or a tensor of NumPy, torch, TensorFlow or the like."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not isinstance(value, type)


def to_numpy(value: Any) -> NDArray[Any]:
    """Returns an array or a tensor, on whatever device, as a NumPy array."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return np.asarray(value.numpy() if hasattr(value, "numpy") else value)


def example_arrays(inputs: Any, names: Sequence[str]) -> tuple[NDArray[Any], ...]:
    """Returns example inputs as arrays (1, ...), in the model's order.

    Args:
        inputs: An array, a shape, (shape, dtype), a tuple or list of them, or a dict of them by the inputs' names.
        names: The inputs that the model takes, in order; empty where it does not say.

    Raises:
        UsageError: a name that the model does not take, a missing one, or something else than arrays and shapes.
    """
    if isinstance(inputs, Mapping):
        return tuple(_example(value, name) for name, value in _ordered(inputs, names))
    if is_array(inputs) or _is_shape(inputs) or _is_shape_with_dtype(inputs):
        return (_example(inputs, names[0] if names else "0"),)
    if not isinstance(inputs, (tuple, list)) or not inputs:
        raise UsageError(f"inputs is of type {type(inputs).__name__}. {_HOW}")
    return tuple(_example(value, names[i] if i < len(names) else str(i)) for i, value in enumerate(inputs))


def sizes_of(inputs: object) -> tuple[InputSizes, ...]:
    """Returns the sizes that a dict of shapes gives to inputs, each by its name; () where `inputs` is anything else.

    Raises:
        UsageError: a dtype that NumPy does not know.
    """
    if not isinstance(inputs, Mapping):
        return ()
    found: list[InputSizes] = []
    for name, value in inputs.items():
        if _is_shape(value):
            found.append(InputSizes(name=str(name), shape=tuple(value)))
        elif _is_shape_with_dtype(value):
            dtype = _dtype_of(value[1], str(name)).name
            found.append(InputSizes(name=str(name), shape=tuple(value[0]), dtype=dtype))
        else:
            return ()
    return tuple(found)


def shapes_of(inputs: object) -> tuple[InputSizes, ...]:
    """Returns the sizes that a dict of shapes gives, where values have no use; () for None.

    Raises:
        UsageError: it is anything else.
    """
    found = sizes_of(inputs)
    if inputs is not None and not found:
        raise UsageError(
            f"inputs is of type {type(inputs).__name__}; expected shapes by name, such as "
            '{"image": (1, 3, 224, 224)}. Values are given as data.'
        )
    return found


def _ordered(inputs: Mapping[str, Any], names: Sequence[str]) -> list[tuple[str, Any]]:
    """Returns the inputs in the model's order; in their own where the model names none."""
    unknown = [str(name) for name in inputs if name not in names]
    if names and unknown:
        raise UsageError(f"inputs names {', '.join(unknown)}; the model takes {', '.join(names)}. Use those names.")
    if not names:
        return list(inputs.items())
    given = [name for name in names if name in inputs]
    if given != list(names[: len(given)]):
        missing = next(name for name in names if name not in inputs)
        raise UsageError(f"inputs has no {missing}, which the model takes before {given[-1]}. Give it too.")
    return [(name, inputs[name]) for name in given]


def _is_shape(value: object) -> bool:
    return isinstance(value, (tuple, list)) and bool(value) and all(type(size) is int for size in value)


def _is_shape_with_dtype(value: object) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and _is_shape(value[0])
        and not (isinstance(value[1], (tuple, list)) or is_array(value[1]))
    )


def _example(value: Any, name: str) -> NDArray[Any]:
    """Returns one example input, batch 1: the first row of what was given, or values drawn for a shape."""
    import numpy as np

    if is_array(value):
        array = to_numpy(value)
        if array.ndim == 0 or not len(array):
            raise UsageError(f"inputs: {name} has shape {array.shape}; expected (1, ...), the batch first.")
        return array[:1]
    shape, dtype = (value, "float32") if _is_shape(value) else value if _is_shape_with_dtype(value) else (None, None)
    if shape is None:
        raise UsageError(f"inputs: {name} is of type {type(value).__name__}. {_HOW}")
    if shape[0] != 1:
        raise UsageError(f"inputs: {name} has shape {tuple(shape)}; the first size is the batch and must be 1.")
    kind = _dtype_of(dtype, name)
    if kind.kind == "f":
        return np.random.default_rng(0).standard_normal(tuple(shape)).astype(kind)
    return np.zeros(tuple(shape), kind)


def _dtype_of(dtype: Any, name: str) -> np.dtype[Any]:
    """Returns NumPy's type for a name, or for a type of NumPy or torch."""
    import numpy as np

    try:
        return np.dtype(str(dtype).rpartition(".")[2] if not isinstance(dtype, type) else dtype)
    except TypeError:
        raise UsageError(f"inputs: {name} has the dtype {dtype!r}; expected a name such as float32 or int64.") from None
