"""Low-rank updates win back what pruning took, and leave nothing in the graph."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TechniqueError
from edgekit.profiles.profile import find_profile
from edgekit.task.task import Task, Training
from edgekit.techniques.base import Context
from edgekit.techniques.lora_recovery import LoraRecovery
from edgekit.training.training_data import TrainingData
from edgekit.workers.worker import silent

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports


def context(given, folder, loss=None, **changes):
    """Lessons whose targets are the tiny model's own outputs, plus one in each."""
    import torch

    teacher = torch.export.load(given.model.path).module(check_guards=False)

    def batches(epoch):
        for _ in range(10):
            images = torch.randn(8, 3, 16, 16)
            yield (images,), torch.cat([teacher(image[None]) for image in images]) * 1.3

    data = TrainingData(batches=batches, loss=loss or torch.nn.functional.mse_loss, epochs=2)
    return Context(samples=None, scratch=folder / "scratch", progress=silent, training=data, **changes)


def test_an_update_of_low_rank_brings_a_part_of_what_was_lost_back(tiny, tmp_path):
    import numpy as np
    import torch

    given = tiny("convolutions")
    technique = LoraRecovery(rank=2, learning_rate=0.01)
    made = technique.run(given.model, context(given, tmp_path), tmp_path / "out")
    before, after = (torch.export.load(item.path).state_dict for item in (given.model, made))
    assert before.keys() == after.keys()
    change = (after["head.weight"] - before["head.weight"]).double()
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == 2
    for name in after:
        if after[name].ndim == 1:
            torch.testing.assert_close(after[name], before[name], rtol=0, atol=0)
    off = [np.abs(given.outputs(model) - 1.3 * given.outputs()).mean() for model in (given.model, made)]
    assert off[1] < 0.8 * off[0]


def test_four_bits_leave_each_group_on_fifteen_levels(tiny, tmp_path):
    import torch

    given = tiny("attention")

    def batches(epoch):
        for _ in range(3):
            yield (torch.randint(0, 50, (4, 12)),), torch.zeros(4, 32)

    training_data = TrainingData(batches=batches, loss=torch.nn.functional.mse_loss)
    known = Context(samples=None, scratch=tmp_path / "s", progress=silent, training=training_data)
    technique = LoraRecovery(rank=2, bits=4, outputs="embeddings")
    made = technique.run(given.model, known, tmp_path / "out")
    weight = torch.export.load(made.path).state_dict["inner.weight"].reshape(-1, 32)
    levels = weight / (weight.abs().amax(1, keepdim=True) / 7)
    torch.testing.assert_close(levels.round(), levels, atol=1e-4, rtol=0)


def test_a_teacher_of_the_user_is_imitated(tiny, tmp_path):
    import numpy as np

    given = tiny("convolutions")
    (tmp_path / "net.py").write_text(
        "import torch\nclass Old(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        f"        self.inner = torch.export.load({str(given.model.path)!r}).module(check_guards=False)\n"
        "    def eval(self):\n        return self\n"
        "    def forward(self, image):\n        return 1.3 * self.inner(image)\n"
        "def build():\n    return Old()\n"
    )
    nothing = lambda output, target: output.sum() * 0  # noqa: E731  a loss that leaves all to the teacher
    technique = LoraRecovery(
        rank=2, teacher="net.py:build", teacher_share=1.0, learning_rate=0.01, outputs="embeddings"
    )
    made = technique.run(given.model, context(given, tmp_path, nothing, base=tmp_path), tmp_path / "out")
    off = [np.abs(given.outputs(model) - 1.3 * given.outputs()).mean() for model in (given.model, made)]
    assert off[1] < 0.8 * off[0]


def test_nothing_to_update_is_refused(tiny, tmp_path):
    given = tiny("convolutions")
    message = (
        "lora_recovery cannot be used on convolutions.py:build: it has no linear layer and no convolution with "
        "constant weights of more than rank=500 inputs and outputs."
    )
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        LoraRecovery(rank=500).run(given.model, context(given, tmp_path), tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "family", "reason"),
    [
        ({}, "rnn", "a recurrent model's captured graph cannot be trained in batches"),
        (
            {"rank": 0},
            "cnn",
            "rank=0, alpha=16 and group_size=32: expected at least 1, more than 0, and at least 1",
        ),
    ],
    ids=["recurrent", "rank"],
)
def test_wrong_settings_are_refused_before_any_work(tiny, settings, family, reason):
    task = Task(model="net.py:build", base=Path(), training=Training(batches="t.py:b", loss="t.py:l"))
    model = replace(tiny("convolutions").model, family=family)
    assert LoraRecovery(**settings).why_not_usable(model, task, find_profile("pi4", Path())) == reason
