"""`edgekit ladder`: FP16, INT8, INT4, each exported and measured, down to the cliff and the layers that make it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from edgekit.cli import options
from edgekit.cli.completion import complete_format
from edgekit.cli.options import CHOICE, OUTPUT, option
from edgekit.task.dimensions import read_dimensions
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import Request, make_request
from edgekit.terminal.console import console, write_json

if TYPE_CHECKING:
    from edgekit.exporting.report import ExportReport
    from edgekit.trials.ladder_rungs import Ladder

OneFormat = Annotated[
    list[str] | None,
    option(
        CHOICE, "--format", "-f", autocompletion=complete_format,
        help="tflite, onnx, executorch or coreml (default: the planner's choice).",
    ),
]  # fmt: skip
Output = Annotated[
    Path | None,
    option(OUTPUT, "--output", "-o", help="Export the rung that is recommended into this folder, as export does."),
]


def ladder(
    model: options.Model = None,
    device: options.Device = None,
    config: options.Config = None,
    format: OneFormat = None,  # noqa: A002  the flag's name
    technique: options.Technique = None,
    *,
    data: options.Data,
    dimensions: options.Dimensions = None,
    metric: options.Metric = None,
    limits: options.Limits,
    output: Output = None,
    strict: options.Strict = False,
    jobs: options.Jobs = 0,
    workers: options.Workers,
    no_cache: options.NoCache = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Export and measure FP16, INT8 and INT4 in turn, stop before the accuracy cliff, and name its layers.

    Exit code: 0 if a rung keeps the budget, 1 if none does, 2 wrong input, 3 this machine cannot.
    """
    request = make_request(
        model=model,
        device=device,
        config=config,
        formats=options.joined(format),
        techniques=technique,
        limits=limits.texts(),
        overrides=data.overrides(metric),
        input_sizes=read_input_sizes(data.inputs or ()),
        dimensions=read_dimensions(dimensions or ()),
    )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.trials.ladder_request import run_ladder

    with pipeline_settings(screen, workers, no_cache=no_cache, jobs=jobs) as (settings, display):
        run = run_ladder(request, output, settings, display.done, strict=strict)
    if screen.as_json:
        write_json(run.to_json(strict=strict))
    else:
        _print(run.ladder, run.exported, request, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    return run.exit_code(strict=strict)


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
