"""`edgekit gate`: the exit code for CI."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import options
from edgekit.cli.gate_files import GateFiles, failure_written, write_files
from edgekit.cli.gate_sweep import AgainstBaseline, gate_sweep
from edgekit.cli.options import BUDGET, OUTPUT, RUNNING, option
from edgekit.errors import UsageError
from edgekit.gating.baseline import read_baseline
from edgekit.gating.request import GateRequest, exit_code, run_gate
from edgekit.sweeping.folder import is_sweep_folder
from edgekit.task.request import LIMIT_FLAGS

if TYPE_CHECKING:
    from edgekit.gating.gate import GateResult
    from edgekit.gating.outputs.findings import Finding
    from edgekit.task.request import Request

Target = Annotated[Path, typer.Argument(help="Folder that export or sweep wrote, or one artifact (it is run then).")]
Evaluation = Annotated[
    str | None,
    option(
        options.MODEL_AND_DATA, "--evaluation", help="Evaluation data: data.py:function, .npz or a folder of images."
    ),
]
Baseline = Annotated[
    Path | None,
    option(
        BUDGET,
        "--baseline",
        help="File of edgekit baseline set (default: edgekit-baseline.json, edgekit-sweep-baseline.json).",
    ),
]  # fmt: skip
BaseBaseline = Annotated[
    Path | None,
    option(BUDGET, "--base-baseline", help="Baseline of the base branch: tables show the changes from it."),
]
FailOnMissing = Annotated[
    bool,
    option(BUDGET, "--fail-on-missing-baseline", help="A format without a baseline fails; else it warns."),
]
Junit = Annotated[Path | None, option(OUTPUT, "--junit", help="Write JUnit XML.")]
Sarif = Annotated[Path | None, option(OUTPUT, "--sarif", help="Write SARIF 2.1.0.")]
Github = Annotated[bool, option(OUTPUT, "--github", help="GitHub annotations and job summary.")]
Markdown = Annotated[Path | None, option(OUTPUT, "--markdown", help="Write a table for a pull request; - is stdout.")]
Why = Annotated[bool, option(OUTPUT, "--why", help="Show the layers that cost most, and the worst slices.")]

Remeasure = Annotated[
    bool, option(RUNNING, "--remeasure", help="Run a folder's artifacts again instead of reading what its report says.")
]


def gate(
    target: Target,
    device: options.Device = None,
    model: options.FloatModel = None,
    config: options.Config = None,
    evaluation: Evaluation = None,
    metric: options.Metric = None,
    signature: options.Signature = None,
    example_inputs: options.ExampleInputs = None,
    inputs: options.Inputs = None,
    *,
    limits: options.Limits,
    baseline: Baseline = None,
    base_baseline: BaseBaseline = None,
    max_regression: options.MaxRegression = [],  # noqa: B006  Typer copies it
    fail_on_missing_baseline: FailOnMissing = False,
    junit: Junit = None,
    sarif: Sarif = None,
    github: Github = False,
    markdown: Markdown = None,
    why: Why = False,
    remeasure: Remeasure = False,
    measurements: options.Measurements = None,
    without: options.Without = None,
    strict: options.Strict = False,
    workers: options.Workers,
    no_cache: options.NoCache = False,
    screen: options.Screen,
    verbose: options.Verbose = False,
) -> int:
    """Hold an export against the device's budgets: exit code 0 if every one passes, 1 if not.

    A folder is judged by what its report measured, after that was checked against its artifacts and its lock; an
    artifact is run first, and so are those of a folder with --remeasure. Of a sweep all rows count, as they were
    judged. With a baseline, limits on regression are judged too. Latency is compared by timing both artifacts in turn.
    """
    if why and (screen.as_json or str(markdown) == "-"):
        raise UsageError("--why prints tables, and stdout is taken: leave --json or --markdown - out.")
    from edgekit.cli.settings import pipeline_settings

    files = GateFiles(junit=junit, sarif=sarif, github=github, markdown=markdown, as_json=screen.as_json)
    if is_sweep_folder(target):
        given = {
            "--device": device, "--model": model, "--config": config, "--evaluation": evaluation, "--metric": metric,
            "--example-inputs": example_inputs, "--input": inputs, "--base-baseline": base_baseline,
            "--markdown": markdown, "--why": why, "--remeasure": remeasure, "--measurements": measurements,
            "--without": without,
            **{LIMIT_FLAGS[name]: text for name, text in limits.texts().items()},
        }  # fmt: skip
        against = AgainstBaseline(
            baseline=baseline, regression=tuple(max_regression), fail_on_missing=fail_on_missing_baseline
        )
        return gate_sweep(target, files, against, given, strict=strict, screen=screen)
    with failure_written(files, device=device or "unknown device"):
        base = read_baseline(base_baseline) if base_baseline else None
        with pipeline_settings(screen, workers, no_cache=no_cache, jobs=1) as (settings, _):
            requested = GateRequest(
                target=target,
                settings=replace(settings, signature=signature or ""),
                device=device,
                model=model,
                config=config,
                limits=limits.texts(),
                overrides={"evaluation": evaluation, "metric": metric, "example_inputs": example_inputs},
                input_sizes=tuple(inputs or ()),
                regression=tuple(max_regression),
                without=tuple(without or ()),
                measurements=tuple(measurements or ()),
                baseline=baseline,
                fail_on_missing_baseline=fail_on_missing_baseline,
                remeasure=remeasure,
            )
            result, request = run_gate(requested)
    findings = write_files(files, result, request, strict=strict, base=base)
    if not screen.as_json and str(markdown) != "-":
        _show(result, findings, request, strict=strict, screen=screen, verbose=verbose, why=why)
    return exit_code(result, strict=strict)


def _show(
    result: GateResult,
    findings: tuple[Finding, ...],
    request: Request,
    *,
    strict: bool,
    screen: options.Screen,
    verbose: bool,
    why: bool,
) -> None:
    from edgekit.cli.gate_text import show_gate

    show_gate(result, findings, request, strict=strict, quiet=screen.quiet, verbose=verbose, no_color=screen.no_color)
    if why:
        from edgekit.cli.gate_why import show_why

        show_why(result, request, no_color=screen.no_color)
