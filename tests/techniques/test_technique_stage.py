"""The stage that applies techniques: user code in a worker, results in the cache, training taken up again."""

from __future__ import annotations

import os

import pytest

from edgekit.cache import Cache
from edgekit.pipeline import Settings
from edgekit.plan import Step
from edgekit.task import Task, Training
from edgekit.technique_stage import apply_technique

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

TRAIN = """
import os, torch
PID = {pid}

def batches(epoch):
    assert os.getpid() != PID, "user code ran in the parent"
    for _ in range(2):
        yield (torch.randn(4, 3, 16, 16),), torch.zeros(4, 10)

def loss(output, target):
    return ((output - target - {goal}) ** 2).mean()
"""


def test_training_runs_in_a_worker_once_for_the_same_data(tiny, tmp_path):
    model = tiny("convolutions").model
    (tmp_path / "train.py").write_text(TRAIN.format(pid=os.getpid(), goal=1))
    task = Task(model="n", base=tmp_path, training=Training(batches="train.py:batches", loss="train.py:loss"))
    told = []
    settings = Settings(
        cache=Cache(root=tmp_path / "cache"), progress=lambda stage, phrase, share=None: told.append((stage, phrase))
    )
    step = Step(technique="lora_recovery", settings={"rank": 2})
    first = apply_technique(model, step, None, settings, task)
    assert first.digest != model.digest
    assert list((tmp_path / "cache" / "training").iterdir()) == []
    made = first.path.stat().st_mtime_ns
    assert apply_technique(model, step, None, settings, task).path.stat().st_mtime_ns == made
    (tmp_path / "train.py").write_text(TRAIN.format(pid=os.getpid(), goal=2))
    assert apply_technique(model, step, None, settings, task).digest != first.digest
    assert ("lora_recovery", "looking at the training data") in told
