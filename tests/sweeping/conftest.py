"""A sweep without frameworks: stages' requests are made, results are made up, rows are written as workers do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgekit.budget import Limit
from edgekit.checks import judge
from edgekit.engines.engine import Ended, Engine, Work
from edgekit.errors import EdgekitError
from edgekit.exporting.stored_inputs import CapturedInputs, Failure
from edgekit.model import CapturedModel
from edgekit.sweeping.captures import Capture, Captures
from edgekit.sweeping.jobs import JudgedRows, MadeArtifacts
from edgekit.sweeping.matrix import ModelEntry, Point
from edgekit.sweeping.rows import read_rows, write_row
from edgekit.sweeping.stages import SweepPlan
from edgekit.sweeping.task_text import TaskText


def captured(digest: str) -> CapturedInputs:
    model = CapturedModel(
        name="net", source="net.py:build", source_kind="torch", kind="pt2", path=Path("net.pt2"), inputs=(), outputs=(),
        digest=digest, parameters=1, macs=1, family="cnn", family_evidence="",
    )  # fmt: skip
    return CapturedInputs(
        model=model, torch_model=model, torch_failure=None, calibration=None, evaluation=None, reference=None
    )


class MadeUpEngine(Engine):
    """Ends one job a wait: captures give a digest, judgements write their rows.

    `fails` maps the start of a job's name to why it fails; `broken` names models that cannot be captured, and why.
    """

    def __init__(
        self,
        slots: int = 2,
        digest: str = "d",
        fails: dict[str, EdgekitError] | None = None,
        broken: dict[str, EdgekitError] | None = None,
    ) -> None:
        super().__init__(slots)
        self.digest = digest
        self.fails = fails or {}
        self.broken = broken or {}
        self.interrupt_after: int | None = None
        self.writes = True
        self.dies_after = 99
        self.queue: list[Work] = []
        self.done: list[str] = []
        self.cancelled = 0

    def submit(self, work: Work) -> None:
        self.queue.append(work)

    def wait(self, timeout_s: float | None) -> tuple[Ended, ...]:
        if self.interrupt_after is not None and len(self.done) >= self.interrupt_after:
            raise KeyboardInterrupt
        work = self.queue.pop(0)
        self.done.append(work.name)
        error = next((error for start, error in self.fails.items() if work.name.startswith(start)), None)
        value = self._value(work) if error is None or self.dies_after < 99 else None
        return (Ended(name=work.name, error=error, value=None if error else value, wall_s=1.0),)

    def _value(self, work: Work) -> Any:
        if work.name.startswith("capture"):
            return Captures(found=tuple(map(self._capture, (model.name for model in work.request.models))))
        if work.name.startswith("make"):
            return MadeArtifacts(made=1, converted=1)
        size = judge("size", 5.0, Limit(name="size", value=10.0, source="test"), runtime="tflite")
        rows = [replace(row, status="judged", made="int8-static", checks=(size,)) for row in work.request.rows]
        for row in rows[: self.dies_after] if self.writes else ():
            write_row(work.request.folder, row)
        return JudgedRows(rows=tuple(rows), written=self.writes)

    def _capture(self, name: str) -> Capture:
        if name in self.broken:
            return Capture(name=name, failure=Failure.of(self.broken[name]))
        return Capture(name=name, inputs=captured(f"{self.digest} capture {name}"))

    def cancel(self) -> None:
        self.cancelled += 1


@pytest.fixture
def plan_of(tmp_path: Path) -> Callable[[], SweepPlan]:
    """Returns what makes the plan of 2 models on 2 devices in 2 formats, with the rows that are there."""
    models = [ModelEntry(name=name, source=name, config=None, folder=tmp_path) for name in ("a", "b")]
    points = tuple(
        Point(model=model, device=device, format=name, precision="int8", pipeline=(), effort="quick")
        for model in models
        for device in ("pi4", "pixel8")
        for name in ("tflite", "onnx")
    )

    def make() -> SweepPlan:
        return SweepPlan(
            points=points,
            tasks={m.name: TaskText(source=m.source, config=None, folder=tmp_path, timeout_s=60.0) for m in models},
            devices={"pi4": "pi4.toml", "pixel8": "pixel8.toml"},
            facts={(model.name, device): "facts" for model in models for device in ("pi4", "pixel8")},
            code="code",
            folder=tmp_path,
            known=read_rows(tmp_path),
        )

    return make


@pytest.fixture
def engine() -> type[MadeUpEngine]:
    return MadeUpEngine
