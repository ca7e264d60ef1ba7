"""Data in memory as the items that a task's data function would yield."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from edgekit.errors import DataError
from edgekit.in_memory.arrays import is_array, to_numpy
from edgekit.model import TensorSpec

TITLE: Final = "in memory"
"""What such data is called in messages: "The calibration data in memory, item 3 ..."."""

_TARGETS: Final = ("target", "targets", "label", "labels")


def items_of(data: object, purpose: str, count: int) -> Iterator[object]:
    """Returns an iterator over the items of whatever form `data` has.

    Args:
        data: A callable that returns one of the others; an array or a dict of arrays (rows first); for evaluation also
            a pair of (inputs, targets); anything iterable: a list, a generator, a DataLoader; a dataset with indices.
        purpose: calibration or evaluation.
        count: How many inputs the model takes.

    Raises:
        DataError: it is nothing that can be iterated over.
    """
    if callable(data) and not isinstance(data, Iterable):
        return items_of(data(), purpose, count)
    if is_array(data) or isinstance(data, Mapping) or _is_one_item(data, purpose, count):
        return iter([data])
    if isinstance(data, Iterable):
        return iter(data)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[i] for i in range(len(data)))
    raise DataError(
        f"The {purpose} data is of type {type(data).__name__}; expected arrays, an iterable of samples such as a "
        "list or a DataLoader, a function that returns one, or text as for the command line."
    )


def first_inputs(data: object, purpose: str, count: int) -> tuple[Any, Iterator[object]]:
    """Returns the inputs of the first item, and all items: example inputs to capture a model with.

    Args:
        data: As for `items_of`.
        purpose: calibration or evaluation.
        count: How many inputs the model takes at most.

    Raises:
        DataError: there is no item.
    """
    items = items_of(data, purpose, count)
    found = list(itertools.islice(items, 1))
    if not found:
        raise DataError(f"The {purpose} data {TITLE} is empty: it yielded no item. Expected at least one.")
    whole = itertools.chain(found, items)
    first = found[0]
    if isinstance(first, (tuple, list)):
        inputs = first[0] if purpose == "evaluation" or not is_array(first[0]) else tuple(first[:count])
        return inputs, whole
    if isinstance(first, Mapping):
        return {name: value for name, value in first.items() if name not in _TARGETS}, whole
    return first, whole


def checked_items(items: Iterable[object], purpose: str, specs: Sequence[TensorSpec]) -> Iterator[object]:
    """Yields the items in the form that a data function of a task has, with a batch axis, in the model's order.

    Calibration data may bring its targets along, as a DataLoader does: they are left out.

    Args:
        items: From `items_of`.
        purpose: calibration or evaluation.
        specs: The model's inputs.

    Raises:
        DataError: an item lacks an input.
    """
    for index, item in enumerate(items):
        if item is None:  # the states of a model begin anew
            yield None
            continue
        inputs, rest = _split(item, purpose, len(specs))
        values = _in_order(inputs, specs, index)
        row = tuple(_with_batch(value, specs[i]) if i < len(specs) else value for i, value in enumerate(values))
        yield row if purpose != "evaluation" else (row, *rest)


def _split(item: object, purpose: str, count: int) -> tuple[object, tuple[object, ...]]:
    """Returns the inputs of an item, and for evaluation its target and perhaps its slice name."""
    if isinstance(item, Mapping):
        target = next((item[name] for name in _TARGETS if name in item), None)
        return item, (_target(target),)
    if not isinstance(item, (tuple, list)):
        return (item,), (None,)
    if purpose == "evaluation":
        inputs, target, *slice_name = item if len(item) in (2, 3) else (item, None)
        return inputs, (_target(target), *slice_name)
    if len(item) == 2 and not is_array(item[0]):
        return item[0], ()  # ((a, b), target) or ({...}, target)
    return tuple(item[:count]) if len(item) == count + 1 else item, ()


def _target(value: object) -> object:
    return to_numpy(value) if is_array(value) else value


def _in_order(inputs: object, specs: Sequence[TensorSpec], index: int) -> tuple[Any, ...]:
    """Returns an item's inputs in the model's order."""
    if isinstance(inputs, Mapping):
        missing = [spec.name for spec in specs if spec.name not in inputs]
        if missing and len(specs) > 1:
            raise DataError(
                f"Item {index} of the data {TITLE} has no {', '.join(missing)}; it has {', '.join(map(str, inputs))}. "
                "Use the names of the model's inputs."
            )
        values = [value for name, value in inputs.items() if name not in _TARGETS]
        return tuple(values[:1]) if missing else tuple(inputs[spec.name] for spec in specs)
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def _with_batch(value: object, spec: TensorSpec) -> Any:
    """Returns an input with its batch axis: a dataset yields single samples, a DataLoader batches."""
    array = to_numpy(value)
    return array[None] if array.shape == spec.shape[1:] else array


def _is_one_item(data: object, purpose: str, count: int) -> bool:
    """Returns whether a tuple is one item with all rows, such as (images, labels), and no sequence of samples."""
    if not isinstance(data, tuple) or len(data) < 2 or not is_array(data[-1]) or not data[-1].shape:
        return False
    if purpose == "evaluation":
        return len(data) == 2 and (is_array(data[0]) or isinstance(data[0], (tuple, Mapping)))
    if not all(is_array(part) for part in data):
        return len(data) == 2 and isinstance(data[0], (tuple, Mapping))
    # Two batches of a model's one input look alike; its inputs and their labels do not.
    return len(data) == count or (len(data) == count + 1 and data[-1].shape[1:] != data[0].shape[1:])
