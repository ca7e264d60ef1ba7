"""Training without labels: calibration inputs with the float model's outputs, through every technique that trains."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import TechniqueError
from edgekit.pipeline.settings import Settings
from edgekit.pipeline.technique_stage import apply_technique, apply_techniques
from edgekit.recipe import Step
from edgekit.samples import write_samples
from edgekit.task.task import Task
from edgekit.techniques.unlabelled import epochs_for, imitation_data
from edgekit.workers.cache import Cache
from edgekit.workers.worker import JobResult

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns while it exports

COUNT = 40


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    random = np.random.default_rng(0)
    rows = ((random.standard_normal((1, 3, 16, 16)).astype("f4"),) for _ in range(COUNT))
    return write_samples(tmp_path_factory.mktemp("images"), ["x"], rows)


@pytest.fixture
def jobs(monkeypatch):
    """Jobs run here, which costs a tenth of a worker process; returns their requests."""
    ran = []

    def run(self, title, job, request, progress, **_):
        ran.append(request)
        return JobResult(value=job.work(request, progress), wall_s=0.0, cpu_s=0.0, peak_memory_bytes=0)

    monkeypatch.setattr(Settings, "run", run)
    return ran


def outputs(model, images):
    import torch

    module = torch.export.load(model.path).module(check_guards=False)
    with torch.no_grad():
        return np.concatenate([module(torch.from_numpy(x.copy())).numpy() for (x,) in images.rows()])


def test_targets_are_the_float_models_outputs_and_cost_nothing(tiny, images):
    import torch

    model = tiny("convolutions").model
    data = imitation_data(images, model, "logits")
    right = torch.from_numpy(outputs(model, images))
    batches = list(data.epoch(0, seed=0))
    shown = torch.cat([inputs[0] for inputs, _ in batches])
    targets = torch.cat([target[0] for _, target in batches])
    assert len(shown) == COUNT - COUNT // 8
    places = [
        int((torch.from_numpy(images.arrays()[0].copy()) == image).flatten(1).all(1).nonzero()) for image in shown
    ]
    assert sorted(places) == [row for row in range(COUNT) if row % 8 != 7]
    torch.testing.assert_close(targets, right[places], rtol=1e-4, atol=1e-5)
    assert float(data.loss_of(right[places], (targets,))) == pytest.approx(0.0, abs=1e-6)
    assert float(data.loss_of(-10 * right[places], (targets,))) > 1e-2
    held_out = torch.cat([inputs[0] for inputs, _ in data.held_out_batches(0)])
    assert torch.equal(held_out, torch.from_numpy(images.arrays()[0][7::8].copy()))


def test_an_epoch_has_an_order_of_its_own_that_a_seed_repeats(tiny, images):
    import torch

    data = imitation_data(images, tiny("convolutions").model, "logits")
    first, again, other = (next(iter(data.epoch(number, seed=0)))[0][0] for number in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("count", "epochs"), [(32, 60), (400, 10), (4000, 1), (100_000, 1)])
def test_few_samples_are_shown_more_often(count, epochs):
    assert epochs_for(count, None) == epochs
    assert epochs_for(count, 400_000_000) == epochs


@pytest.mark.parametrize(("macs", "epochs"), [(1, 30), (41_666_666, 30), (62_500_000, 20), (125_000_000, 10)])
def test_small_networks_are_shown_more(macs, epochs):
    assert epochs_for(400, macs) == epochs


def test_too_few_samples_are_refused(tiny, tmp_path):
    few = write_samples(tmp_path / "few", ["x"], ((np.zeros((1, 3, 16, 16), "f4"),) for _ in range(8)))
    message = (
        "Training without labels needs at least 32 calibration samples that can be stacked to batches; these are 8 "
        "samples of the inputs x. Give more, or give [training] batches and loss."
    )
    with pytest.raises(TechniqueError, match=f"^{re.escape(message)}$"):
        imitation_data(few, tiny("convolutions").model, "logits")


@pytest.mark.parametrize(
    "step",
    [
        Step(technique="qat", settings={"epochs": 1}),
        Step(technique="prune_channels", settings={"ratio": 0.5, "multiple": 1, "epochs": 1}),
        Step(technique="lora_recovery", settings={"rank": 2, "epochs": 1}),
        Step(technique="distill", settings={"student": "self", "epochs": 1}),
    ],
    ids=lambda step: step.technique,
)
def test_every_technique_that_trains_does_so_without_labels(tiny, images, tmp_path, jobs, step):
    task = Task(model="n", base=tmp_path, calibration="data.py:f", metric="agreement")
    model = tiny("convolutions").model
    settings = Settings(cache=Cache(root=tmp_path / "cache"))
    made = apply_technique(model, step, images, settings, task)
    if step.technique != "lora_recovery":
        # A model that imitates itself has nothing to recover: whether rounding moves a weight depends on the processor.
        assert made.model.digest != model.digest
    (request,) = jobs
    assert (request.training, request.teacher, request.imitated) == (None, model, "logits")
    assert apply_technique(model, step, images, settings, task).cached


def test_a_pipeline_imitates_the_model_as_it_was_captured(tiny, images, tmp_path, jobs):
    task = Task(model="n", base=Path(tmp_path), calibration="data.py:f", metric="mae")
    model = tiny("convolutions").model
    steps = (
        Step(technique="prune_channels", settings={"ratio": 0.5, "multiple": 1, "epochs": 1}),
        Step(technique="qat", settings={"epochs": 1}),
    )
    apply_techniques(model, steps, images, Settings(cache=Cache(root=tmp_path / "cache")), task)
    assert [(request.teacher.digest, request.imitated) for request in jobs] == [(model.digest, "embeddings")] * 2
    assert jobs[1].model.digest != model.digest
