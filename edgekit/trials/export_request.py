"""An export from the request to the files that it leaves: what the command line and the Python API both call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, final

from edgekit.artifact import remove_artifact
from edgekit.converters.base import IoType
from edgekit.errors import UsageError
from edgekit.exporting.details import details_json, write_details
from edgekit.exporting.export import export as export_candidates
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.inputs import Inputs, read_inputs
from edgekit.exporting.judge import MEASURED_NOW, ArtifactRuns
from edgekit.exporting.record_files import write_report
from edgekit.exporting.report import ExportReport, with_imported
from edgekit.measurements.measurement import read_measurement
from edgekit.pipeline.analysis import analyze_model
from edgekit.pipeline.capture import capture_model
from edgekit.pipeline.settings import Settings
from edgekit.planner.candidates import with_predictions_of_changed
from edgekit.profiles.profile import DeviceProfile
from edgekit.task.request import Request
from edgekit.trials.choice import Choice, PlanFile, choose, refuse_techniques
from edgekit.trials.nearer_integers import LEFT_TO_US, is_far, is_measured, nearer_candidate
from edgekit.usage.snippets import write_usage
from edgekit.workers.output_folder import output_folder

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.model import CapturedModel
    from edgekit.planner.plan import Plan
    from edgekit.recipe import Candidate, Effort

Done = Callable[[str, str], None]
"""Called with (stage, phrase) when a stage has ended."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """What to export, and where to.

    Attributes:
        request: Task, device, limits and what is forced.
        output: Folder for the artifacts and the records about them.
        planned: A plan to carry out; None plans anew.
        effort: Effort of the planning.
        io: Types of the artifacts' inputs and outputs.
        measurements: Measurement files from the device.
    """

    request: Request
    output: Path
    planned: PlanFile | None = None
    effort: Effort = "quick"
    io: IoType = "float"
    measurements: Sequence[Path] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What came of an export.

    Attributes:
        report: The verdict, and all that it rests on.
        plans: One for each format that was requested, or the one that chose.
    """

    report: ExportReport
    plans: tuple[Plan, ...]


def run_export(requested: ExportRequest, settings: Settings, done: Done) -> Exported:
    """Plans, makes, runs and judges the artifacts, and writes them with all records into the output folder.

    Raises:
        InputError: the model, the data, a technique, the plan or a measurement file is wrong.
        MachineError: this machine cannot.
    """
    requested = _with_boundary(requested)
    request = requested.request
    measured = tuple(map(read_measurement, requested.measurements))
    with output_folder(requested.output):
        model = capture_model(request.task, settings)
        refuse_techniques(request, model)
        choice = (
            requested.planned.choice_for(model)
            if requested.planned
            else choose(request, model, requested.effort, settings)
        )
        analysis = analyze_model(model, settings)
        candidates = chosen_candidates(request, choice, requested.io)
        inputs = _read_inputs(request, model, candidates, settings)
        made = make_artifacts(requested, candidates, choice, inputs, settings, done)
        made = with_nearer_integers(requested, candidates, made, inputs, settings, done)
        report = with_imported(made, measured, request.budget)
        write_records(made, report, choice.plans, analysis, request.profile)
    return Exported(report=report, plans=tuple(choice.plans))


def _with_boundary(requested: ExportRequest) -> ExportRequest:
    """Returns the request with one word about inputs: integers of the model's own, or pixels.

    Raises:
        UsageError: both are requested.
    """
    task = requested.request.task
    if requested.io == "float" or not task.image_input:
        return requested
    if task.image_input_stated:
        raise UsageError(
            "An image input takes pixels in 8 bits, and --io int8 asks for the model's own integers: give one of them."
        )
    return replace(requested, request=replace(requested.request, task=replace(task, image_input=False)))


def chosen_candidates(request: Request, choice: Choice, io: IoType = "float") -> tuple[Candidate, ...]:
    """Returns what is to be made: the techniques that were requested, then what the plan has chosen.

    Where outputs are requested in integers, no head can stay float: the request is stronger than the rule.
    """
    return tuple(
        replace(
            item,
            steps=(*request.techniques, *item.steps),
            recipe=replace(item.recipe, float_heads=()) if io == "int8" else item.recipe,
        )
        for item in choice.candidates
    )


def _read_inputs(request: Request, model: CapturedModel, candidates: Sequence[Candidate], settings: Settings) -> Inputs:
    changed = any(candidate.techniques for candidate in candidates)
    runtimes = [candidate.runtime for candidate in candidates]
    return read_inputs(request.task, runtimes, settings, model=model, as_torch=changed)


def make_artifacts(
    requested: ExportRequest,
    candidates: Sequence[Candidate],
    choice: Choice,
    inputs: Inputs,
    settings: Settings,
    done: Done,
    runs: ArtifactRuns = MEASURED_NOW,
) -> ExportReport:
    """Makes, runs and judges the artifacts, which then lie in the output folder without records about them.

    Args:
        requested: The export.
        candidates: What `chosen_candidates` returned for `choice`.
        choice: What was chosen, and what was rejected.
        inputs: The model and its data.
        settings: How to run.
        done: Callback that gets (stage, phrase) when a format has been made.
        runs: How the artifacts are run.
    """
    request = requested.request

    def predict_changed(candidate: Candidate, changed_model: CapturedModel) -> Candidate:
        # A plan's own techniques are in its predictions, and these are held against what is measured.
        if not request.techniques:
            return candidate
        return with_predictions_of_changed(candidate, analyze_model(changed_model, settings), request.profile)

    return export_candidates(
        inputs,
        candidates,
        device=request.profile.name,
        budget=request.budget,
        folder=requested.output,
        settings=settings,
        io=requested.io,
        rejected=choice.rejected,
        accelerators=request.profile.accelerators,
        done=done,
        predict_changed=predict_changed,
        runs=runs,
    )


def with_nearer_integers(
    requested: ExportRequest,
    candidates: Sequence[Candidate],
    made: ExportReport,
    inputs: Inputs,
    settings: Settings,
    done: Done,
    runs: ArtifactRuns = MEASURED_NOW,
) -> ExportReport:
    """Returns the report with another INT8 in the place of those that came out far from the float model.

    Args:
        requested: The export.
        candidates: What was made.
        made: What `make_artifacts` returned for them.
        inputs: The model and its data.
        settings: How to run.
        done: Callback that gets (stage, phrase) when a format has been made anew.
        runs: How the artifacts are run.
    """
    request = requested.request
    if requested.planned is not None or request.precision not in LEFT_TO_US or requested.io != "float":
        return made
    results: list[FormatResult] = []
    rejected = made.rejected
    for candidate, result in zip(candidates, made.results, strict=True):
        if not is_far(result):
            results.append(result)
            continue
        analysis = analyze_model(inputs.model, settings)
        found = nearer_candidate(candidate, request, inputs, analysis, settings, known=is_measured(result), runs=runs)
        rejected = (*rejected, *found.rejected)
        last = result
        if found.candidate is not candidate:
            again = Choice(candidates=(found.candidate,), rejected=(), plans=())
            (last,) = make_artifacts(requested, (found.candidate,), again, inputs, settings, done, runs).results
            last = _replacing(result, last)
        results.append(replace(last, choice=found.words))
    return replace(made, results=tuple(results), rejected=rejected)


def _replacing(first: FormatResult, second: FormatResult) -> FormatResult:
    """Returns the second result, and removes the first one's artifact; the first where the second was not made."""
    if second.artifact is None and first.artifact is not None:
        return first
    if first.artifact is not None and second.artifact is not None and first.artifact.path != second.artifact.path:
        remove_artifact(first.artifact.path)
    return second


def write_records(
    made: ExportReport, report: ExportReport, plans: Sequence[Plan], analysis: Analysis, profile: DeviceProfile
) -> None:
    """Writes report.json, edgekit.lock, details.json and the code for the app beside the artifacts.

    Args:
        made: What the export itself measured: the details are about it.
        report: The same with figures from the device in it.
        plans: What was planned.
        analysis: Costed graph of the model as it was captured.
        profile: The device.
    """
    write_report(report)
    write_usage(report)
    write_details(report.folder, details_json(made, plans, analysis, profile.latency_model))
