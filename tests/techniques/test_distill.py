"""Students learn from teachers, from each other, and through networks in between."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from edgekit.errors import TechniqueError
from edgekit.profiles.profile import find_profile
from edgekit.task.task import Task, Training
from edgekit.techniques.base import Context
from edgekit.techniques.distill import Distill
from edgekit.training.training_data import TrainingData

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

NETS = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width)
        self.head = nn.Linear(width, classes)
    def forward(self, image):
        return self.head(torch.relu(self.norm(self.conv(image))).mean((2, 3)))

def small(width=4):
    return Net(width, 10)

def wide(width=4):
    return Net(width, 9)

def seeded(width=4):
    torch.manual_seed(0)
    return Net(width, 10)

def nothing():
    return 3
"""


@pytest.fixture
def setting(tiny, tmp_path):
    """Returns (the teacher, a function from folder to context): rows that only the teacher knows the classes of."""
    import torch

    given = tiny("convolutions")
    teacher = torch.export.load(given.model.path).module(check_guards=False)
    (tmp_path / "nets.py").write_text(NETS)

    def batches(epoch):
        for _ in range(4):
            images = torch.randn(8, 3, 16, 16)
            yield (images,), torch.cat([teacher(image[None]) for image in images]).argmax(1)

    data = TrainingData(batches=batches, loss=torch.nn.functional.cross_entropy)
    reported = []
    context = Context(
        samples=None,
        scratch=tmp_path / "scratch",
        progress=lambda phrase, share=None: reported.append(phrase),
        training=data,
        base=tmp_path,
        checkpoints=tmp_path / "kept",
    )
    return given.model, context, reported


@pytest.mark.parametrize(
    "settings",
    [
        {"student": "nets.py:small", "width": 6, "feature_share": 0.5},
        {"student": "nets.py:seeded", "mode": "online"},
        {"student": "pruned", "ratio": 0.85},
    ],
    ids=["offline, with features", "online, from one seed", "pruned"],
)
def test_a_student_takes_the_models_place(setting, tmp_path, settings):
    import torch

    model, context, _ = setting
    made = Distill(**settings, learning_rate=0.01).run(model, context, tmp_path / "out")
    assert (made.inputs, made.outputs) == (model.inputs, model.outputs)
    assert made.parameters < model.parameters
    if "width" in settings:
        assert torch.export.load(made.path).state_dict["conv.weight"].shape[0] == 6
    names = [str(node.target) for node in torch.export.load(made.path).graph.nodes]
    assert not any("batch_norm" in name for name in names)


def test_a_far_smaller_student_is_taught_by_one_in_between(setting, tmp_path, monkeypatch):
    from edgekit.techniques import distillation

    model, context, _ = setting
    taught = []

    def teach(technique, model, teacher, context, run):
        taught.append((technique.width, teacher is model or teacher, run))
        return original(technique, model, teacher, context, run)

    original = distillation.teach
    monkeypatch.setattr(distillation, "teach", teach)
    made = Distill(student="nets.py:small", width=2, teacher_width=8).run(model, context, tmp_path / "out")
    assert [(width, run) for width, _, run in taught] == [(4.0, "student-0"), (2, "student-1")]
    assert taught[1][1] is not True
    assert made.parameters < model.parameters / 4


def test_a_student_that_is_no_smaller_is_refused(setting, tmp_path):
    model, context, _ = setting
    pattern = (
        r"^distill: nets\.py:small has [\d,]+ weights and its teacher convolutions\.py:build [\d,]+\. A student "
        r"must be smaller: give a smaller width or depth\.$"
    )
    with pytest.raises(TechniqueError, match=pattern):
        Distill(student="nets.py:small", width=400).run(model, context, tmp_path / "out")


@pytest.mark.parametrize(
    ("student", "message"),
    [
        pytest.param(
            "nets.py:wide",
            "nets.py:wide returned a network with the outputs [((1, 9), 'torch.float32')]; expected "
            "[((1, 10), 'torch.float32')], as convolutions.py:build has them.",
            id="other outputs",
        ),
        pytest.param("nets.py:nothing", "nets.py:nothing returned a int; expected a torch.nn.Module.", id="no network"),
    ],
)
def test_a_student_that_does_not_fit_is_named(setting, student, message):
    from edgekit.techniques.base import TorchModel
    from edgekit.techniques.user_network import capture_user_network
    from edgekit.torch_program.program_archive import load_program

    model, context, _ = setting
    opened = TorchModel(facts=model, program=load_program(model.path, model.source))
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        capture_user_network(opened, student, context, {})


@pytest.mark.parametrize(
    ("settings", "family", "reason"),
    [
        ({"student": "small"}, "cnn", 'student="small"; expected file.py:function, pruned or self'),
        (
            {},
            "rnn",
            "a recurrent model's captured graph cannot be trained in batches; give student=file.py:function",
        ),
        (
            {"temperature": 0},
            "cnn",
            "ratio=0.25, teacher_share=0.9 and temperature=0: expected between 0 and 1, 0 to 1, and more than 0",
        ),
        (
            {"mode": "online"},
            "cnn",
            "mode=online needs student=file.py:function: two students must be made that differ",
        ),
    ],
    ids=["student", "recurrent", "temperature", "online"],
)
def test_wrong_settings_are_refused_before_any_work(tiny, settings, family, reason):
    task = Task(model="net.py:build", base=Path(), training=Training(batches="t.py:b", loss="t.py:l"))
    model = replace(tiny("convolutions").model, family=family)
    assert Distill(**settings).why_not_usable(model, task, find_profile("pi4", Path())) == reason
