"""What user code gives is checked where it comes in."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edgekit.errors import DataError
from edgekit.task.task import Training
from edgekit.training.training_data import TrainingData, fingerprint, open_training

TRAIN = """
import numpy as np
import torch

def batches(epoch):
    for _ in range(3):
        yield (np.random.rand(2, 3).astype(np.float32),), torch.randint(0, 2, (2,))

def held_out():
    yield (torch.ones(1, 3),), torch.zeros(1)

def loss(output, target):
    return (output - target).mean()
"""


def test_functions_of_a_task_are_loaded(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    data = open_training(Training(batches="train.py:batches", loss="train.py:loss", epochs=4), tmp_path)
    ((first,), _), *_ = items = list(data.epoch(0, 0))
    assert (len(items), data.length(0), data.epochs) == (3, 3, 4)
    assert tuple(first.shape) == (2, 3)
    assert len(data.held_out_batches(0)) == 3
    named = open_training(
        Training(batches="train.py:batches", loss="train.py:loss", held_out="train.py:held_out"), tmp_path
    )
    assert len(named.held_out_batches(0)) == 1


def test_batches_depend_on_seed_and_epoch_alone(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    data = open_training(Training(batches="train.py:batches", loss="train.py:loss"), tmp_path)

    def first(epoch, seed):
        return next(iter(data.epoch(epoch, seed)))[0][0].numpy()

    np.testing.assert_array_equal(first(1, 0), first(1, 0))
    assert not np.array_equal(first(1, 0), first(2, 0))
    assert not np.array_equal(first(1, 0), first(1, 7))


def test_the_fingerprint_follows_data_and_code(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    training = Training(batches="train.py:batches", loss="train.py:loss")
    (tmp_path / "one" / "train.py").write_text(TRAIN)
    (tmp_path / "two" / "train.py").write_text(TRAIN.replace("range(3)", "range(4)"))
    one = fingerprint(training, tmp_path / "one", 0)
    assert one == fingerprint(training, tmp_path / "one", 0, ["train.py:held_out"])
    assert one != fingerprint(training, tmp_path / "two", 0)
    assert one != fingerprint(training, tmp_path / "one", 1)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        pytest.param(3, "batches: batch 0 is a int; expected a pair (input tuple, target).", id="no pair"),
        pytest.param(
            (("a",), 1), "batches: batch 0: input 0 is a str; expected a tensor (batch, ...).", id="no tensor"
        ),
        pytest.param(
            ((np.array([np.nan], np.float32),), 1),
            "batches: batch 0: input 0 has NaN or infinite values. Check the preprocessing.",
            id="nan",
        ),
    ],
)
def test_a_wrong_batch_is_named(item, message):
    data = TrainingData(batches=lambda _: [item], loss=lambda o, t: o)
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        list(data.epoch(0, 0))


def test_an_empty_epoch_is_named():
    data = TrainingData(batches=lambda _: [], loss=lambda o, t: o)
    message = "batches: epoch 0 has no batches. Yield (input tuple, target) at least once."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        data.length(0)


@pytest.mark.parametrize(
    ("loss", "came"),
    [(lambda o, t: 1.5, "float"), (lambda o, t: o, "a tensor of shape (2, 3)")],
    ids=["number", "not reduced"],
)
def test_a_loss_that_is_no_scalar_is_named(loss, came):
    import torch

    message = f"The training loss returned {came}; expected a scalar tensor. Average over the batch."
    with pytest.raises(DataError, match=f"^{re.escape(message)}$"):
        TrainingData(batches=lambda _: [], loss=loss).loss_of(torch.zeros(2, 3), None)


def test_a_failing_loss_is_reported_by_the_users_words():
    def loss(output, target):
        raise KeyError("weights")

    with pytest.raises(DataError, match=r"^The training loss failed:\n(.|\n)*KeyError: 'weights'$"):
        TrainingData(batches=lambda _: [], loss=loss).loss_of(1, 2)
