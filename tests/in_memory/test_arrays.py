"""Example inputs as values and as shapes."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekit.errors import UsageError
from edgekit.in_memory.arrays import are_shapes, example_arguments

HOW = (
    'Give a tensor or an array, a tuple or a dict of them, or shapes: {"image": (1, 3, 224, 224)} or '
    '{"image": "1x3x224x224"}, and {"ids": ((1, 16), "int64")} or {"ids": "1x16:int64"} where the dtype is not float32.'
)


@pytest.mark.parametrize(
    ("inputs", "forms"),
    [
        (np.zeros((4, 3), "f4"), [((4, 3), "float32")]),
        ({"a": (2, 1, 3), "b": ()}, [((2, 1, 3), "float32"), ((), "float32")]),
        ({"a": "2x1x3", "b": "scalar:int32"}, [((2, 1, 3), "float32"), ((), "int32")]),
        (np.zeros(()), [((), "float64")]),
        ((1, 3), [((1, 3), "float32")]),
        (((1, 3), "int64"), [((1, 3), "int64")]),
        ([(1, 3), (1, 5)], [((1, 3), "float32"), ((1, 5), "float32")]),
        ({"b": (1, 5), "a": ((1, 3), np.int32)}, [((1, 3), "int32"), ((1, 5), "float32")]),
        ({"a": np.ones((1, 2))}, [((1, 2), "float64")]),
    ],
    ids=[
        "array",
        "no batch",
        "texts",
        "single number",
        "shape",
        "shape and dtype",
        "shapes",
        "dict in another order",
        "first of two",
    ],
)
def test_every_form_gives_arrays_in_the_models_order(inputs, forms):
    names = ["a", "b"] if isinstance(inputs, dict) else []
    assert [(array.shape, str(array.dtype)) for array in example_arguments(inputs, names)] == forms


def test_values_of_a_shape_are_the_same_each_time_and_not_constant():
    one, other = (example_arguments((1, 3, 8), [])[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert len(np.unique(one)) == one.size


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (None, f"inputs is of type NoneType. {HOW}"),
        ({"x": (1, 3)}, "inputs names x; the model takes a, b. Use those names."),
        ({"b": (1, 3)}, "inputs has no a, which the model takes before b. Give it too."),
        ({"a": "text"}, f"inputs: a is of type str. {HOW}"),
        ({"a": (2, 0)}, "inputs: a has shape (2, 0); every size must be at least 1."),
        ({"a": np.zeros((0, 2))}, "inputs: a has shape (0, 2), which holds no values."),
        ({"a": ((1, 3), "float33")}, "inputs: a has the dtype 'float33'; expected a name such as float32 or int64."),
    ],
    ids=["nothing", "unknown name", "missing name", "text", "size of 0", "no values", "dtype"],
)
def test_wrong_inputs_are_a_usage_error(inputs, message):
    with pytest.raises(UsageError) as caught:
        example_arguments(inputs, ["a", "b"])
    assert caught.value.message == message


def test_arguments_may_be_nested_and_shapes_are_known_from_values():
    past = ({"key": (2, 1, 3)}, np.ones((1, 2)), None)
    x, found = example_arguments({"x": (1, 4), "past": past}, ["x", "past"])
    assert (x.shape, found[0]["key"].shape, found[1].shape, found[2]) == ((1, 4), (2, 1, 3), (1, 2), None)
    assert not are_shapes({"x": (1, 4), "past": past})
    assert are_shapes({"x": (1, 4), "past": past[:1]})


def test_a_dimension_that_nobody_describes_is_a_usage_error() -> None:
    message = "inputs: ids names the dimensions length; give them in dimensions, or give numbers."
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        example_arguments({"ids": "1xlength"}, ["ids"])
