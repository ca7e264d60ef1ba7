"""The stage that applies techniques: user code in a worker, results in the cache, training taken up again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.errors import WorkerError
from edgekit.pipeline.settings import DEFAULT_TIMEOUT_S, Settings
from edgekit.pipeline.technique_stage import TRAINING_TIMEOUT_S, apply_technique
from edgekit.recipe import Step
from edgekit.task.task import Task, Training
from edgekit.workers.cache import Cache
from edgekit.workers.worker import JobResult

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

TRAIN = """
import torch

def batches(epoch):
    for _ in range(2):
        yield (torch.randn(4, 3, 16, 16),), torch.zeros(4, 10)

def loss(output, target):
    return ((output - target - 1) ** 2).mean()
"""


@pytest.fixture
def jobs(monkeypatch):
    """Jobs run here, which costs a tenth of a worker process; returns their titles and time limits."""
    ran = []

    def run(self, title, job, request, progress, **_):
        ran.append((title, self.timeout_s))
        value = job.work(request, progress)
        return JobResult(value=value, wall_s=0.0, cpu_s=0.0, peak_memory_bytes=0)

    monkeypatch.setattr(Settings, "run", run)
    return ran


@pytest.fixture
def task(tmp_path):
    (tmp_path / "train.py").write_text(TRAIN)
    return Task(model="n", base=tmp_path, training=Training(batches="train.py:batches", loss="train.py:loss"))


STEP = Step(technique="lora_recovery", settings={"rank": 2})
READING, TRAINING = "reading of the training data", "technique lora_recovery"


def test_training_runs_in_jobs_once_for_the_same_data_and_has_days(tiny, tmp_path, jobs, task):
    model = tiny("convolutions").model
    settings = Settings(cache=Cache(root=tmp_path / "cache"))
    first = apply_technique(model, STEP, None, settings, task)
    assert first.model.digest != model.digest
    assert not first.cached
    assert apply_technique(model, STEP, None, settings, task) == replace(first, cached=True)
    assert jobs == [
        (READING, DEFAULT_TIMEOUT_S),
        (TRAINING, TRAINING_TIMEOUT_S),
        (READING, DEFAULT_TIMEOUT_S),
    ]
    assert list((tmp_path / "cache" / "training").iterdir()) == []


def test_an_interrupted_training_leaves_its_checkpoint_and_a_time_limit_of_the_user_stays(
    tiny, tmp_path, jobs, task, monkeypatch
):
    from edgekit.training import loop

    def killed(*_):
        raise WorkerError("The technique lora_recovery was killed.")

    monkeypatch.setattr(loop._Loop, "_finish_epoch", killed)
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY_S", -1.0)
    settings = Settings(cache=Cache(root=tmp_path / "cache"), timeout_s=60.0)
    with pytest.raises(WorkerError, match=r"^The technique lora_recovery was killed\.$"):
        apply_technique(tiny("convolutions").model, STEP, None, settings, task)
    (kept,) = (tmp_path / "cache" / "training").iterdir()
    assert [path.name for path in kept.iterdir()] == ["updates.ckpt"]
    assert jobs[-1] == (TRAINING, 60.0)
