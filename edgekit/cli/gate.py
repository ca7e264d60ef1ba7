"""`edgekit gate`: the exit code for CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli.console import console, write_json
from edgekit.cli.task_options import (
    Config,
    Device,
    EvaluationOption,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxSize,
    MeasurementsOption,
    MetricOption,
    MinParity,
    NoColor,
    Quiet,
    Request,
    Strict,
    Verbose,
    make_request,
)
from edgekit.cli.validate import FloatModel, validate
from edgekit.errors import ArtifactError

if TYPE_CHECKING:
    from edgekit.gate import GateResult

Target = Annotated[Path, typer.Argument(help="Folder that export wrote, or one artifact (it is run then).")]


def gate(
    target: Target,
    device: Device = None,
    model: FloatModel = None,
    config: Config = None,
    evaluation: EvaluationOption = None,
    metric: MetricOption = None,
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    min_parity: MinParity = None,
    measurements: MeasurementsOption = None,
    strict: Strict = False,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
) -> int:
    """Hold an export against the device's budgets: exit code 0 if every one is kept, 1 if not.

    A folder is judged by what its report measured, after its artifacts' hashes were checked; an artifact is run first.
    """
    limits = {
        "size": max_size,
        "download": max_download,
        "memory": max_memory,
        "latency": max_latency,
        "accuracy_drop": max_drop,
        "parity": min_parity,
    }
    if not target.exists():
        raise ArtifactError(
            f"{target}: no such file or folder. Give the folder that edgekit export wrote, or an artifact."
        )
    if not target.is_dir() or target.suffix == ".mlpackage":
        return validate(
            target,
            device=device,
            model=model,
            config=config,
            evaluation=evaluation,
            metric=metric,
            max_size=max_size,
            max_download=max_download,
            max_memory=max_memory,
            max_latency=max_latency,
            max_drop=max_drop,
            min_parity=min_parity,
            measurements=measurements,
            strict=strict,
            as_json=as_json,
            quiet=quiet,
            verbose=verbose,
            no_color=no_color,
        )
    request = make_request(model=model, device=device, config=config, limits=limits)
    from edgekit.gate import gate_folder
    from edgekit.measurements.measurement import read_measurement

    read = tuple(map(read_measurement, measurements or ()))
    result = gate_folder(target, request.profile.name, request.budget, read)
    if as_json:
        write_json(result.to_json(strict=strict))
    else:
        _show(result, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
    return 0 if result.passed(strict=strict) else 1


def _show(result: GateResult, request: Request, *, strict: bool, quiet: bool, verbose: bool, no_color: bool) -> None:
    from edgekit import render

    screen = console(no_color=no_color)
    if not quiet:
        screen.print(f"{', '.join(result.formats)}, held against {request.profile.title} ({result.device})")
        screen.print()
        screen.print(render.check_table(result.checks, with_runtime=True, with_detail=verbose))
        screen.print()
    good = result.passed(strict=strict)
    for line in render.gate_lines(result.checks, result.failures, device=result.device, good=good):
        screen.print(line)
