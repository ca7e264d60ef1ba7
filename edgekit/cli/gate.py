"""`edgekit gate`: the exit code for CI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.gate_files import GateFiles, write_files
from edgekit.cli.options import (
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
    MaxRegression,
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
from edgekit.cli.validate import FloatModel
from edgekit.errors import UsageError
from edgekit.gating.request import GateRequest, exit_code, run_gate

Target = Annotated[Path, typer.Argument(help="Folder that export wrote, or one artifact (it is run then).")]
BaselineOption = Annotated[
    Path | None,
    typer.Option(
        "--baseline", help="File of edgekit baseline set (default: edgekit-baseline.json here).", show_default=False
    ),
]
FailOnMissing = Annotated[
    bool, typer.Option("--fail-on-missing-baseline", help="A format without a baseline fails; else it warns.")
]
Junit = Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML.", show_default=False)]
Sarif = Annotated[Path | None, typer.Option("--sarif", help="Write SARIF 2.1.0.", show_default=False)]
Github = Annotated[bool, typer.Option("--github", help="GitHub annotations and job summary.")]
Markdown = Annotated[
    Path | None, typer.Option("--markdown", help="Write a table for a pull request; - is stdout.", show_default=False)
]
Why = Annotated[bool, typer.Option("--why", help="Show the layers that cost most, and the worst slices.")]


def gate(
    target: Target,
    device: Device = None,
    model: FloatModel = None,
    config: Config = None,
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
    baseline: BaselineOption = None,
    max_regression: MaxRegression = [],  # noqa: B006  Typer copies it
    fail_on_missing_baseline: FailOnMissing = False,
    junit: Junit = None,
    sarif: Sarif = None,
    github: Github = False,
    markdown: Markdown = None,
    why: Why = False,
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
    """Hold an export against the device's budgets: exit code 0 if every one is kept, 1 if not.

    A folder is judged by what its report measured, after its artifacts' hashes were checked; an artifact is run first.
    With a baseline, limits on regression are judged too. Latency is compared by timing both artifacts in turn.
    """
    if why and (as_json or str(markdown) == "-"):
        raise UsageError("--why prints tables, and stdout is taken: leave --json or --markdown - out.")
    shares = (min_integer_coverage, min_delegate_coverage, min_accelerator_coverage, min_parity_floor, min_accuracy)
    from edgekit.cli.settings import pipeline_settings

    with pipeline_settings(
        show_progress=not (quiet or as_json),
        no_color=no_color,
        no_cache=no_cache,
        jobs=1,
        timeout_s=timeout,
        memory_limit=memory_limit,
    ) as (settings, _):
        result, request = run_gate(
            GateRequest(
                target=target,
                settings=settings,
                device=device,
                model=model,
                config=config,
                limits=limit_texts(
                    max_size, max_download, max_memory, max_latency, max_drop, max_slice_drop, min_parity, *shares
                ),
                overrides={"evaluation": evaluation, "metric": metric, "example_inputs": example_inputs},
                input_sizes=tuple(inputs),
                regression=tuple(max_regression),
                without=tuple(without or ()),
                measurements=tuple(measurements or ()),
                baseline=baseline,
                fail_on_missing_baseline=fail_on_missing_baseline,
            )
        )
    files = GateFiles(junit=junit, sarif=sarif, github=github, markdown=markdown, as_json=as_json)
    findings = write_files(files, result, request, strict=strict)
    if not as_json and str(markdown) != "-":
        from edgekit.cli.gate_text import show_gate

        show_gate(result, findings, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
        if why:
            from edgekit.cli.gate_why import show_why

            show_why(result, request, no_color=no_color)
    return exit_code(result, strict=strict)
