"""`edgekit plan`: what to do so that a model fits a device, why, and what was turned down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.progress import StageDisplay
from edgekit.cli.task_options import (
    CalibrationOption,
    Config,
    Device,
    ExampleInputs,
    Format,
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
    Request,
    Verbose,
    make_request,
)
from edgekit.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from edgekit.analysis.graph import Analysis
    from edgekit.model import CapturedModel
    from edgekit.planner.plan_result import Plan

Effort = Annotated[str, typer.Option("--effort", help="quick: predict only, run nothing.")]
Why = Annotated[bool, typer.Option("--why", help="Show the operators that cost most for each budget.")]
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
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    effort: Effort = "quick",
    why: Why = False,
    output: Output = None,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
    no_cache: NoCache = False,
) -> int:
    """Choose the format and precision that fit a device, and say why.

    Nothing is converted: sizes and memory are predicted from the model's graph, and what cannot be predicted is said to
    be "not run". Exit code 0 if the plan keeps every budget that can be predicted, 1 if nothing does.
    """
    if effort != "quick":
        raise UsageError(f'--effort "{effort}" is not known: accepted is quick.')
    request = make_request(
        model=model,
        device=device,
        config=config,
        formats=formats,
        precision=precision,
        limits={
            "size": max_size,
            "download": max_download,
            "memory": max_memory,
            "latency": max_latency,
            "accuracy_drop": max_drop,
        },
        overrides={"calibration": calibration, "example_inputs": example_inputs},
    )
    with StageDisplay(enabled=not (quiet or as_json), no_color=no_color) as display:
        captured, analysis = _read_model(request, display, reuse=not no_cache)
    made = plan_request(request, captured, analysis)
    if output is not None:
        _write(output, made)
    if as_json:
        write_json(made.to_json())
    else:
        _print(made, analysis, request, output, why=why, quiet=quiet, verbose=verbose, no_color=no_color)
    return 0 if made.feasible else 1


def _read_model(request: Request, display: StageDisplay, *, reuse: bool) -> tuple[CapturedModel, Analysis]:
    """Returns the captured model and its analysis, from the cache where nothing changed."""
    from edgekit.cache import Cache, cache_folder
    from edgekit.pipeline import Settings, analyze_model, capture_model

    settings = Settings(cache=Cache(root=cache_folder(), reuse=reuse), progress=display)
    captured = capture_model(request.task, settings)
    return captured, analyze_model(captured, settings)


def plan_request(request: Request, captured: CapturedModel, analysis: Analysis) -> Plan:
    """Returns the plan for a request whose model was captured and analysed. Quick: nothing is run."""
    from edgekit.pipeline import refusal_of
    from edgekit.planner.make import make_plan

    return make_plan(
        captured,
        analysis,
        request.profile,
        request.budget,
        formats=request.formats,
        precision=request.precision,
        refusal=refusal_of(captured),
        has_calibration=request.task.calibration is not None,
    )


def _write(path: Path, made: Plan) -> None:
    try:
        path.write_text(json.dumps(made.to_json(), indent=1) + "\n", encoding="utf-8")
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
