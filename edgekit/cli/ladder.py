"""`edgekit ladder`: FP16, INT8, INT4, each exported and measured, down to the cliff and the layers that make it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.options import (
    CalibrationOption,
    Config,
    Device,
    EvaluationOption,
    ExampleInputs,
    InputSizesOption,
    Jobs,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MemoryLimit,
    MetricOption,
    MinParity,
    Model,
    NoCache,
    NoColor,
    Quiet,
    Strict,
    TechniqueOption,
    Timeout,
    Verbose,
    limit_texts,
)
from edgekit.errors import UsageError
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request

if TYPE_CHECKING:
    from edgekit.exporting.report import ExportReport
    from edgekit.model import CapturedModel
    from edgekit.pipeline.settings import Settings
    from edgekit.trials.ladder_rungs import Ladder, LadderRequest

OneFormat = Annotated[
    str | None,
    typer.Option(
        "--format", "-f", help="tflite, onnx, executorch or coreml (default: the planner's choice).", show_default=False
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Export the rung that is recommended into this folder, as export does.",
        show_default=False,
    ),
]  # fmt: skip


def ladder(
    model: Model = None,
    device: Device = None,
    config: Config = None,
    format: OneFormat = None,  # noqa: A002  the flag's name
    technique: TechniqueOption = None,
    calibration: CalibrationOption = None,
    evaluation: EvaluationOption = None,
    metric: MetricOption = None,
    example_inputs: ExampleInputs = None,
    inputs: InputSizesOption = [],  # noqa: B006  Typer copies it
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    min_parity: MinParity = None,
    output: Output = None,
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
    """Export and measure FP16, INT8 and INT4 in turn, stop before the accuracy cliff, and name its layers.

    Exit code: 0 if a rung keeps the budget, 1 if none does, 2 wrong input, 3 this machine cannot.
    """
    data = {"calibration": calibration, "evaluation": evaluation, "metric": metric, "example_inputs": example_inputs}
    request = make_request(
        model=model,
        device=device,
        config=config,
        formats=format,
        techniques=technique,
        limits=limit_texts(max_size, max_download, max_memory, max_latency, max_drop, min_parity=min_parity),
        overrides=data,
        input_sizes=read_input_sizes(inputs),
    )
    if len(request.formats) > 1:
        raise UsageError(
            f"A ladder is about one format, and {', '.join(request.formats)} were named. Give one with --format."
        )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.exporting.export import default_jobs

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=jobs or default_jobs(),
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, display):
        made, report = _run(request, output, settings, display.done, strict=strict)
    if as_json:
        exported = report.to_json(strict=strict) if report is not None else None
        write_json({**made.to_json(), "export": exported})
    else:
        _print(made, report, request, quiet=quiet, verbose=verbose, no_color=no_color)
    return max(made.exit_code, report.exit_code(strict=strict) if report is not None else 0)


def _run(
    request: Request, output: Path | None, settings: Settings, done: Callable[[str, str], None], *, strict: bool
) -> tuple[Ladder, ExportReport | None]:
    """Returns the ladder, and what came of the export of its best rung where there was to be one."""
    from contextlib import nullcontext

    from edgekit.pipeline.capture import capture_model
    from edgekit.trials.choice import refuse_techniques
    from edgekit.trials.ladder import ladder as climb_down
    from edgekit.trials.ladder_rungs import LadderRequest
    from edgekit.workers.output_folder import output_folder

    model = capture_model(request.task, settings)
    refuse_techniques(request, model)
    asked = LadderRequest(
        task=request.task,
        model=model,
        profile=request.profile,
        budget=request.budget,
        runtime=_runtime(request, model, settings),
        techniques=request.techniques,
        strict=strict,
    )
    with output_folder(output) if output is not None else nullcontext():
        made = climb_down(asked, settings, done)
        report = _export(made, asked, output, settings, done) if output is not None else None
    return made, report


def _runtime(request: Request, model: CapturedModel, settings: Settings) -> str:
    """Returns the format that was asked for, else the one that the planner would choose.

    Raises:
        UsageError: this model can become none.
    """
    from edgekit.trials.choice import plan_request
    from edgekit.trials.planning import plan

    if request.formats:
        return request.formats[0]
    made = plan(plan_request(request, model, "quick", settings), settings)
    if made.chosen is None:
        reasons = "\n".join(f"  {item.candidate}: {item.reason}" for item in made.rejected)
        raise UsageError(f"{model.source} cannot be exported for {request.profile.name}:\n{reasons}")
    return made.chosen.runtime


def _export(
    made: Ladder, asked: LadderRequest, output: Path, settings: Settings, done: Callable[[str, str], None]
) -> ExportReport | None:
    """Exports the rung that is recommended, from the cache; None where no rung keeps the budget."""
    from edgekit.exporting.details import details_json, write_details
    from edgekit.exporting.export import export
    from edgekit.exporting.inputs import read_inputs
    from edgekit.exporting.record_files import write_report
    from edgekit.pipeline.analysis import analyze_model
    from edgekit.usage.snippets import write_usage

    if made.chosen is None:
        return None
    candidate, profile = made.chosen.candidate, asked.profile
    inputs = read_inputs(
        asked.task, [candidate.runtime], settings, model=asked.model, as_torch=bool(candidate.techniques)
    )
    report = export(
        inputs,
        [candidate],
        device=profile.name,
        budget=asked.budget,
        folder=output,
        settings=settings,
        accelerators=profile.accelerators,
        done=done,
    )
    write_report(report)
    write_usage(report)
    write_details(output, details_json(report, (), analyze_model(asked.model, settings), profile.latency_model))
    return report


def _print(
    made: Ladder,
    report: ExportReport | None,
    request: Request,
    *,
    quiet: bool,
    verbose: bool,
    no_color: bool,
) -> None:
    from rich.table import Table

    from edgekit.cli import tables
    from edgekit.cli.ladder_text import LadderText

    out = console(no_color=no_color)
    text = LadderText(ladder=made, request=request, exported=report is not None, width=min(out.width, 100))
    for part in text.verdict() if quiet else text.story(verbose=verbose):
        # Text is wrapped already, and a command to copy must not be.
        out.print(part, soft_wrap=not isinstance(part, Table))
    if report is not None and not quiet:
        for line in (*tables.verdict_lines(report), ""):
            out.print(line)
        for line in tables.artifact_lines(report):
            out.print(line, style="dim", markup=False)
