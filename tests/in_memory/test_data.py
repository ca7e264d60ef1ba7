"""Data in memory as items: which forms mean what."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.in_memory.data import checked_items, first_inputs, items_of
from edgekit.model import TensorSpec

X = np.arange(6, dtype="f4").reshape(3, 2)
Y = np.array([0, 1, 0])
ONE = (TensorSpec(name="x", shape=(1, 2), dtype="float32"),)
TWO = (*ONE, TensorSpec(name="m", shape=(1, 2), dtype="float32"))


def rows(data, purpose="calibration", specs=ONE):
    return list(checked_items(items_of(data, purpose, len(specs)), purpose, specs))


@pytest.mark.parametrize(
    "data",
    [X, (X, Y), [X[:2], X[2:]], lambda: iter([X]), {"x": X}, [(X, Y)], [[X, Y]], (X[:1], X[1:])],
    ids=["array", "inputs and targets", "batches", "function", "dict", "pairs", "loader's lists", "tuple of batches"],
)
def test_calibration_data_gives_inputs_only(data):
    assert all(len(item) == 1 for item in rows(data))
    np.testing.assert_array_equal(np.concatenate([item[0] for item in rows(data)]), X)


@pytest.mark.parametrize(
    "data",
    [(X, Y), list(zip(X, Y, strict=True)), lambda: zip(X, Y, strict=True), [{"x": X, "label": Y}], ({"x": X}, Y)],
    ids=["arrays", "samples without a batch axis", "function", "dicts with a label", "dict and targets"],
)
def test_evaluation_data_gives_inputs_and_targets(data):
    found = rows(data, "evaluation")
    np.testing.assert_array_equal(np.concatenate([inputs[0] for inputs, _ in found]), X)
    np.testing.assert_array_equal(np.hstack([target for _, target in found]), Y)


def test_evaluation_data_without_targets_has_none():
    assert [target for _, target in rows(X, "evaluation")] == [None]


def test_slices_are_passed_on():
    assert rows([(X, Y, "night")], "evaluation")[0][2] == "night"


def test_two_inputs_come_in_the_models_order():
    (item,) = rows({"m": X + 10, "x": X}, specs=TWO)
    np.testing.assert_array_equal(item[0], X)
    (item,) = rows((X, X + 10), specs=TWO)
    np.testing.assert_array_equal(item[1], X + 10)


def test_a_dataset_with_indices_is_read_to_its_end():
    class Dataset:
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return X[i]

    np.testing.assert_array_equal(np.concatenate([item[0] for item in rows(Dataset())]), X)


def test_the_first_inputs_are_taken_and_no_sample_is_lost():
    inputs, items = first_inputs(iter([(X[:1], Y[:1]), (X[1:], Y[1:])]), "evaluation", 1)
    np.testing.assert_array_equal(inputs, X[:1])
    assert len(list(items)) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: items_of(3, "calibration", 1),
            (
                "The calibration data is of type int; expected arrays, an iterable of samples such as a list or a "
                "DataLoader, a function that returns one, or text as for the command line."
            ),
        ),
        (
            lambda: first_inputs([], "calibration", 1),
            "The calibration data in memory is empty: it yielded no item. Expected at least one.",
        ),
        (
            lambda: rows([{"x": X}], specs=TWO),
            "Item 0 of the data in memory has no m; it has x. Use the names of the model's inputs.",
        ),
    ],
    ids=["no data", "empty", "missing input"],
)
def test_wrong_data_is_a_data_error(call, message):
    with pytest.raises(DataError) as caught:
        call()
    assert caught.value.message == message
