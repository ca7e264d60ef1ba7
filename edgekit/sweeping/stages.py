"""The graph of a sweep: one capture a model, one artifact for all devices that share it, one judgement for its rows.

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
from edgekit.errors import EdgekitError, InternalError
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.sweeping.captures import CAPTURE, Captures, CapturesRequest, ModelToCapture
from edgekit.sweeping.jobs import JUDGE, MAKE, ArtifactRequest, JudgedRows, JudgeRequest, failed_row
from edgekit.sweeping.matrix import Point
from edgekit.sweeping.rows import Row, row_of, standing_row, write_row
from edgekit.sweeping.schedule import Found, Node
from edgekit.sweeping.task_text import TaskText
from edgekit.workers.cache import content_key
from edgekit.workers.worker import Job, JobOptions

_CAPTURE, _MAKE, _JUDGE = range(3)

_MODELS_A_JOB: Final = 10
"""Captures that share the start of their frameworks, at most: more would keep machines waiting."""

_ROWS_A_JOB: Final = 16
"""Rows of an artifact that share the reading of what was measured, at most: what a kill can cost is the one in work."""

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

    Args:
        plan: What the jobs are made from.
        slots: Jobs at a time: captures are dealt out to so many.
        report: Called with (device, how far its rows are) whenever that changes.

    Attributes:
        tallies: Device to how far its rows are.
        captured: Models that were captured.
        converted: Artifacts that were converted and not found in the cache.
    """

    def __init__(self, plan: SweepPlan, slots: int, report: Report = lambda _device, _tally: None) -> None:
        self._plan = plan
        self._report = report
        self._captures = _captures(plan, slots)
        self._capture_of = {model: name for name, models in self._captures.items() for model in models}
        self._groups = _groups(plan)
        self._judgements = _judgements(self._groups)
        self._done = {(row.point, row.digest) for row in plan.known if row.stands}
        self._digests: dict[str, str] = {}
        self._running: dict[str, tuple[Point, ...]] = {}
        self.tallies: dict[str, Tally] = {}
        for point in plan.points:
            self.tallies.setdefault(point.device, Tally()).total += 1
        self.captured = 0
        self.converted = 0

    def graph(self) -> tuple[Node, ...]:
        """Returns the jobs, and what each needs."""
        captures = [Node(name=name, rank=_CAPTURE) for name in self._captures]
        makings = [
            Node(name=name, rank=_MAKE, needs=(self._capture_of[points[0].model.name],))
            for name, points in self._groups.items()
        ]
        judgements = [
            Node(name=name, rank=_JUDGE, needs=(self._capture_of[points[0].model.name], _make_name(points[0])))
            for name, points in self._judgements.items()
        ]
        return (*captures, *makings, *judgements)

    def prepare(self, name: str, results: Mapping[str, Any]) -> Work | Found:
        """Returns the job, or that its rows are there already, or that its model could not be captured."""
        if name in self._captures:
            return self._capture(name)
        points = self._groups.get(name) or self._judgements[name]
        model = points[0].model.name
        captures: Captures = results[self._capture_of[model]]
        capture = next(one for one in captures.found if one.name == model)
        inputs = capture.inputs
        if inputs is None:
            return Found(error=None if capture.failure is None else capture.failure.exception())
        missing = tuple(point for point in points if not self._is_done(point, inputs))
        if not missing:
            return Found()
        artifact = self._artifact(missing, inputs)
        if name in self._groups:
            return _work(name, "making of an artifact", MAKE, artifact, making_bytes(inputs.model))
        self._running[name] = missing
        rows = tuple(row_of(point, self._digests[point.key], status="failed") for point in missing)
        request = JudgeRequest(artifact=artifact, rows=rows, folder=self._plan.folder)
        return _work(name, f"judgement of {missing[0].title}", JUDGE, request, judging_bytes(inputs.model))

    def started(self, name: str) -> None:
        """Counts rows as running."""
        for point in self._running.get(name, ()):
            self.tallies[point.device].running += 1
            self._tell(point.device)

    def ended(self, name: str, ended: Ended, *, found: bool) -> None:
        """Counts what has ended, and writes the rows of what could not write its own."""
        if name in self._judgements:
            self._rows_ended(name, ended)
        elif not found and ended.error is None:
            self.captured += _count_captured(ended.value) if name in self._captures else 0
            self.converted += ended.value.converted if name in self._groups else 0

    def _rows_ended(self, name: str, ended: Ended) -> None:
        running = {point.key for point in self._running.pop(name, ())}  # none where another job's failure ended it
        came: JudgedRows | None = ended.value
        judged = {} if came is None else {row.point: row for row in came.rows}
        for point in self._judgements[name]:
            tally = self.tallies[point.device]
            tally.running -= point.key in running
            digest = self._digests.get(point.key, UNKNOWN)
            if (point.key, digest) in self._done:
                tally.cached += 1
            else:
                row = judged.get(point.key) or self._lost(row_of(point, digest, status="failed"), ended.error)
                if came is not None and not came.written:
                    write_row(self._plan.folder, row)
                tally.failed += row.status == "failed"
                tally.done += row.status != "failed"
            self._tell(point.device)

    def _lost(self, row: Row, error: EdgekitError | None) -> Row:
        """Returns the row of a combination whose job has failed, and writes it: its failure, where none stands there.

        A job that died has written the rows that it had judged before.
        """
        written = standing_row(self._plan.folder, row)
        if written is not None:
            return written
        failed = failed_row(row, error or InternalError(f"The judgement of {row.title} left no row."))
        write_row(self._plan.folder, failed)
        return failed

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

    def _capture(self, name: str) -> Work:
        models = tuple(self._to_capture(model, points) for model, points in self._captures[name].items())
        return _work(name, name, CAPTURE, CapturesRequest(models=models), CAPTURE_BYTES)

    def _to_capture(self, model: str, points: Sequence[Point]) -> ModelToCapture:
        return ModelToCapture(
            name=model,
            task=self._plan.tasks[model],
            device=self._plan.devices[points[0].device],
            formats=tuple(dict.fromkeys(point.format for point in points)),
            as_torch=any(point.pipeline for point in points),
        )

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


def _captures(plan: SweepPlan, slots: int) -> dict[str, dict[str, list[Point]]]:
    """Returns the models of each capture job with their points, dealt out so that every slot has work."""
    by_model: dict[str, list[Point]] = {}
    for point in plan.points:
        by_model.setdefault(point.model.name, []).append(point)
    names = list(by_model)
    size = min(_MODELS_A_JOB, -(-len(names) // slots))
    parts = [names[start : start + size] for start in range(0, len(names), size)]
    return {f"capture of {', '.join(part)}": {name: by_model[name] for name in part} for part in parts}


def _groups(plan: SweepPlan) -> dict[str, tuple[Point, ...]]:
    """Returns the points that share an artifact, by the name of the job that makes it."""
    found: dict[str, list[Point]] = {}
    for point in plan.points:
        found.setdefault(_make_name(point), []).append(point)
    return {name: tuple(points) for name, points in found.items()}


def _judgements(groups: Mapping[str, tuple[Point, ...]]) -> dict[str, tuple[Point, ...]]:
    """Returns the points of each judgement, by its name: those that share an artifact, a few at a time."""
    return {
        f"judge {' | '.join(points[0].group)}, from row {start + 1}": points[start : start + _ROWS_A_JOB]
        for points in groups.values()
        for start in range(0, len(points), _ROWS_A_JOB)
    }


def _make_name(point: Point) -> str:
    return f"make {' | '.join(point.group)}"


def _count_captured(captures: Captures) -> int:
    return sum(one.inputs is not None for one in captures.found)


def _work(name: str, title: str, job: Job[Any, Any], request: Any, memory_bytes: int) -> Work:
    options = JobOptions(title=title, timeout_s=JOB_TIMEOUT_S)
    return Work(name=name, job=job, request=request, options=options, memory_bytes=memory_bytes)
