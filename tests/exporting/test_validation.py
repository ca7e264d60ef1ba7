"""Which model and which data an artifact is judged with, with fakes in the place of workers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgekit.budget import Budget
from edgekit.exporting import validation
from edgekit.exporting.artifact_data import ArtifactData
from edgekit.pipeline.settings import Settings
from edgekit.task.task import Task
from edgekit.workers.cache import Cache


@pytest.fixture
def judged_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Validates an artifact of the embedded default and returns the task that it was judged with."""
    seen: list[Task] = []
    artifact = SimpleNamespace(runtime="onnx", metadata={validation.DEFAULT_KEY: "true"})

    def read_inputs(task: Task, *_rest: Any, **_more: Any) -> None:
        seen.append(task)

    monkeypatch.setattr(validation, "_find", lambda *_: SimpleNamespace(artifact=artifact))
    monkeypatch.setattr(validation, "read_inputs", read_inputs)
    monkeypatch.setattr(validation, "_against_model", lambda *_: "report")
    monkeypatch.setattr(validation, "with_imported", lambda report, *_: report)

    def validate(data: ArtifactData | None) -> Task:
        validation.validate(
            tmp_path / "net.onnx", None, device="pi4", budget=Budget(), cwd=tmp_path, data=data,
            settings=Settings(cache=Cache(root=tmp_path / "cache")),
        )  # fmt: skip
        return seen[-1]

    return validate


def test_an_artifact_of_the_embedded_default_is_judged_on_the_data_that_was_given(
    judged_with: Any, tmp_path: Path
) -> None:
    own = judged_with(None)
    assert own.embedded_default
    given = judged_with(ArtifactData(base=tmp_path, evaluation="rows.npz", metric="top1"))
    assert (given.model, given.embedded_default) == (own.model, True)
    assert (given.evaluation, given.metric, given.base) == ("rows.npz", "top1", tmp_path)
    assert (given.calibration, given.example_inputs) == (own.calibration, own.example_inputs)


def test_without_data_it_is_judged_on_its_own(judged_with: Any, tmp_path: Path) -> None:
    assert judged_with(ArtifactData(base=tmp_path)) == judged_with(None)
