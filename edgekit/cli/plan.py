"""`edgekit plan`: what to do so that a model fits a device, why, and what was rejected."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edgekit.cli import options
from edgekit.cli.engine_options import Address, EngineName
from edgekit.cli.export import show_report
from edgekit.cli.options import OUTPUT, option
from edgekit.pipeline.settings import LOCAL
from edgekit.task.dimensions import read_dimensions
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request, parse_effort
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.exporting.report import ExportReport
    from edgekit.planner.plan import Plan

Why = Annotated[
    bool,
    option(OUTPUT, "--why", help="Show what stands in each format's way (a trial conversion) and what costs most."),
]
Output = Annotated[
    Path | None,
    option(OUTPUT, "--output", "-o", help="Write the plan as JSON, for: edgekit export --plan FILE."),
]


def plan(
    model: options.Model = None,
    device: options.Device = None,
    config: options.Config = None,
    formats: options.Format = None,
    precision: options.Precision = None,
    *,
    data: options.Data,
    dimensions: options.Dimensions = None,
    split_outputs: options.SplitOutputs = False,
    signature: options.Signature = None,
    metric: options.Metric = None,
    limits: options.Limits,
    effort: options.Effort = "quick",
    prefer: options.Prefer = None,
    why: Why = False,
    output: Output = None,
    engine: EngineName = LOCAL,
    address: Address = None,
    jobs: options.Jobs = 0,
    workers: options.Workers,
    screen: options.Screen,
    verbose: options.Verbose = False,
    no_cache: options.NoCache = False,
) -> int:
    """Choose the format and precision that fit a device, and say why.

    By default nothing is run: costs are predicted from the model's graph, and what cannot be predicted is said to be
    "not measured". Of a finished file (.tflite, .pte, .mlpackage, a quantized .onnx) it says whether it fits,
    accuracy not judged. With --effort default the recipes are simulated on calibration data and every layer is
    measured; with thorough the best few are exported and validated too, several at a time. Exit code 0 if the plan
    keeps every budget that can be predicted, 1 if nothing does.
    """
    wanted = parse_effort(effort)
    request = make_request(
        model=model,
        device=device,
        config=config,
        formats=options.joined(formats),
        precision=precision,
        prefer=prefer,
        limits=limits.texts(),
        overrides=data.overrides(metric),
        input_sizes=read_input_sizes(data.inputs or ()),
        dimensions=read_dimensions(dimensions or ()),
        split_outputs=split_outputs,
    )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.exporting.artifact_data import ArtifactData
    from edgekit.trials.choice import finished_model, fit_finished, plan_model, write_plan

    decided = bool(formats or precision or output)
    finished = finished_model(request, decided=decided) if model is not None else None
    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=jobs, engine=engine, address=address) as (
        settings,
        _,
    ):
        if finished is not None:
            settings = replace(settings, signature=signature or request.task.signature)  # noqa: PLW2901  of this file
            report = fit_finished(finished, request, ArtifactData.of_task(request.task), settings)
            return _show_fit(report, request, screen, verbose=verbose)
        made, analysis = plan_model(request, wanted, settings, trial=why)
    if output is not None:
        write_plan(output, made)
    if screen.as_json:
        write_json(made.to_json())
    else:
        _print(
            made,
            analysis,
            request,
            output,
            why=why,
            quiet=screen.quiet,
            verbose=verbose,
            no_color=screen.no_color,
        )
    return 0 if made.feasible else 1


def _show_fit(report: ExportReport, request: Request, screen: options.Screen, *, verbose: bool) -> int:
    """Prints whether a finished file fits, and returns the exit code."""
    if screen.as_json:
        write_json(report.to_json())
    else:
        show_report(report, request, strict=False, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    return report.exit_code()


def _print(
    made: Plan,
    analysis: Analysis,
    request: Request,
    output: Path | None,
    *,
    why: bool,
    quiet: bool,
    verbose: bool,
    no_color: bool,
) -> None:
    from rich.table import Table

    from edgekit.cli.plan_text import PlanText

    out = console(no_color=no_color)
    text = PlanText(plan=made, request=request, written=output, width=min(out.width, 100))
    for part in text.verdict() if quiet else text.story(verbose=verbose):
        # Text is wrapped already, and a command to copy must not be.
        out.print(part, soft_wrap=not isinstance(part, Table))
    if why:
        from edgekit.cli.cost_tables import cost_tables

        for table in cost_tables(analysis, made, request.profile):
            out.print()
            out.print(table)
