"""The inputs of one item of data, as a user gives them, against what the model takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import DataError
from edgekit.model import TensorSpec, takes_rows
from edgekit.task.nested_values import leaves_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def item_calls(inputs: object, specs: Sequence[TensorSpec], where: str) -> list[tuple[NDArray[Any], ...]]:
    """Returns the calls that an item holds: for each one array an input, in the model's shapes and dtypes.

    Args:
        inputs: A tensor, a tuple in the model's order, a dict by the inputs' names, or the nested tuples, dicts and
            dataclasses that the model itself takes.
        specs: What the model takes. Where it has a batch in front, an item may hold any number of rows.
        where: The item, for messages.

    Raises:
        DataError: missing or unknown inputs, another shape or dtype, NaN or infinite values.
    """
    import numpy as np

    values = _in_order(inputs, specs, where)
    rows = takes_rows(specs)
    arrays = [_checked(value, spec, where, rows=rows) for value, spec in zip(values, specs, strict=True)]
    if not rows:
        return [tuple(arrays)]
    batched = [(array, spec) for array, spec in zip(arrays, specs, strict=True) if spec.shape]
    counts = {len(array) for array, _ in batched}
    if len(counts) > 1 and all(len(array) == 1 or spec.shape[0] == -1 for array, spec in batched):
        return [tuple(arrays)]  # what is free in front is a length, and no batch: not every input has it
    if len(counts) > 1:
        raise DataError(f"The {where} has inputs of different batch sizes: {', '.join(map(str, sorted(counts)))}.")
    count = counts.pop() if counts else 1
    return [
        tuple(array[i : i + 1] if spec.shape else np.asarray(array) for array, spec in zip(arrays, specs, strict=True))
        for i in range(count)
    ]


def _in_order(inputs: object, specs: Sequence[TensorSpec], where: str) -> list[Any]:
    """Returns one value for each input of the model, in its order."""
    names = [spec.name for spec in specs]
    if _is_named(inputs):
        return _by_name(inputs, names, where)
    values = [value for value in inputs if value is not None] if isinstance(inputs, (tuple, list)) else [inputs]
    if not any(map(_is_nested, values)):
        if len(values) != len(specs):
            raise DataError(f"The {where} has {len(values)} inputs; the model takes {len(specs)}: {', '.join(names)}.")
        return values
    # The model's arguments, each a tensor or a structure of tensors: `past.0.key` belongs to the argument `past`.
    arguments = list(dict.fromkeys(name.partition(".")[0] for name in names))
    if len(values) != len(arguments):
        raise DataError(
            f"The {where} has {len(values)} arguments; the model takes {len(arguments)}: {', '.join(arguments)}."
        )
    return _by_name(dict(zip(arguments, values, strict=True)), names, where)


def _is_named(value: object) -> bool:
    return isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _is_nested(value: object) -> bool:
    """Returns whether a value is a structure of tensors; a list of numbers is a tensor."""
    if isinstance(value, (tuple, list)):
        return any(_is_nested(part) or getattr(part, "shape", ()) != () for part in value)
    return _is_named(value)


def _by_name(inputs: object, names: Sequence[str], where: str) -> list[Any]:
    if isinstance(inputs, Mapping) and set(names) <= set(inputs):
        return [inputs[name] for name in names]
    found = {".".join(way): value for way, value in leaves_of(inputs)}
    missing = [name for name in names if name not in found]
    unknown = [name for name in found if name not in names]
    if missing or unknown:
        names_of = ", ".join(missing or unknown)
        lacks = f"has no {names_of}" if missing else f"has {names_of}, which the model does not take"
        raise DataError(f"The {where} {lacks}; it holds {', '.join(found)}, and the model takes {', '.join(names)}.")
    return [found[name] for name in names]


def to_numpy(value: Any) -> Any:
    """Returns a tensor of torch or TensorFlow as an array; anything else as it is."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    return value.numpy() if hasattr(value, "numpy") else value


def _checked(value: object, spec: TensorSpec, where: str, *, rows: bool) -> NDArray[Any]:
    """Returns one input as an array of the model's dtype: (rows, ...), or in the shape of one call.

    Raises:
        DataError: another shape or kind of dtype, NaN or infinity.
    """
    import numpy as np

    array = np.asarray(to_numpy(value))
    if not spec.shape and array.size == 1:
        array = array.reshape(())
    first = 1 if rows else 0
    # -1 is a free size of a finished file.
    sizes = zip(array.shape[first:], spec.shape[first:], strict=False)
    if array.ndim != len(spec.shape) or any(wanted not in (-1, size) for size, wanted in sizes):
        any_size = ", with any batch size N" if rows and spec.shape else ", because an item is one call of this model"
        raise DataError(
            f'The {where} has shape {array.shape} for the input "{spec.name}"; '
            f"expected {_shape_text(spec.shape, rows=rows)}{any_size}."
        )
    array = _cast(array, spec, where)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(array.size - np.isfinite(array).sum())
        raise DataError(
            f'The {where} holds {bad} values that are NaN or infinite in the input "{spec.name}". '
            "Ranges and accuracy would mean nothing: mend the data or its preprocessing."
        )
    return array


def _cast(array: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    """Returns the array in the model's dtype.

    Integers of another width and doubles hold the same values, 0 and 1 are no and yes; pixels given as integers are a
    forgotten scaling.
    """
    import numpy as np

    wanted = np.dtype(spec.dtype)
    if array.dtype == wanted:
        return array
    kinds = array.dtype.kind, wanted.kind
    same_kind = kinds[0] == kinds[1] or (kinds[0] in "iu" and kinds[1] in "iub")
    lossless = same_kind and np.array_equal(array.astype(wanted).astype(array.dtype), array, equal_nan=True)
    if not lossless and kinds != ("f", "f"):
        raise DataError(
            f'The {where} is {array.dtype} for the input "{spec.name}"; the model takes {spec.dtype}. '
            "Convert it, with the scaling that the model was trained with."
        )
    return array.astype(wanted)


def _shape_text(shape: tuple[int, ...], *, rows: bool) -> str:
    """Returns `(N, 3, ?, ?)`: N for any number of rows, `?` for a free size."""
    sizes = ["?" if size == -1 else str(size) for size in shape]
    if rows and sizes:
        sizes[0] = "N"
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 and not rows else ''})"
