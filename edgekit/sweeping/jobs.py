"""Two of the three kinds of jobs: make an artifact and run it, judge it for its devices. Captures have their own file.

Each calls edgekit's own functions in a worker process and leaves what it made in the cache, under the key of all that
it depends on. So a job that comes later finds what an earlier one has made, on whatever process it runs.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import EdgekitError
from edgekit.exporting.stored_inputs import CapturedInputs
from edgekit.recipe import Effort
from edgekit.sweeping.rows import Row, standing_row, write_row
from edgekit.sweeping.task_text import TaskText, read_request, settings_of
from edgekit.task.sweep_table import PLANNED
from edgekit.workers.request_key import Place
from edgekit.workers.worker import Job, Progress

if TYPE_CHECKING:
    from edgekit.artifact import Artifact
    from edgekit.budget import Budget
    from edgekit.exporting.inputs import Inputs
    from edgekit.exporting.report import ExportReport
    from edgekit.pipeline.settings import Settings
    from edgekit.recipe import Candidate
    from edgekit.task.request import Request
    from edgekit.trials.choice import Choice


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
    """Rows to judge, all of one artifact: what they share is read once.

    Attributes:
        artifact: What is judged, for a device each.
        rows: The rows as far as they are known, in the order of the devices: the combinations.
        folder: The sweep's.
    """

    artifact: ArtifactRequest
    rows: tuple[Row, ...]
    folder: Place


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedRows:
    """What came of the rows.

    Attributes:
        rows: In the order of the request.
        written: They lie in the sweep's folder: false where the machine has no part in that.
    """

    rows: tuple[Row, ...]
    written: bool


def make_in_worker(request: ArtifactRequest, _progress: Progress) -> MadeArtifacts:
    """Makes the artifacts that the devices need, and runs each once.

    Raises:
        EdgekitError: none of them can be made; why, of the first.
    """
    from edgekit.exporting.export import convert_candidates
    from edgekit.trials.nearer_integers import LEFT_TO_US

    settings = settings_of(request.task)
    wanted = _wanted(request, settings)
    inputs = request.inputs.inputs(request.request(request.devices[0]).task)
    made = convert_candidates(inputs, [item for item, _ in wanted], settings, "float", _unheard)
    failures = [item for item in made if isinstance(item, EdgekitError)]
    if len(failures) == len(made):
        raise failures[0]
    converted = [
        (item, devices, one)
        for (item, devices), one in zip(wanted, made, strict=True)
        if not isinstance(one, EdgekitError)
    ]
    for item, devices, one in converted:
        first = request.request(devices[0])
        if _came_out_far(one.artifact, item, inputs, first.budget, settings) and first.precision in LEFT_TO_US:
            for device in devices:
                # Another INT8 is tried here, where memory for conversions is reserved; the judgement finds it.
                with suppress(EdgekitError):  # the device's own row says so
                    _exported(request, device, settings)
    return MadeArtifacts(made=len(converted), converted=sum(not one.cached for *_, one in converted))


def _wanted(request: ArtifactRequest, settings: Settings) -> list[tuple[Candidate, list[str]]]:
    """Returns what is to be made, and for which devices each.

    Raises:
        EdgekitError: nothing can be made for any device; why, of the first.
    """
    from edgekit.pipeline.technique_stage import pipeline_name

    wanted: dict[tuple[object, ...], tuple[Candidate, list[str]]] = {}
    failures: list[EdgekitError] = []
    for device in request.devices:
        try:
            for item in _chosen(request.request(device), request, settings)[1]:
                key = (item.runtime, item.recipe, pipeline_name(item.techniques))
                wanted.setdefault(key, (item, []))[1].append(device)
        except EdgekitError as error:
            failures.append(error)  # the device's own row says so
    if not wanted:
        raise failures[0]
    return list(wanted.values())


def _came_out_far(artifact: Artifact, candidate: Candidate, inputs: Inputs, budget: Budget, settings: Settings) -> bool:
    """Runs an artifact, and returns whether its integers are far from the float model."""
    from edgekit.exporting.format_result import FormatResult
    from edgekit.exporting.judge import judge_artifact
    from edgekit.sweeping.kept_runs import kept_runs
    from edgekit.trials.nearer_integers import is_far

    checks, _ = judge_artifact(artifact, inputs, candidate.recipe, budget, settings, runs=kept_runs(settings.cache))
    made = FormatResult(runtime=candidate.runtime, recipe=candidate.recipe, checks=checks, steps=candidate.techniques)
    return is_far(made)


def judge_in_worker(request: JudgeRequest, _progress: Progress) -> JudgedRows:
    """Judges an artifact for its devices and writes a row for each. A failure is a row with its message."""
    settings = settings_of(request.artifact.task)
    rows: list[Row] = []
    writes = request.folder.is_dir()
    for device, row in zip(request.artifact.devices, request.rows, strict=True):
        # A job that is started anew, because its machine was lost, finds what it had judged.
        judged = standing_row(request.folder, row) or _judged_now(request.artifact, device, row, settings)
        if writes:
            write_row(request.folder, judged)
        rows.append(judged)
    return JudgedRows(rows=tuple(rows), written=writes)


def _judged_now(artifact: ArtifactRequest, device: str, row: Row, settings: Settings) -> Row:
    started = time.monotonic()
    try:
        judged = _judged(artifact, device, row, settings)
    except EdgekitError as error:
        judged = failed_row(row, error)
    return replace(judged, seconds=time.monotonic() - started, finished=time.time())


def failed_row(row: Row, error: EdgekitError) -> Row:
    """Returns the row of a combination that cannot be made or run."""
    return replace(
        row, status="failed", checks=(), message=error.message, error=type(error).__name__, exit_code=error.exit_code
    )


def _judged(artifact: ArtifactRequest, device: str, row: Row, settings: Settings) -> Row:
    from edgekit.exporting.record_files import complete_report

    report = _exported(artifact, device, settings)
    (result,) = report.results
    if result.error is not None:
        raise result.error
    return replace(
        row,
        status="judged",
        made=result.precision,
        checks=result.checks,
        artifact_sha256=result.artifact.sha256 if result.artifact is not None else "",
        report=json.dumps(complete_report(report).to_json()),
    )


def _exported(artifact: ArtifactRequest, device: str, settings: Settings) -> ExportReport:
    """Returns the report of an export for a device, another INT8 where the first is far from the float model.

    Raises:
        EdgekitError: nothing can be made, or a technique cannot be used.
    """
    from edgekit.sweeping.kept_runs import kept_runs
    from edgekit.trials.export_request import ExportRequest, make_artifacts, with_nearer_integers
    from edgekit.workers.process_folder import temporary_folder

    for_device = artifact.request(device)
    choice, candidates = _chosen(for_device, artifact, settings)
    inputs, runs = artifact.inputs.inputs(for_device.task), kept_runs(settings.cache)
    with temporary_folder("sweep") as folder:
        requested = ExportRequest(request=for_device, output=folder, effort=artifact.effort)
        made = make_artifacts(requested, candidates, choice, inputs, settings, _unheard, runs)
        return with_nearer_integers(requested, candidates, made, inputs, settings, _unheard, runs)


def _unheard(_stage: str, _phrase: str) -> None:
    """Progress that nobody reads: the driver shows the sweep's own."""


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


MAKE: Final = Job(work=make_in_worker)
JUDGE: Final = Job(work=judge_in_worker)
