"""Arrays of whatever framework, and example inputs given as values or as shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from edgekit.errors import UsageError
from edgekit.task.input_sizes import InputSizes, named_sizes, sizes_in
from edgekit.task.nested_values import parts_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_HOW: Final = (
    'Give a tensor or an array, a tuple or a dict of them, or shapes: {"image": (1, 3, 224, 224)} or '
    '{"image": "1x3x224x224"}, and {"ids": ((1, 16), "int64")} or {"ids": "1x16:int64"} where the dtype is not float32.'
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


def example_arguments(inputs: Any, names: Sequence[str]) -> tuple[Any, ...]:
    """Returns example inputs in the model's order: arrays, or dicts and tuples with arrays inside.

    Args:
        inputs: An array, a shape, (shape, dtype), a tuple or list of them, or a dict of them by the inputs' names. In
            the place of each may stand a dict, a tuple or a dataclass of them, or None.
        names: The inputs that the model takes, in order; empty where it does not say.

    Raises:
        UsageError: a name that the model does not take, a missing one, or something else than arrays and shapes.
    """
    if isinstance(inputs, Mapping):
        return tuple(_example(value, name) for name, value in _ordered(inputs, names))
    if _is_form(inputs) and not (isinstance(inputs, tuple) and not inputs):
        return (_example(inputs, names[0] if names else "0"),)
    if not isinstance(inputs, (tuple, list)) or not inputs:
        raise UsageError(f"inputs is of type {type(inputs).__name__}. {_HOW}")
    return tuple(_example(value, names[i] if i < len(names) else str(i)) for i, value in enumerate(inputs))


def are_shapes(inputs: object) -> bool:
    """Returns whether inputs are given as shapes alone, so that there is no doubt about what a call takes."""
    if _is_form(inputs):
        return not is_array(inputs)
    parts = parts_of(inputs)
    return parts is not None and all(are_shapes(part) for _, part in parts if part is not None)


def _is_form(value: object) -> bool:
    """Returns whether a value describes one input: an array, a shape, or (shape, dtype)."""
    return is_array(value) or _is_shape(value) or _is_shape_with_dtype(value) or _is_text(value)


def sizes_of(inputs: object) -> tuple[InputSizes, ...]:
    """Returns the sizes that a dict of shapes gives to inputs, each by its name; () where `inputs` is anything else.

    Raises:
        UsageError: a dtype that NumPy does not know.
    """
    if not isinstance(inputs, Mapping):
        return ()
    found: list[InputSizes] = []
    for name, value in inputs.items():
        if isinstance(value, str) and (sizes := sizes_in(str(name), value)) is not None:
            found.append(sizes)
        elif _is_shape(value):
            found.append(_described(str(name), value))
        elif _is_shape_with_dtype(value):
            dtype = _dtype_of(value[1], str(name)).name
            found.append(_described(str(name), value[0], dtype))
        else:
            return ()
    return tuple(found)


def _described(name: str, sizes: Sequence[int | str], dtype: str = "") -> InputSizes:
    found = named_sizes(name, sizes, dtype)
    if found is None:
        raise UsageError(f"inputs: {name} has the sizes {tuple(sizes)}; each must be a number or a dimension's name.")
    return found


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
    if type(value) not in (tuple, list):
        return False
    sizes = cast("Sequence[object]", value)
    # Names of dimensions may stand among them; (shape, dtype) has a shape in front.
    return all(type(size) in (int, str) for size in sizes) and (not sizes or any(type(size) is int for size in sizes))


def _is_text(value: object) -> bool:
    # A word is no shape, though each of its parts could be a dimension's name.
    return isinstance(value, str) and any(map(str.isdigit, value)) and sizes_in("", value) is not None


def _is_shape_with_dtype(value: object) -> bool:
    return (
        isinstance(value, (tuple, list))
        and len(value) == 2
        and _is_shape(value[0])
        and not (isinstance(value[1], (tuple, list, Mapping)) or value[1] is None or is_array(value[1]))
    )


def _example(value: Any, name: str) -> Any:
    """Returns one example input: what was given, or values drawn for a shape; containers hold such things."""
    import numpy as np

    if value is None:
        return None
    if not _is_form(value):
        parts = parts_of(value)
        if not parts:
            raise UsageError(f"inputs: {name} is of type {type(value).__name__}. {_HOW}")
        made = [_example(part, f"{name}.{key}") for key, part in parts]
        return _refilled(value, made)
    if is_array(value):
        array = to_numpy(value)
        if not array.size:
            raise UsageError(f"inputs: {name} has shape {array.shape}, which holds no values.")
        return array
    sizes = sizes_in(name, value) if isinstance(value, str) else None
    form: Any = (sizes.shape, sizes.dtype or "float32") if sizes is not None else value
    shape: tuple[int, ...] = tuple(form if _is_shape(form) else form[0])
    if sizes is not None and 0 in sizes.shape and any(sizes.axes):
        names = ", ".join(filter(None, sizes.axes))
        raise UsageError(f"inputs: {name} names the dimensions {names}; give them in dimensions, or give numbers.")
    if any(size < 1 for size in shape):
        raise UsageError(f"inputs: {name} has shape {shape}; every size must be at least 1.")
    kind = _dtype_of("float32" if _is_shape(form) else form[1], name)
    if kind.kind == "f":
        return np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(kind)
    return np.zeros(shape, kind)


def _refilled(value: Any, made: Sequence[Any]) -> Any:
    """Returns a container of the same kind with other things in it."""
    if isinstance(value, Mapping):
        return dict(zip(value, made, strict=True))
    if isinstance(value, (tuple, list)):
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    names = [field.name for field in dataclasses.fields(value)]
    return dataclasses.replace(value, **dict(zip(names, made, strict=True)))


def _dtype_of(dtype: object, name: str) -> np.dtype[Any]:
    """Returns NumPy's type for a name, or for a type of NumPy or torch."""
    import numpy as np

    try:
        return np.dtype(str(dtype).rpartition(".")[2] if not isinstance(dtype, type) else dtype)
    except TypeError:
        raise UsageError(f"inputs: {name} has the dtype {dtype!r}; expected a name such as float32 or int64.") from None
