"""The three kinds of jobs: capture a model with its data, make an artifact and run it, judge it for a device.

Each calls edgekit's own functions in a worker process and leaves what it made in the cache, under the key of all that
it depends on. So a job that comes later finds what an earlier one has made, on whatever process it runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import EdgekitError
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.recipe import Effort
from edgekit.sweeping.rows import Row, write_row
from edgekit.task.sweep_table import PLANNED
from edgekit.workers.request_key import Place
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from edgekit.pipeline.settings import Settings
    from edgekit.recipe import Candidate
    from edgekit.task.request import Request
    from edgekit.trials.choice import Choice


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskText:
    """Where a model's task comes from, as text: user code is read in the process that works with it.

    Attributes:
        source: The model; None takes that of the task file.
        config: The task file; None takes the one in `folder`, where there is one.
        folder: What paths start from.
        overrides: Task fields to their texts.
        limits: Cost name to the text of its limit.
        timeout_s: Limit of each stage.
        memory_limit_bytes: Limit of each stage; None for no limit.
    """

    source: str | None
    config: Path | None
    folder: Path
    overrides: Mapping[str, str] = field(default_factory=dict[str, str])
    limits: Mapping[str, str] = field(default_factory=dict[str, str])
    timeout_s: float
    memory_limit_bytes: int | None = None


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureRequest:
    """A model to capture, with its data.

    Attributes:
        task: The model's.
        device: Profile file of any of the devices.
        formats: Formats that will be made of it.
        as_torch: Techniques will change it.
    """

    task: TaskText
    device: str
    formats: tuple[str, ...]
    as_torch: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRequest:
    """An artifact to make for devices that share it.

    Attributes:
        task: The model's.
        inputs: What its capture gave.
        devices: Profile files.
        format: The format.
        precision: A preset, or `auto`.
        pipeline: Techniques, as `--technique` takes them.
        effort: Of the planning.
    """

    task: TaskText
    inputs: CapturedInputs
    devices: tuple[str, ...]
    format: str
    precision: str
    pipeline: tuple[str, ...]
    effort: Effort

    def request(self, device: str) -> Request:
        """Returns what is requested for one of the devices.

        Raises:
            InputError: the task, a technique or a limit is wrong.
        """
        precision = None if self.precision == PLANNED else self.precision
        return read_request(self.task, device, self.format, precision, self.pipeline)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class MadeArtifacts:
    """What was made for the devices.

    Attributes:
        made: Number of artifacts: more than one where the planner chose differently for some of the devices.
        converted: Those of them that were not in the cache.
    """

    made: int
    converted: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeRequest:
    """A row to judge.

    Attributes:
        artifact: What is judged, for one device.
        row: The row as far as it is known: the combination.
        folder: The sweep's.
    """

    artifact: ArtifactRequest
    row: Row
    folder: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRow:
    """What came of a row, which lies in the sweep's folder where this machine has that."""

    row: Row


def read_request(
    task: TaskText, device: str, formats: str | None, precision: str | None, pipeline: tuple[str, ...]
) -> Request:
    """Returns the request that a task makes for a device.

    Raises:
        InputError: the task, a technique or a limit is wrong.
    """
    from edgekit.task.request import make_request

    made = make_request(
        model=task.source,
        device=device,
        config=task.config,
        formats=formats,
        precision=precision,
        techniques=pipeline,
        limits=task.limits,
        overrides=task.overrides,
        cwd=task.folder,
    )
    # Devices share artifacts, so what they take follows from no device.
    stated = made.task.image_input and made.task.image_input_stated
    return replace(made, task=replace(made.task, image_input=stated))


def settings_of(task: TaskText) -> Settings:
    """Returns how a job's stages run: one at a time, for the sweep runs many jobs."""
    from edgekit.pipeline.settings import Settings

    return Settings(timeout_s=task.timeout_s, memory_limit_bytes=task.memory_limit_bytes, jobs=1)


def capture_in_worker(request: CaptureRequest, _progress: Progress) -> CapturedInputs:
    """Captures a model, reads its data and runs the float model on it."""
    from edgekit.exporting.inputs import read_inputs

    made = read_request(request.task, request.device, None, None, ())
    settings = settings_of(request.task)
    return CapturedInputs.of(read_inputs(made.task, request.formats, settings, as_torch=request.as_torch))


def make_in_worker(request: ArtifactRequest, _progress: Progress) -> MadeArtifacts:
    """Makes the artifacts that the devices need, and runs each once.

    Raises:
        EdgekitError: none of them can be made; why, of the first.
    """
    from edgekit.budget import Budget
    from edgekit.exporting.export import convert_candidates
    from edgekit.exporting.judge import judge_artifact
    from edgekit.pipeline.technique_stage import pipeline_name
    from edgekit.sweeping.kept_runs import kept_runs

    settings = settings_of(request.task)
    wanted: dict[tuple[object, ...], Candidate] = {}
    failures: list[EdgekitError] = []
    for device in request.devices:
        try:
            for item in _chosen(request.request(device), request, settings)[1]:
                wanted.setdefault((item.runtime, item.recipe, pipeline_name(item.techniques)), item)
        except EdgekitError as error:
            failures.append(error)  # the device's own row says so
    if not wanted:
        raise failures[0]
    inputs = request.inputs.inputs(request.request(request.devices[0]).task)
    made = convert_candidates(inputs, list(wanted.values()), settings, "float", lambda _stage, _phrase: None)
    failures = [item for item in made if isinstance(item, EdgekitError)]
    if len(failures) == len(made):
        raise failures[0]
    converted = [
        (item, one) for item, one in zip(wanted.values(), made, strict=True) if not isinstance(one, EdgekitError)
    ]
    for item, one in converted:
        judge_artifact(one.artifact, inputs, item.recipe, Budget(), settings, runs=kept_runs(settings.cache))
    return MadeArtifacts(made=len(converted), converted=sum(not one.cached for _, one in converted))


def judge_in_worker(request: JudgeRequest, _progress: Progress) -> JudgedRow:
    """Judges an artifact for a device and writes the row. Its failure is a row with its message."""
    started = time.monotonic()
    try:
        row = _judged(request)
    except EdgekitError as error:
        row = failed_row(request.row, error)
    row = replace(row, seconds=time.monotonic() - started, finished=time.time())
    if request.folder.is_dir():  # a machine that has no part in the sweep's folder hands the row to who drives it
        write_row(request.folder, row)
    return JudgedRow(row=row)


def failed_row(row: Row, error: EdgekitError) -> Row:
    """Returns the row of a combination that cannot be made or run."""
    return replace(
        row, status="failed", checks=(), message=error.message, error=type(error).__name__, exit_code=error.exit_code
    )


def _judged(request: JudgeRequest) -> Row:
    from edgekit.exporting.record_files import complete_report
    from edgekit.sweeping.kept_runs import kept_runs
    from edgekit.trials.export_request import ExportRequest, make_artifacts
    from edgekit.workers.process_folder import temporary_folder

    artifact = request.artifact
    settings = settings_of(artifact.task)
    for_device = artifact.request(artifact.devices[0])
    choice, candidates = _chosen(for_device, artifact, settings)
    with temporary_folder("sweep") as folder:
        report = make_artifacts(
            ExportRequest(request=for_device, output=folder, effort=artifact.effort),
            candidates,
            choice,
            artifact.inputs.inputs(for_device.task),
            settings,
            lambda _stage, _phrase: None,
            runs=kept_runs(settings.cache),
        )
    (result,) = report.results
    if result.error is not None:
        raise result.error
    return replace(
        request.row,
        status="judged",
        made=result.precision,
        checks=result.checks,
        artifact_sha256=result.artifact.sha256 if result.artifact is not None else "",
        report=json.dumps(complete_report(report).to_json()),
    )


def _chosen(for_device: Request, artifact: ArtifactRequest, settings: Settings) -> tuple[Choice, tuple[Candidate, ...]]:
    """Returns what is made for a device: the one candidate of the format.

    Raises:
        EdgekitError: nothing can be made, or a technique cannot be used.
    """
    from edgekit.trials.choice import choose, refuse_techniques
    from edgekit.trials.export_request import chosen_candidates

    model = artifact.inputs.model
    refuse_techniques(for_device, model)
    choice = choose(for_device, model, artifact.effort, settings)
    return choice, chosen_candidates(for_device, choice)


CAPTURE: Final = Job(work=capture_in_worker)
MAKE: Final = Job(work=make_in_worker)
JUDGE: Final = Job(work=judge_in_worker)
