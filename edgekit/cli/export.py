"""`edgekit export`: plan, convert, run in the real runtimes, judge against the budgets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.options import (
    CalibrationOption,
    Config,
    Device,
    EffortOption,
    EvaluationOption,
    ExampleInputs,
    Format,
    InputSizesOption,
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
    MinAccuracy,
    MinDelegateCoverage,
    MinIntegerCoverage,
    MinParity,
    MinParityFloor,
    Model,
    NoCache,
    NoColor,
    PrecisionOption,
    Quiet,
    Strict,
    TechniqueOption,
    Timeout,
    Verbose,
    Without,
    limit_texts,
)
from edgekit.planner.technique_order import order_warning
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request, parse_effort
from edgekit.trials.choice import parse_io, read_plan_file, run_export
from edgekit.workers.output_folder import output_folder

if TYPE_CHECKING:
    from edgekit.exporting.report import ExportReport

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
    inputs: InputSizesOption = [],  # noqa: B006  Typer copies it
    io: IoOption = "float",
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    max_slice_drop: MaxSliceDrop = None,
    min_accuracy: MinAccuracy = None,
    min_parity: MinParity = None,
    min_parity_floor: MinParityFloor = None,
    min_integer_coverage: MinIntegerCoverage = None,
    min_delegate_coverage: MinDelegateCoverage = None,
    min_accelerator_coverage: MinAcceleratorCoverage = None,
    measurements: MeasurementsOption = None,
    without: Without = None,
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
    shares = (min_integer_coverage, min_delegate_coverage, min_accelerator_coverage, min_parity_floor, min_accuracy)
    data = {"calibration": calibration, "evaluation": evaluation, "metric": metric, "example_inputs": example_inputs}
    io_type = parse_io(io)
    wanted = parse_effort(effort)
    planned = read_plan_file(plan, decided=bool(format or precision or wanted != "quick")) if plan else None
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
        input_sizes=read_input_sizes(inputs),
        without=without or (),
    )
    request = planned.restrict(request) if planned else request
    _warn_of_order(request, silent=quiet or as_json, no_color=no_color)
    from edgekit.cli.settings import pipeline_settings
    from edgekit.exporting.details import write_details
    from edgekit.exporting.export import default_jobs
    from edgekit.exporting.record_files import write_report
    from edgekit.exporting.report import with_imported
    from edgekit.measurements.measurement import read_measurement
    from edgekit.usage.snippets import write_usage

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
        made, details = run_export(request, planned, wanted, output, io_type, settings, display.done)
        report = with_imported(made, read, request.budget)
        write_report(report)
        write_usage(report)
        write_details(output, details)
    if as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
    return report.exit_code(strict=strict)


def _warn_of_order(request: Request, *, silent: bool, no_color: bool) -> None:
    """Tells of an unwise order of techniques before the work: training may take hours."""
    warning = order_warning([step.technique for step in request.techniques])
    if warning and not silent:
        console(no_color=no_color, stderr=True).print(f"warning: {warning}", style="yellow", markup=False)


def show_report(
    report: ExportReport, request: Request, *, strict: bool, quiet: bool, verbose: bool, no_color: bool
) -> None:
    """Prints the story of an export or a validation for a person."""
    from edgekit.cli import tables
    from edgekit.cli.stages_text import stage_lines, stage_table
    from edgekit.exporting import sentences
    from edgekit.usage.snippets import FOLDER

    screen = console(no_color=no_color)
    if not quiet:
        if report.model is not None:
            screen.print(sentences.escape(sentences.model_line(report.model)))
            if report.model.embedded_default:
                hint = sentences.DEFAULT_HINT.format(verb=report.command, device=report.device)
                screen.print(sentences.escape(hint), style="dim")
        screen.print(f"{request.profile.title} ({report.device})")
        if request.omitted:
            names = ",".join(request.omitted)
            words = f"left out: {names}, which {report.device} does not run (--format {names} makes it all the same)"
            screen.print(words, style="dim", markup=False)
        screen.print()
        screen.print(tables.export_table(report))
        screen.print()
        for stages in report.stages:
            screen.print(stage_table(stages))
            for line in stage_lines(stages):
                screen.print(line)
            screen.print()
        if verbose:
            for result in report.results:
                screen.print(f"[bold]{result.runtime} {result.precision}[/]")
                screen.print(tables.check_table(result.checks))
                screen.print()
        for result in report.results if report.command == "plan" and not verbose else ():
            screen.print(tables.check_table(result.checks))
            screen.print("accuracy was not judged: a file alone says nothing about it", style="dim")
            screen.print()
        for table in tables.prediction_tables(report):
            screen.print(table)
            screen.print()
        for result in report.results if report.command in ("validate", "plan") else ():
            if result.artifact is not None:
                for line in tables.embedded_lines(result.artifact):
                    screen.print(sentences.escape(line), style="dim")
                screen.print()
        for line in tables.note_lines(report, verbose=verbose):
            screen.print(line)
    for line in tables.verdict_lines(report, strict=strict):
        screen.print(line)
    if not quiet:
        for line in tables.artifact_lines(report):
            screen.print(sentences.escape(line), style="dim")
        if report.command == "export":
            words = f"One page with all of it: edgekit report {shlex.quote(str(report.folder))}"
            screen.print(sentences.escape(words), style="dim", soft_wrap=True)
            if any(result.artifact is not None for result in report.results):
                screen.print(f"{report.folder / FOLDER}  code for the app", style="dim", markup=False)
