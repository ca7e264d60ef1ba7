"""Training data in memory: what a worker can load, and what it cannot."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from edgekit.errors import DataError, UsageError
from edgekit.in_memory.training import function_reference, training_of
from edgekit.pipeline.settings import Settings
from edgekit.task.user_code import load_object
from edgekit.workers.cache import Cache

HOW = "Put it into a file of its own and import it from there, or name it as text: train.py:function."


@pytest.fixture
def settings(tmp_path):
    return Settings(cache=Cache(root=tmp_path))


def test_batches_in_memory_are_read_again_in_another_order_each_epoch(settings, tmp_path):
    torch = pytest.importorskip("torch")
    given = [(torch.full((2, 3), float(i)), torch.tensor([i, i])) for i in range(6)]
    training = training_of(
        {"batches": given, "loss": torch.nn.functional.cross_entropy, "held_out": given[:2], "epochs": 3}, settings
    )
    assert training.loss == "torch.nn.functional:cross_entropy"
    assert training.epochs == 3
    read = load_object(training.batches, tmp_path, "batches")
    orders = [[int(target[0]) for _, target in read(epoch)] for epoch in (0, 1, 0)]
    assert sorted(orders[0]) == list(range(6))
    assert orders[0] == orders[2] != orders[1]
    held_out = load_object(training.held_out, tmp_path, "held_out")
    assert [float(inputs[0][0, 0]) for inputs, _ in held_out()] == [0.0, 1.0]


def test_equal_batches_lie_in_one_folder(settings):
    given = (np.zeros((4, 2), "f4"), np.zeros(4, "i8"))
    made = [training_of({"batches": given, "loss": "train.py:loss"}, settings).batches for _ in range(2)]
    assert made[0] == made[1]


def test_a_function_of_a_module_is_named_and_text_stays_text(settings):
    made = training_of({"batches": "train.py:batches", "loss": np.mean}, settings)
    assert (made.batches, made.loss) == ("train.py:batches", "numpy:mean")


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (
            {"batches": [], "losses": "x"},
            UsageError,
            "training has the keys losses; expected batches, loss, epochs, held_out.",
        ),
        ({}, UsageError, "training has no batches and no loss. Give both, as [training] in a task file does."),
        (
            {"batches": [], "loss": "a:b"},
            DataError,
            "training batches in memory is empty: expected at least one batch (inputs, target).",
        ),
        (
            {"batches": [3], "loss": "a:b"},
            DataError,
            "training batches: batch 0 is a int; expected a pair (inputs, target).",
        ),
    ],
    ids=["key", "missing", "empty", "no pair"],
)
def test_wrong_training_is_refused(given, error, message, settings):
    with pytest.raises(error) as caught:
        training_of(given, settings)
    assert caught.value.message == message


def test_what_no_worker_can_reach_is_a_usage_error():
    def inner():
        return 0

    with pytest.raises(UsageError) as caught:
        function_reference(inner, "training loss")
    assert caught.value.message == (
        f"training loss: the function {inner.__qualname__} lives in {__name__} only, and training runs in another "
        f"process that cannot reach it. {HOW}"
    )
    with pytest.raises(UsageError) as caught:
        function_reference(functools.partial(np.mean), "training loss")
    assert caught.value.message == f"training loss is of type partial; expected a function of a module. {HOW}"
