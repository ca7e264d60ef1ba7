"""`edgekit validate`: run an artifact, also one made elsewhere, and check the budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import write_json
from edgekit.cli.export import show_report
from edgekit.cli.options import (
    CalibrationOption,
    Config,
    Device,
    EvaluationOption,
    ExampleInputs,
    InputSizesOption,
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
    NoCache,
    NoColor,
    Quiet,
    Strict,
    Timeout,
    Verbose,
    Without,
    limit_texts,
)
from edgekit.exporting.validation_request import request_validation, run_validation

ArtifactArgument = Annotated[Path, typer.Argument(help="A .tflite, .onnx, .pte file or an .mlpackage folder.")]
FloatModel = Annotated[
    str | None,
    typer.Option("--model", "-m", help="The float model to compare with, named as for export.", show_default=False),
]


def validate(
    artifact: ArtifactArgument,
    device: Device = None,
    model: FloatModel = None,
    config: Config = None,
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
    timeout: Timeout = 1800.0,
    memory_limit: MemoryLimit = None,
    no_cache: NoCache = False,
    as_json: JsonOption = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    no_color: NoColor = False,
) -> int:
    """Run an artifact in its own runtime, compare it with its float model, and check the device's budgets.

    Without a model there is nothing to compare with: size and memory are judged, accuracy is not run and does not pass.
    The artifact runs on the data that is given, else on made-up values; a file with free sizes asks for --input.
    """
    shares = (min_integer_coverage, min_delegate_coverage, min_accelerator_coverage, min_parity_floor, min_accuracy)
    request, data = request_validation(
        artifact,
        model=model,
        device=device,
        config=config,
        limits=limit_texts(
            max_size, max_download, max_memory, max_latency, max_drop, max_slice_drop, min_parity, *shares
        ),
        overrides={
            "calibration": calibration,
            "evaluation": evaluation,
            "metric": metric,
            "example_inputs": example_inputs,
        },
        input_sizes=inputs,
        without=without or (),
    )
    from edgekit.cli.settings import pipeline_settings

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=1,
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, _):
        report = run_validation(artifact, request, data=data, measurements=measurements or (), settings=settings)
    if as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
    return report.exit_code(strict=strict)
