"""`edgekit validate`: run an artifact, also one made elsewhere, and check the budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    MemoryLimit,
    MetricOption,
    MinParity,
    NoCache,
    NoColor,
    Quiet,
    Strict,
    Timeout,
    Verbose,
    make_request,
)
from edgekit.task import find_config

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
    min_parity: MinParity = None,
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
    runtime_of(artifact)
    has_task = model is not None or config is not None or find_config(Path.cwd()) is not None
    request = make_request(
        model=model,
        device=device,
        config=config,
        limits={
            "size": max_size,
            "download": max_download,
            "memory": max_memory,
            "latency": max_latency,
            "accuracy_drop": max_drop,
            "parity": min_parity,
        },
        overrides={
            "calibration": calibration,
            "evaluation": evaluation,
            "metric": metric,
            "example_inputs": example_inputs,
        },
    )
    from edgekit.cli.settings import pipeline_settings
    from edgekit.validation import validate as run_validation

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=1,
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, _):
        report = run_validation(
            artifact,
            request.task if has_task else None,
            device=request.profile.name,
            budget=request.budget,
            latency_models=request.profile.latency_model,
            settings=settings,
            cwd=Path.cwd(),
        )
    if as_json:
        write_json(report.to_json(strict=strict))
    else:
        show_report(report, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
    return report.exit_code(strict=strict)
