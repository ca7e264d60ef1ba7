"""`edgekit validate`: run an artifact, also one made elsewhere, and check the budgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.artifact import runtime_of
from edgekit.cli.console import write_json
from edgekit.cli.export import show_report
from edgekit.cli.task_options import (
    CalibrationOption,
    Config,
    Device,
    EvaluationOption,
    ExampleInputs,
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
    MinDelegateCoverage,
    MinIntegerCoverage,
    MinParity,
    NoCache,
    NoColor,
    Quiet,
    Request,
    Strict,
    Timeout,
    Verbose,
    limit_texts,
    make_request,
)
from edgekit.task import find_config

if TYPE_CHECKING:
    from edgekit.export_report import ExportReport

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
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    max_slice_drop: MaxSliceDrop = None,
    min_parity: MinParity = None,
    min_integer_coverage: MinIntegerCoverage = None,
    min_delegate_coverage: MinDelegateCoverage = None,
    min_accelerator_coverage: MinAcceleratorCoverage = None,
    measurements: MeasurementsOption = None,
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
    """
    shares = (min_integer_coverage, min_delegate_coverage, min_accelerator_coverage)
    request, has_task = request_validation(
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
    )
    report = run_validation(
        artifact,
        request,
        has_task=has_task,
        measurements=measurements or (),
        timeout=timeout,
        memory_limit=memory_limit,
        no_cache=no_cache,
        show_progress=not (quiet or as_json),
        no_color=no_color,
    )
    if as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
    return report.exit_code(strict=strict)


def request_validation(
    artifact: Path,
    *,
    model: str | None,
    device: str | None,
    config: Path | None,
    limits: Mapping[str, str | None],
    overrides: Mapping[str, str | None],
    regression: Sequence[str] = (),
) -> tuple[Request, bool]:
    """Returns the request, and whether the user named a model (without one there is nothing to compare with).

    Raises:
        InputError: no such artifact, or a flag, file or variable is wrong.
    """
    runtime_of(artifact)
    has_task = model is not None or config is not None or find_config(Path.cwd()) is not None
    request = make_request(
        model=model,
        device=device,
        config=config,
        limits=limits,
        overrides=overrides,
        regression=regression,
        demo_limits=has_task,
    )
    return request, has_task


def run_validation(
    artifact: Path,
    request: Request,
    *,
    has_task: bool,
    measurements: Sequence[Path],
    timeout: float,
    memory_limit: str | None,
    no_cache: bool,
    show_progress: bool,
    no_color: bool,
) -> ExportReport:
    """Runs the artifact and returns its report."""
    from edgekit.cli.settings import pipeline_settings
    from edgekit.measurements.measurement import read_measurement
    from edgekit.validation import validate as validate_artifact

    with pipeline_settings(
        show_progress=show_progress,
        no_color=no_color,
        no_cache=no_cache,
        jobs=1,
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, _):
        return validate_artifact(
            artifact,
            request.task if has_task else None,
            device=request.profile.name,
            budget=request.budget,
            latency_models=request.profile.latency_model,
            accelerators=request.profile.accelerators,
            settings=settings,
            cwd=Path.cwd(),
            measurements=tuple(map(read_measurement, measurements)),
        )
