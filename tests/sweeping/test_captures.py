"""Several models in one job: each stage as fresh as in a process of its own, a failure is one model's alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import ConfigError
from edgekit.exporting.inputs import read_inputs
from edgekit.pipeline.settings import Settings
from edgekit.sweeping.captures import CAPTURE, Capture, CapturesRequest, ModelToCapture, capture_in_worker
from edgekit.sweeping.task_text import TaskText, read_request
from edgekit.workers.worker import JobOptions, run_job, silent

# Every call of a function counts: in a process that has run user code before, models and data would be other ones.
NET = """
import torch
from torch import nn

calls = []


def build(width=4):
    calls.append(width)
    torch.manual_seed(len(calls))
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 1 + len(calls))).eval()


def unseeded():
    return nn.Linear(6, 2).eval()


def example_inputs():
    return (torch.zeros(1, 6),)


def evaluation():
    calls.append(0)
    return [((torch.linspace(0, len(calls), 48).reshape(8, 6),), torch.zeros(8, dtype=torch.int64))]
"""

CONFIG = """
[model]
source = "net.py:build"
example_inputs = "net.py:example_inputs"
[data]
evaluation = "net.py:evaluation"
metric = "agreement"
"""


def model(folder: Path, source: str, device: str = "pi4") -> ModelToCapture:
    task = TaskText(source=source, config=folder / "edgekit.toml", folder=folder, timeout_s=300.0)
    return ModelToCapture(name=source, task=task, device=device, formats=("onnx",), as_torch=False)


def test_a_model_that_cannot_be_captured_is_a_failure_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text("[model]\nsource = 3\n")
    request = CapturesRequest(models=(model(tmp_path, "a.onnx"), model(tmp_path, "b.onnx")))
    found = capture_in_worker(request, silent).found
    assert [(one.name, one.inputs) for one in found] == [("a.onnx", None), ("b.onnx", None)]
    assert all(one.failure is not None and isinstance(one.failure.exception(), ConfigError) for one in found)


@pytest.mark.runtime
@pytest.mark.filterwarnings("ignore")  # torch warns while it exports
def test_models_of_one_job_are_captured_as_each_is_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "edgekit.toml").write_text(CONFIG)
    sources = ("net.py:build", "net.py:build(width=8)", "net.py:nothing", "net.py:unseeded", "net.py:unseeded()")
    request = CapturesRequest(models=tuple(model(tmp_path, source) for source in sources))
    found = run_job(CAPTURE, request, JobOptions(title="captures", timeout_s=600.0)).value.found
    assert [one.name for one in found] == list(sources)
    assert [one.failure is None for one in found] == [True, True, False, True, True]
    assert digests(found[3])[0] != digests(found[4])[0]  # each draws weights of its own
    for one, requested in zip(found[:2], request.models[:2], strict=True):
        task = read_request(requested.task, requested.device, None, None, ()).task
        alone = read_inputs(task, requested.formats, Settings())
        assert digests(one) == (alone.model.digest, alone.evaluation and alone.evaluation.sha256)


def digests(capture: Capture) -> tuple[str | None, ...]:
    assert capture.inputs is not None
    return capture.inputs.digests()["model"], capture.inputs.digests()["evaluation"]
