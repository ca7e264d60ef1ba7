"""The graph of a sweep: one capture a model, one artifact for all devices that share it, one judgement a row.

A row that lies in the folder under the digest of all that it depends on is done. What it depends on is known once its
model was captured, so a capture runs in every sweep: user code may have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, final

from edgekit.engines.engine import JOB_TIMEOUT_S, Ended, Work
from edgekit.engines.memory import CAPTURE_BYTES, judging_bytes, making_bytes
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.sweeping.jobs import (
    CAPTURE,
    JUDGE,
    MAKE,
    ArtifactRequest,
    CaptureRequest,
    JudgeRequest,
    TaskText,
    failed_row,
)
from edgekit.sweeping.matrix import Point
from edgekit.sweeping.rows import Row, row_of, row_path, write_row
from edgekit.sweeping.schedule import Found, Node
from edgekit.workers.cache import content_key
from edgekit.workers.worker import Job, JobOptions

_CAPTURE, _MAKE, _JUDGE = range(3)

UNKNOWN: Final = "unknown"
"""Digest of a row whose model could not be captured: it is never found done."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan:
    """What the jobs are made from.

    Attributes:
        points: One for each row.
        tasks: Model name to its task.
        devices: Device name to its profile file.
        facts: (Model name, device name) to a digest of all that the request of a row says.
        code: Digest of edgekit's code and of the versions of the tools.
        folder: The sweep's.
        known: Rows that lie there.
    """

    points: tuple[Point, ...]
    tasks: Mapping[str, TaskText]
    devices: Mapping[str, str]
    facts: Mapping[tuple[str, str], str]
    code: str
    folder: Path
    known: tuple[Row, ...] = ()

    def groups(self) -> dict[str, tuple[Point, ...]]:
        """Returns the points that share an artifact, by the name of the job that makes it."""
        found: dict[str, list[Point]] = {}
        for point in self.points:
            found.setdefault(_make_name(point), []).append(point)
        return {name: tuple(points) for name, points in found.items()}


def _capture_name(point: Point) -> str:
    return f"capture {point.model.name}"


def _make_name(point: Point) -> str:
    return f"make {' | '.join(point.group)}"


def _judge_name(point: Point) -> str:
    return f"judge {point.key}"


def graph(plan: SweepPlan) -> tuple[Node, ...]:
    """Returns the jobs, and what each needs."""
    captures = dict.fromkeys(map(_capture_name, plan.points))
    return (
        *(Node(name=name, rank=_CAPTURE) for name in captures),
        *(Node(name=name, rank=_MAKE, needs=(_capture_name(points[0]),)) for name, points in plan.groups().items()),
        *(
            Node(name=_judge_name(point), rank=_JUDGE, needs=(_capture_name(point), _make_name(point)))
            for point in plan.points
        ),
    )


@final
@dataclass(slots=True)
class Tally:
    """How far a device's rows are."""

    total: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cached: int = 0

    @property
    def over(self) -> int:
        """Rows that are there."""
        return self.done + self.failed + self.cached

    @property
    def phrase(self) -> str:
        """In words, for a live table."""
        counts = ((self.done, "done"), (self.running, "running"), (self.failed, "failed"), (self.cached, "cached"))
        shown = [f"{count} {word}" for count, word in counts if count]
        return ", ".join([*shown, f"{self.total - self.over} left"])


Report = Callable[[str, Tally], None]
"""Called with (device, how far its rows are) whenever that changes."""


@final
class SweepStages:
    """What `schedule.drive` runs for a sweep.

    Attributes:
        tallies: Device to how far its rows are.
        captured: Models that were captured.
        converted: Artifacts that were converted and not found in the cache.
    """

    def __init__(self, plan: SweepPlan, report: Report = lambda _device, _tally: None) -> None:
        self._plan = plan
        self._report = report
        self._points = {_judge_name(point): point for point in plan.points}
        self._groups = plan.groups()
        self._by_model: dict[str, list[Point]] = {}
        for point in plan.points:
            self._by_model.setdefault(_capture_name(point), []).append(point)
        self._done = {(row.point, row.digest) for row in plan.known if row.stands}
        self._digests: dict[str, str] = {}
        self.tallies: dict[str, Tally] = {}
        for point in plan.points:
            self.tallies.setdefault(point.device, Tally()).total += 1
        self.captured = 0
        self.converted = 0
        self._running: set[str] = set()

    def prepare(self, name: str, results: Mapping[str, Any]) -> Work | Found:
        """Returns the job, or that its rows are there already."""
        if name in self._by_model:
            return self._capture(name, self._by_model[name])
        if name in self._groups:
            points = self._groups[name]
            inputs: CapturedInputs = results[_capture_name(points[0])]
            missing = [point for point in points if not self._is_done(point, inputs)]
            if not missing:
                return Found()
            memory = making_bytes(inputs.model)
            return _work(name, "making of an artifact", MAKE, self._artifact(missing, inputs), memory)
        point = self._points[name]
        inputs = results[_capture_name(point)]
        if self._is_done(point, inputs):
            return Found()
        row = row_of(point, self._digests[point.key], status="failed")
        request = JudgeRequest(artifact=self._artifact([point], inputs), row=row, folder=self._plan.folder)
        return _work(name, f"judgement of {point.title}", JUDGE, request, judging_bytes(inputs.model))

    def started(self, name: str) -> None:
        """Counts a row as running."""
        if (point := self._points.get(name)) is not None:
            self._running.add(name)
            self.tallies[point.device].running += 1
            self._tell(point.device)

    def ended(self, name: str, ended: Ended, *, found: bool) -> None:
        """Counts what has ended, and writes the row of what could not write its own."""
        if (point := self._points.get(name)) is not None:
            self._row_ended(point, ended, found=found)
        elif not found and ended.error is None:
            self.captured += name in self._by_model
            self.converted += ended.value.converted if name in self._groups else 0

    def _row_ended(self, point: Point, ended: Ended, *, found: bool) -> None:
        tally = self.tallies[point.device]
        if ended.name in self._running:  # else another job's failure ended it before it began
            self._running.remove(ended.name)
            tally.running -= 1
        if ended.error is not None:
            row = row_of(point, self._digests.get(point.key, UNKNOWN), status="failed")
            write_row(self._plan.folder, failed_row(row, ended.error))
        elif not found and not row_path(self._plan.folder, ended.value.row).exists():
            write_row(self._plan.folder, ended.value.row)  # it was judged on another machine
        failed = ended.error is not None or (not found and ended.value.row.status == "failed")
        tally.cached += found
        tally.failed += failed
        tally.done += not found and not failed
        self._tell(point.device)

    def _tell(self, device: str) -> None:
        self._report(device, self.tallies[device])

    def _is_done(self, point: Point, inputs: CapturedInputs) -> bool:
        return (point.key, self._digest(point, inputs)) in self._done

    def _digest(self, point: Point, inputs: CapturedInputs) -> str:
        """Returns the digest of all that a row depends on."""
        known = self._digests.get(point.key)
        if known is None:
            known = self._digests[point.key] = content_key({
                "point": point.axes(),
                "request": self._plan.facts[point.model.name, point.device],
                "inputs": inputs.digests(),
                "code": self._plan.code,
            })  # fmt: skip
        return known

    def _capture(self, name: str, points: Sequence[Point]) -> Work:
        first = points[0]
        request = CaptureRequest(
            task=self._plan.tasks[first.model.name],
            device=self._plan.devices[first.device],
            formats=tuple(dict.fromkeys(point.format for point in points)),
            as_torch=any(point.pipeline for point in points),
        )
        return _work(name, f"capture of {first.model.name}", CAPTURE, request, CAPTURE_BYTES)

    def _artifact(self, points: Sequence[Point], inputs: CapturedInputs) -> ArtifactRequest:
        first = points[0]
        return ArtifactRequest(
            task=self._plan.tasks[first.model.name],
            inputs=inputs,
            devices=tuple(self._plan.devices[point.device] for point in points),
            format=first.format,
            precision=first.precision,
            pipeline=first.pipeline,
            effort=first.effort,
        )


def _work(name: str, title: str, job: Job[Any, Any], request: Any, memory_bytes: int) -> Work:
    options = JobOptions(title=title, timeout_s=JOB_TIMEOUT_S)
    return Work(name=name, job=job, request=request, options=options, memory_bytes=memory_bytes)
