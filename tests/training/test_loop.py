"""Training can be killed anywhere and goes on as if nothing had happened."""

from __future__ import annotations

import re

import pytest

from edgekit.errors import TechniqueError
from edgekit.training import loop
from edgekit.training.checkpoint import read_checkpoint, write_checkpoint
from edgekit.training.loop import Run, TrainingObjective, train
from edgekit.training.schedule import Schedule
from edgekit.training.training_data import TrainingData
from edgekit.workers.worker import silent

SCHEDULE = Schedule(epochs=3, learning_rate=0.05)


def batches(epoch):
    """Two clusters, drawn from the global generator: what user code does."""
    import torch

    for _ in range(12):
        target = torch.randint(0, 2, (16,))
        yield (torch.randn(16, 4) + 1.5 * target[:, None],), target


def data(**changes):
    import torch

    return TrainingData(**{"batches": batches, "loss": torch.nn.functional.cross_entropy, **changes})


def objective(loss=None):
    import torch

    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

    def taught(inputs, target):
        # What the loss draws at random must come again after an interruption, too.
        return torch.nn.functional.cross_entropy(net(torch.nn.functional.dropout(inputs[0], 0.1)), target)

    return TrainingObjective(module=net, loss=loss or taught, predict=lambda inputs: net(*inputs), name="test")


def run(tmp_path=None, **changes):
    checkpoint = tmp_path / "a.ckpt" if tmp_path else None
    return Run(**{"checkpoint": checkpoint, "key": "k", "progress": silent, **changes})


def weights(taught):
    return {name: tensor.clone() for name, tensor in taught.module.state_dict().items()}


def same(one, other):
    import torch

    return all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns_and_keeps_the_best_weights():
    taught = objective()
    trained = train(taught, data(), SCHEDULE, run())
    assert trained.best.accuracy > 0.85 > trained.before.accuracy
    assert loop.judge(taught, data(), data().held_out_batches(0)) == trained.best
    assert len(trained.history) == 3


def test_the_same_seed_gives_the_same_weights_and_another_one_others():
    first, second, third = objective(), objective(), objective()
    train(first, data(), SCHEDULE, run())
    train(second, data(), SCHEDULE, run())
    train(third, data(), SCHEDULE, run(seed=1))
    assert same(weights(first), weights(second))
    assert not same(weights(first), weights(third))


def test_a_run_that_stops_on_the_way_ends_as_one_that_does_not(tmp_path):
    whole, parts = objective(), objective()
    train(whole, data(), SCHEDULE, run())
    first = train(parts, data(), SCHEDULE, run(tmp_path, until=1))
    last = train(parts, data(), SCHEDULE, run(tmp_path))
    assert (len(first.history), len(last.history), last.resumed) == (1, 3, True)
    assert same(weights(whole), weights(parts))


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [5, 12, 20], ids=["in the first epoch", "between epochs", "in the second epoch"])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path, monkeypatch, at):
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)  # after every step
    whole, killed, again = objective(), objective(), objective()
    train(whole, data(), SCHEDULE, run())
    done = 0

    def until_killed(inputs, target):
        nonlocal done
        done += 1
        if done > at:
            raise KilledError
        return original(inputs, target)

    original = killed.loss
    stopped = TrainingObjective(module=killed.module, loss=until_killed, predict=killed.predict, name="test")
    with pytest.raises(KilledError):
        train(stopped, data(), SCHEDULE, run(tmp_path))
    result = train(again, data(), SCHEDULE, run(tmp_path))
    assert result.resumed
    assert same(weights(again), weights(whole))


def test_a_run_that_makes_it_worse_leaves_the_weights_as_they_were():
    taught = objective()
    before = weights(taught)
    wrong = TrainingObjective(
        module=taught.module, loss=lambda i, t: -taught.loss(i, t), predict=taught.predict, name="test"
    )
    trained = train(wrong, data(), SCHEDULE, run())
    assert trained.best == trained.before
    assert same(before, weights(taught))


def test_batches_that_are_yielded_without_gradients_train_all_the_same():
    import torch

    def without(epoch):
        with torch.no_grad():
            yield from batches(epoch)

    taught = objective()
    assert train(taught, data(batches=without), SCHEDULE, run()).best.accuracy > 0.85
    torch.set_grad_enabled(True)


def test_progress_tells_loss_and_metric():
    reported = []
    train(objective(), data(), SCHEDULE, run(progress=lambda phrase, share: reported.append((phrase, share))))
    assert re.fullmatch(r"epoch 1 of 3: loss \d\.\d{3}", reported[0][0])
    assert re.fullmatch(r"epoch 3 of 3: loss \d\.\d{3}, held-out accuracy \d+\.\d %", reported[-2][0])
    assert reported[-1][1] == 1.0


def test_a_loss_that_is_no_number_ends_the_run():
    net = objective().module
    message = "test: the training loss is nan at step 0 of epoch 0. Give a smaller learning_rate than 0.05."
    wrong = TrainingObjective(
        module=net, loss=lambda i, _: net(*i).sum() * float("nan"), predict=lambda i: net(*i), name="test"
    )
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        train(wrong, data(), SCHEDULE, run())


def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(tmp_path):
    path = tmp_path / "a.ckpt"
    assert read_checkpoint(path, "k") is None
    write_checkpoint(path, "k", {"epoch": 1})
    assert read_checkpoint(path, "k") == {"epoch": 1}
    assert read_checkpoint(path, "other") is None
    sound, told = path.read_bytes(), []
    for damaged in (b"", sound[:40], sound[:-1], bytes([*sound[:500], sound[500] ^ 1, *sound[501:]])):
        path.write_bytes(damaged)
        assert read_checkpoint(path, "k", lambda phrase, _: told.append(phrase)) is None
    assert told == ["a.ckpt of an earlier run is damaged: training starts anew"] * 4
    assert [item.name for item in tmp_path.iterdir()] == ["a.ckpt"]


def test_weight_decay_spares_biases_and_rates_follow_the_size_of_weights_that_are_no_logarithms():
    import torch

    net = torch.nn.Linear(2, 2)
    weight, bias = loop._optimizer(list(net.parameters()), SCHEDULE).param_groups
    assert (weight["weight_decay"], weight["factor"]) == (SCHEDULE.weight_decay, 1.0)
    assert (bias["weight_decay"], bias["factor"]) == (0.0, 1.0)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        net.bias.zero_()
    relative = Schedule(epochs=1, learning_rate=1e-3, optimizer="adamw", relative=True)
    adam = loop._optimizer(list(net.parameters()), relative)
    assert isinstance(adam, torch.optim.AdamW)
    assert [group["factor"] for group in adam.param_groups] == [2.5, 1e-3]
    net.weight.is_log = True
    assert loop._optimizer([net.weight], relative).param_groups[0]["factor"] == 1.0
