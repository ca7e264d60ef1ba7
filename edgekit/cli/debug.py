"""`edgekit debug`: where an artifact departs from its float model, layer by layer, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.artifact import runtime_of
from edgekit.cli.console import console, write_json
from edgekit.cli.options import (
    CalibrationOption,
    Config,
    EvaluationOption,
    ExampleInputs,
    InputSizesOption,
    JsonOption,
    MemoryLimit,
    NoCache,
    NoColor,
    Quiet,
    Timeout,
    Verbose,
)
from edgekit.cli.validate import ArtifactArgument, FloatModel
from edgekit.errors import UsageError
from edgekit.task.input_sizes import read_input_sizes
from edgekit.task.request import make_task
from edgekit.task.task import find_config

if TYPE_CHECKING:
    from edgekit.debugging.report import DebugReport

SAMPLES = 16

SamplesOption = Annotated[int, typer.Option("--samples", "-n", min=1, help="How many samples to run.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="calibration or evaluation; default: the first that the task has.", show_default=False),
]
DeviceOption = Annotated[
    str | None,
    typer.Option("--device", "-d", help="For the commands that are shown; default: report.json's.", show_default=False),
]


def debug(
    artifact: ArtifactArgument,
    model: FloatModel = None,
    config: Config = None,
    calibration: CalibrationOption = None,
    evaluation: EvaluationOption = None,
    example_inputs: ExampleInputs = None,
    inputs: InputSizesOption = [],  # noqa: B006  Typer copies it
    data: DataOption = None,
    samples: SamplesOption = SAMPLES,
    device: DeviceOption = None,
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    no_cache: NoCache = False,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
) -> int:
    """Compare an artifact with its float model inside, tensor by tensor, and name the layer that breaks it.

    The artifact runs in its own runtime with its inner tensors laid open; they are matched with the float model's by
    content. Exit code 0 if the comparison could be made, whatever it says: a verdict is gate's business.
    """
    if data not in (None, "calibration", "evaluation"):
        raise UsageError(f'--data "{data}" is not known: accepted are calibration, evaluation.')
    runtime_of(artifact)
    cwd = Path.cwd()
    overrides = {"calibration": calibration, "evaluation": evaluation, "example_inputs": example_inputs}
    named = model is not None or config is not None or find_config(cwd) is not None
    task = replace(make_task(model, config, overrides, cwd), input_sizes=read_input_sizes(inputs)) if named else None
    from edgekit.cli.settings import pipeline_settings
    from edgekit.debugging.debug import DebugRequest
    from edgekit.debugging.debug import debug as compare

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=1,
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, _):
        report = compare(
            DebugRequest(
                artifact=artifact,
                task=task,
                data=data,
                samples=samples,
                device=device,
                model=model,
                config=config,
                calibration=calibration,
                cwd=cwd,
            ),
            settings,
        )
    if as_json:
        write_json(report.to_json())
    else:
        _show(report, quiet=quiet, verbose=verbose, no_color=no_color)
    return 0


def _show(report: DebugReport, *, quiet: bool, verbose: bool, no_color: bool) -> None:
    from rich.table import Table

    from edgekit.cli.debug_text import story, suspect_lines

    out = console(no_color=no_color)
    parts = suspect_lines(report) if quiet else story(report, verbose=verbose)
    for part in parts:
        if isinstance(part, Table):
            out.print(part)
        else:
            # A command to copy must not be wrapped.
            out.print(part, soft_wrap=True)
