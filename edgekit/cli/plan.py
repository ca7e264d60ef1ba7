"""`edgekit plan`: what to do so that a model fits a device, why, and what was turned down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.export import show_report
from edgekit.cli.options import (
    CalibrationOption,
    Config,
    Device,
    EffortOption,
    ExampleInputs,
    Format,
    InputSizesOption,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    Model,
    NoCache,
    NoColor,
    PrecisionOption,
    Quiet,
    Timeout,
    Verbose,
    limit_texts,
)
from edgekit.errors import ResourceError, UsageError
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request, parse_effort
from edgekit.trials.choice import plan_request

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.exporting.report import ExportReport
    from edgekit.pipeline.settings import Settings
    from edgekit.planner.plan import Plan

Why = Annotated[
    bool, typer.Option("--why", help="Show what stands in each format's way (a trial conversion) and what costs most.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write the plan as JSON, for: edgekit export --plan FILE.", show_default=False),
]


def plan(
    model: Model = None,
    device: Device = None,
    config: Config = None,
    formats: Format = None,
    precision: PrecisionOption = None,
    calibration: CalibrationOption = None,
    example_inputs: ExampleInputs = None,
    inputs: InputSizesOption = [],  # noqa: B006  Typer copies it
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    effort: EffortOption = "quick",
    why: Why = False,
    output: Output = None,
    timeout: Timeout = 1800.0,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    no_cache: NoCache = False,
) -> int:
    """Choose the format and precision that fit a device, and say why.

    By default nothing is run: costs are predicted from the model's graph, and what cannot be predicted is said to be
    "not run". Of a finished file (.tflite, .pte, .mlpackage, a quantized .onnx) it says whether it fits, accuracy not
    judged. With --effort default the recipes are simulated on calibration data and every layer is measured; with
    thorough the best few are exported and validated too. Exit code 0 if the plan keeps every budget that can be
    predicted, 1 if nothing does.
    """
    wanted = parse_effort(effort)
    request = make_request(
        model=model,
        device=device,
        config=config,
        formats=formats,
        precision=precision,
        limits=limit_texts(max_size, max_download, max_memory, max_latency, max_drop),
        overrides={"calibration": calibration, "example_inputs": example_inputs},
        input_sizes=read_input_sizes(inputs),
    )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.exporting.export import default_jobs
    from edgekit.exporting.fit import is_finished
    from edgekit.pipeline.capture import capture_model
    from edgekit.trials.planning import plan as make

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=default_jobs(),
        timeout_s=timeout,
        memory_limit=None,
    ) as (settings, _):
        file = request.task.base / request.task.model
        if model is not None and is_finished(file):
            report = _fit(file, request, settings, decided=bool(formats or precision or output))
            if as_json:
                write_json(report.to_json())
            else:
                show_report(report, request, strict=False, quiet=quiet, verbose=verbose, no_color=no_color)
            return report.exit_code()
        asked = plan_request(request, capture_model(request.task, settings), wanted, settings, trial=why)
        made = make(asked, settings)
    if output is not None:
        _write(output, made)
    if as_json:
        write_json(made.to_json())
    else:
        _print(made, asked.analysis, request, output, why=why, quiet=quiet, verbose=verbose, no_color=no_color)
    return 0 if made.feasible else 1


def _fit(file: Path, request: Request, settings: Settings, *, decided: bool) -> ExportReport:
    """Returns whether a finished file fits: there is nothing left to plan about it.

    Raises:
        UsageError: flags were given that ask for a file to be made.
    """
    from edgekit.exporting.artifact_data import ArtifactData
    from edgekit.exporting.fit import fit

    if decided:
        raise UsageError(
            f"{request.task.model} is a finished file: its format and precision are what they are. Leave --format, "
            "--precision and --output out, or give the float model that it was made from."
        )
    task = request.task
    data = ArtifactData(
        base=task.base,
        calibration=task.calibration,
        example_inputs=task.example_inputs,
        input_sizes=task.input_sizes,
    )
    return fit(file, data, request.profile, request.budget, settings)


def _write(path: Path, made: Plan) -> None:
    """Writes the plan whole or not at all."""
    from edgekit.workers.atomic_files import write_text

    try:
        write_text(path, json.dumps(made.to_json(), indent=1) + "\n")
    except OSError as error:
        raise ResourceError(
            f"{path}: the plan cannot be written: {error.strerror}. "
            "Name a file in a folder that exists and is writable."
        ) from error


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
