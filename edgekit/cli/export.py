"""`edgekit export`: plan, convert, run in the real runtimes, judge against the budgets."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

from edgekit.budget import PATHS
from edgekit.cli.console import console, write_json
from edgekit.cli.task_options import (
    CalibrationOption,
    Config,
    Device,
    EffortOption,
    EvaluationOption,
    ExampleInputs,
    Format,
    IoOption,
    Jobs,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MaxSliceDrop,
    MeasurementsOption,
    MemoryLimit,
    MetricOption,
    MinAcceleratorCoverage,
    MinDelegateCoverage,
    MinIntegerCoverage,
    MinParity,
    Model,
    NoCache,
    NoColor,
    PrecisionOption,
    Quiet,
    Request,
    Strict,
    TechniqueOption,
    Timeout,
    Verbose,
    limit_texts,
    make_request,
    parse_effort,
)
from edgekit.errors import UsageError
from edgekit.output_folder import output_folder
from edgekit.planner.technique_order import order_warning

if TYPE_CHECKING:
    from edgekit.converters.base import IoType
    from edgekit.export_report import ExportReport
    from edgekit.model import CapturedModel
    from edgekit.pipeline import Settings
    from edgekit.plan import Candidate, Effort, Rejection
    from edgekit.planner.plan_result import Plan

DEFAULT_OUTPUT = Path("edgekit-out")

Output = Annotated[
    Path,
    typer.Option("--output", "-o", help="Folder for artifacts, report.json, details.json, edgekit.lock and usage/."),
]
PlanFile = Annotated[
    Path | None, typer.Option("--plan", help="Carry out a plan that `plan -o` wrote.", show_default=False)
]


def export(
    model: Model = None,
    device: Device = None,
    output: Output = DEFAULT_OUTPUT,
    config: Config = None,
    format: Format = None,  # noqa: A002  the flag's name
    precision: PrecisionOption = None,
    technique: TechniqueOption = None,
    plan: PlanFile = None,
    effort: EffortOption = "quick",
    calibration: CalibrationOption = None,
    evaluation: EvaluationOption = None,
    metric: MetricOption = None,
    example_inputs: ExampleInputs = None,
    io: IoOption = "float",
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    max_slice_drop: MaxSliceDrop = None,
    min_parity: MinParity = None,
    min_integer_coverage: MinIntegerCoverage = None,
    min_delegate_coverage: MinDelegateCoverage = None,
    min_accelerator_coverage: MinAcceleratorCoverage = None,
    measurements: MeasurementsOption = None,
    strict: Strict = False,
    jobs: Jobs = 0,
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    no_cache: NoCache = False,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
) -> int:
    """Plan, convert, run every artifact in its own runtime, and judge it against the device's budgets.

    Exit code: 0 every budget kept, 1 a budget not kept, 2 wrong input, 3 this machine cannot.
    """
    shares = (min_integer_coverage, min_delegate_coverage, min_accelerator_coverage)
    data = {"calibration": calibration, "evaluation": evaluation, "metric": metric, "example_inputs": example_inputs}
    io_type = _io_type(io)
    wanted = parse_effort(effort)
    planned = _plan_file(plan, decided=bool(format or precision or wanted != "quick")) if plan else None
    request = make_request(
        model=model,
        device=device or (planned.plan.device if planned else None),
        config=config,
        formats=format,
        precision=precision,
        techniques=technique,
        limits=limit_texts(
            max_size, max_download, max_memory, max_latency, max_drop, max_slice_drop, min_parity, *shares
        ),
        overrides=data,
    )
    request = planned.restrict(request) if planned else request
    _warn_of_order(request, silent=quiet or as_json, no_color=no_color)
    from edgekit.cli.settings import pipeline_settings
    from edgekit.export import default_jobs
    from edgekit.export_details import write_details
    from edgekit.export_report import with_imported, write_report
    from edgekit.measurements.measurement import read_measurement
    from edgekit.usage.snippets import FOLDER, write_usage

    read = tuple(map(read_measurement, measurements or ()))
    with (
        output_folder(output),
        pipeline_settings(
            show_progress=not (quiet or as_json),
            no_color=no_color,
            no_cache=no_cache,
            jobs=jobs or default_jobs(),
            timeout_s=timeout,
            memory_limit=memory_limit,
        ) as (settings, display),
    ):
        made, details = _run(request, planned, wanted, output, io_type, settings, display.done)
        report = with_imported(made, read, request.budget)
        write_report(report)
        write_usage(report)
        write_details(output, details)
    if as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
        if not quiet and any(result.artifact is not None for result in report.results):
            console(no_color=no_color).print(f"{output / FOLDER}  code for the app", style="dim", markup=False)
    return report.exit_code(strict=strict)


def _warn_of_order(request: Request, *, silent: bool, no_color: bool) -> None:
    """Tells of an unwise order of techniques before the work: training may take hours."""
    warning = order_warning([step.technique for step in request.techniques])
    if warning and not silent:
        console(no_color=no_color, stderr=True).print(f"warning: {warning}", style="yellow", markup=False)


def _io_type(text: str) -> IoType:
    """Returns the type of inputs and outputs that `--io` names.

    Raises:
        UsageError: no such type.
    """
    if text not in ("float", "int8"):
        raise UsageError(f'--io "{text}" is not known: accepted are float, int8.')
    return "int8" if text == "int8" else "float"


def _run(
    request: Request,
    planned: _PlanFile | None,
    effort: Effort,
    output: Path,
    io: IoType,
    settings: Settings,
    done: Callable[[str, str], None],
) -> tuple[ExportReport, Mapping[str, Any]]:
    """Returns what came of the export, and its details (see `edgekit.export_details`)."""
    from edgekit.export import export as export_candidates
    from edgekit.export import read_inputs
    from edgekit.export_details import details_json
    from edgekit.pipeline import analyze_model, capture_model
    from edgekit.planner.candidates import with_predictions_of_changed

    model = capture_model(request.task, settings)
    refuse_techniques(request, model)
    choice = planned.choice_for(model) if planned else _choose(request, model, effort, settings)
    analysis = analyze_model(model, settings)
    candidates = [replace(item, steps=(*request.techniques, *item.steps)) for item in choice.candidates]
    changed = any(candidate.techniques for candidate in candidates)
    runtimes = [candidate.runtime for candidate in candidates]
    inputs = read_inputs(request.task, runtimes, settings, model=model, as_torch=changed)

    def predict_changed(candidate: Candidate, made: CapturedModel) -> Candidate:
        # A plan's own techniques are in its predictions, and these are held against what is measured.
        if not request.techniques:
            return candidate
        return with_predictions_of_changed(candidate, analyze_model(made, settings), request.profile)

    report = export_candidates(
        inputs,
        candidates,
        device=request.profile.name,
        budget=request.budget,
        folder=output,
        settings=settings,
        io=io,
        rejected=choice.rejected,
        accelerators=request.profile.accelerators,
        done=done,
        predict_changed=predict_changed,
    )
    return report, details_json(report, choice.plans, analysis, request.profile.latency_model)


def refuse_techniques(request: Request, model: CapturedModel) -> None:
    """Checks before any work that the techniques that were asked for can be used.

    Raises:
        TechniqueError: the first one that cannot, with its reason.
    """
    from edgekit import registry
    from edgekit.errors import TechniqueError

    for step in request.techniques:
        technique = registry.technique(step.technique).from_settings(step.settings, "--technique")
        if reason := technique.refusal(model, request.task, request.profile):
            raise TechniqueError(f"{step.technique} cannot be used on {model.source}: {reason}.")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """What to make, and the plans that say why."""

    candidates: Sequence[Candidate]
    rejected: Sequence[Rejection]
    plans: Sequence[Plan]


def _choose(request: Request, model: CapturedModel, effort: Effort, settings: Settings) -> _Choice:
    """Returns one candidate for each format that was asked for, or the planner's one choice.

    A format that was asked for by name is made even where no precision keeps the budgets: the verdict says so then.
    """
    from edgekit.cli.plan import plan_request
    from edgekit.plan import Candidate
    from edgekit.planner.recipes import resolve_precision, steps_of
    from edgekit.planning import plan as make_plan

    asked = plan_request(request, model, effort, settings)
    candidates: list[Candidate] = []
    rejected: list[Rejection] = []
    plans: list[Plan] = []
    wanted: list[tuple[str, ...]] = [(name,) for name in request.formats]
    for formats in wanted or [()]:
        made = make_plan(replace(asked, formats=formats), settings)
        rejected += made.rejected
        plans.append(made)
        if made.chosen is not None:
            candidates.append(made.chosen)
        elif formats:
            # Nothing can be made: the converter itself says why, in the table and with the right exit code.
            options = request.profile.options.get(formats[0])
            recipe = resolve_precision(request.precision or "int8", asked.analysis.family, formats[0], options)
            candidates.append(Candidate(runtime=formats[0], recipe=recipe, steps=steps_of(recipe)))
    if not candidates:
        reasons = "\n".join(f"  {item.candidate}: {item.reason}" for item in rejected)
        raise UsageError(
            f"{model.source} cannot be exported for {request.profile.name}:\n{reasons}\n"
            "Name another format with --format, or another precision with --precision."
        )
    return _Choice(candidates=candidates, rejected=rejected, plans=plans)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _PlanFile:
    """A plan that `plan -o` wrote, and where it lies."""

    path: Path
    plan: Plan

    def restrict(self, request: Request) -> Request:
        """Returns the request with the plan's limits; those of flags that were given now come first.

        Raises:
            UsageError: it asks for another device than the plan is for.
        """
        if request.profile.name != self.plan.device:
            raise UsageError(
                f"{self.path} was made for {self.plan.device}, and --device names {request.profile.name}. "
                "Leave --device away, or plan for that device."
            )
        flags = [limit for limit in request.budget.limits if limit.source.startswith("--")]
        paths = [limit for limit in request.budget.limits if limit.name in PATHS]
        return replace(request, budget=self.plan.budget.overridden_by([*paths, *flags]))

    def choice_for(self, model: CapturedModel) -> _Choice:
        """Returns what the plan chose and what it turned down.

        Raises:
            UsageError: it was made for another model, it chose nothing, or it has a step that this edgekit cannot do.
        """
        from edgekit import registry
        from edgekit.planner.recipes import steps_of

        made = self.plan
        if made.model.digest != model.digest:
            raise UsageError(
                f"{self.path} was made for {made.model.source} with digest {made.model.digest[:12]}; the model is now "
                f"{model.source} with digest {model.digest[:12]}. Plan again, or give the model that the plan is for."
            )
        if made.chosen is None:
            raise UsageError(
                f"{self.path} chose nothing: no format can hold this model. Plan again with other formats."
            )
        known = {*registry.technique_names(), *(step.technique for step in steps_of(made.chosen.recipe))}
        unknown = [step.technique for step in made.chosen.steps if step.technique not in known]
        if unknown:
            raise UsageError(
                f"{self.path} asks for {', '.join(unknown)}, which this edgekit cannot do. "
                "Write the plan anew with: edgekit plan"
            )
        return _Choice(candidates=(made.chosen,), rejected=made.rejected, plans=(made,))


def _plan_file(path: Path, *, decided: bool) -> _PlanFile:
    """Returns the plan in a file.

    Args:
        path: The file.
        decided: Flags were given that say what the plan has decided.

    Raises:
        UsageError: no such file, no plan, or such flags.
    """
    from edgekit.planner.plan_result import Plan

    if decided:
        raise UsageError("--plan has decided what --format, --precision and --effort are about: leave them away.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file. Write a plan with: edgekit plan --device NAME -o {path}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid JSON: {error}. Write it anew with: edgekit plan -o {path}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{path}: not a plan. Write one with: edgekit plan --device NAME -o {path}")
    return _PlanFile(path=path, plan=Plan.from_json(data, str(path)))


def show_report(
    report: ExportReport, request: Request, *, strict: bool, quiet: bool, verbose: bool, no_color: bool
) -> None:
    """Prints the story of an export or a validation for a person."""
    from edgekit import render
    from edgekit.cli.stages_text import stage_lines, stage_table

    screen = console(no_color=no_color)
    if not quiet:
        if report.model is not None:
            screen.print(render.escape(render.model_line(report.model)))
            if report.model.embedded_default:
                hint = render.DEFAULT_HINT.format(verb=report.command, device=report.device)
                screen.print(render.escape(hint), style="dim")
        screen.print(f"{request.profile.title} ({report.device})")
        screen.print()
        screen.print(render.export_table(report))
        screen.print()
        for stages in report.stages:
            screen.print(stage_table(stages))
            for line in stage_lines(stages):
                screen.print(line)
            screen.print()
        if verbose:
            for result in report.results:
                screen.print(f"[bold]{result.runtime} {result.recipe.name}[/]")
                screen.print(render.check_table(result.checks))
                screen.print()
        for table in render.prediction_tables(report):
            screen.print(table)
            screen.print()
        for result in report.results if report.command == "validate" else ():
            if result.artifact is not None:
                for line in render.embedded_lines(result.artifact):
                    screen.print(render.escape(line), style="dim")
                screen.print()
        for line in render.note_lines(report, verbose=verbose):
            screen.print(line)
    for line in render.verdict_lines(report, strict=strict):
        screen.print(line)
    if not quiet:
        for line in render.artifact_lines(report):
            screen.print(render.escape(line), style="dim")
        if report.command == "export":
            words = f"One page with all of it: edgekit report {shlex.quote(str(report.folder))}"
            screen.print(render.escape(words), style="dim", soft_wrap=True)
