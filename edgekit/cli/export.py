"""`edgekit export`: plan, convert, run in the real runtimes, judge against the budgets."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edgekit.cli import options
from edgekit.cli.options import CHOICE, OUTPUT, option
from edgekit.planner.technique_order import order_warning
from edgekit.task.dimensions import read_dimensions
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request, parse_effort
from edgekit.terminal.console import console, write_json
from edgekit.trials.choice import PlanFile, parse_io, read_plan_file

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.exporting.report import ExportReport

DEFAULT_OUTPUT = Path("edgekit-out")

Output = Annotated[
    Path,
    option(
        OUTPUT, "--output", "-o", show_default=True,
        help="Folder for artifacts, report.json, details.json, edgekit.lock and usage/.",
    ),
]  # fmt: skip
PlanOption = Annotated[Path | None, option(CHOICE, "--plan", help="Carry out a plan that `plan -o` wrote.")]


def export(
    model: options.Model = None,
    device: options.Device = None,
    output: Output = DEFAULT_OUTPUT,
    config: options.Config = None,
    format: options.Format = None,  # noqa: A002  the flag's name
    precision: options.Precision = None,
    technique: options.Technique = None,
    plan: PlanOption = None,
    effort: options.Effort = "quick",
    prefer: options.Prefer = None,
    *,
    data: options.Data,
    dimensions: options.Dimensions = None,
    split_outputs: options.SplitOutputs = False,
    metric: options.Metric = None,
    io: options.Io = "float",
    image_input: options.ImageInput = None,
    limits: options.Limits,
    measurements: options.Measurements = None,
    without: options.Without = None,
    strict: options.Strict = False,
    jobs: options.Jobs = 0,
    workers: options.Workers,
    no_cache: options.NoCache = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Plan, convert, run every artifact in its own runtime, and judge it against the device's budgets.

    Exit code: 0 every budget passes, 1 a budget fails, 2 wrong input, 3 this machine cannot.
    """
    io_type, wanted = parse_io(io), parse_effort(effort)
    planned = read_plan_file(plan, decided=bool(format or precision or wanted != "quick")) if plan else None
    request = make_request(
        model=model,
        device=_device(device, planned),
        config=config,
        formats=options.joined(format),
        precision=precision,
        prefer=prefer,
        techniques=technique,
        limits=limits.texts(),
        overrides=data.overrides(metric),
        input_sizes=read_input_sizes(data.inputs or ()),
        dimensions=read_dimensions(dimensions or ()),
        split_outputs=split_outputs,
        without=without or (),
        image_input=image_input,
    )
    request = planned.restrict(request) if planned else request
    _warn_of_order(request, screen)
    from edgekit.cli.settings import pipeline_settings
    from edgekit.trials.export_request import ExportRequest, run_export

    requested = ExportRequest(
        request=request,
        output=output,
        planned=planned,
        effort=wanted,
        io=io_type,
        measurements=tuple(measurements or ()),
    )
    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=jobs) as (settings, display):
        report = run_export(requested, settings, display.done).report
    if screen.as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    return report.exit_code(strict=strict)


def _device(device: str | None, planned: PlanFile | None) -> str | None:
    """Returns the device that was named, else the one that the plan is for."""
    return device or (planned.plan.device if planned else None)


def _warn_of_order(request: Request, screen: options.Screen) -> None:
    """Warns of an unwise order of techniques before the work: training may take hours."""
    warning = order_warning([step.technique for step in request.techniques])
    if warning and screen.shows_progress:
        console(no_color=screen.no_color, stderr=True).print(f"warning: {warning}", style="yellow", markup=False)


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
        _show_subject(screen, report, request)
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


def _show_subject(screen: Console, report: ExportReport, request: Request) -> None:
    """Prints the model, the device, and the formats that the device does not run."""
    from edgekit.exporting import sentences

    if report.model is not None:
        screen.print(sentences.escape(sentences.model_line(report.model)))
        for note in report.model.capture_notes:
            screen.print(note, markup=False)
        if report.model.embedded_default:
            hint = sentences.DEFAULT_HINT.format(command=report.command, device=report.device)
            screen.print(sentences.escape(hint), style="dim")
    screen.print(f"{request.profile.title} ({report.device})")
    if request.omitted:
        names = ",".join(request.omitted)
        words = f"left out: {names}, which {report.device} does not run (--format {names} makes it all the same)"
        screen.print(words, style="dim", markup=False)
