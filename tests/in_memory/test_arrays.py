"""Example inputs as values and as shapes."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.in_memory.arrays import example_arrays

HOW = (
    'Give a tensor or an array (1, ...), a tuple or a dict of them, or shapes: {"image": (1, 3, 224, 224)}, and '
    '{"ids": ((1, 16), "int64")} where the dtype is not float32.'
)


@pytest.mark.parametrize(
    ("inputs", "forms"),
    [
        (np.zeros((4, 3), "f4"), [((1, 3), "float32")]),
        ((1, 3), [((1, 3), "float32")]),
        (((1, 3), "int64"), [((1, 3), "int64")]),
        ([(1, 3), (1, 5)], [((1, 3), "float32"), ((1, 5), "float32")]),
        ({"b": (1, 5), "a": ((1, 3), np.int32)}, [((1, 3), "int32"), ((1, 5), "float32")]),
        ({"a": np.ones((1, 2))}, [((1, 2), "float64")]),
    ],
    ids=["array", "shape", "shape and dtype", "shapes", "dict in another order", "first of two"],
)
def test_every_form_gives_arrays_of_batch_one_in_the_models_order(inputs, forms):
    names = ["a", "b"] if isinstance(inputs, dict) else []
    assert [(array.shape, str(array.dtype)) for array in example_arrays(inputs, names)] == forms


def test_values_of_a_shape_are_the_same_each_time_and_not_constant():
    one, other = (example_arrays((1, 3, 8), [])[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) == one.size


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, f"inputs is of type NoneType. {HOW}"),
        ({"x": (1, 3)}, "inputs names x; the model takes a, b. Use those names."),
        ({"b": (1, 3)}, "inputs has no a, which the model takes before b. Give it too."),
        ({"a": "text"}, f"inputs: a is of type str. {HOW}"),
        ({"a": (2, 3)}, "inputs: a has shape (2, 3); the first size is the batch and must be 1."),
        ({"a": np.zeros(())}, "inputs: a has shape (); expected (1, ...), the batch first."),
        ({"a": ((1, 3), "float33")}, "inputs: a has the dtype 'float33'; expected a name such as float32 or int64."),
    ],
    ids=["nothing", "unknown name", "missing name", "text", "batch of 2", "scalar", "dtype"],
)
def test_wrong_inputs_are_a_usage_error(inputs, message):
    with pytest.raises(UsageError) as caught:
        example_arrays(inputs, ["a", "b"])
    assert caught.value.message == message
