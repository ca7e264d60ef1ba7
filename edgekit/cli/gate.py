"""`edgekit gate`: the exit code for CI."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from edgekit.cli.gate_files import GateFiles, write_files
from edgekit.cli.task_options import (
    Config,
    Device,
    EvaluationOption,
    JsonOption,
    MaxDownload,
    MaxDrop,
    MaxLatency,
    MaxMemory,
    MaxRegression,
    MaxSize,
    MemoryLimit,
    MetricOption,
    MinParity,
    NoCache,
    NoColor,
    Quiet,
    Request,
    Strict,
    Timeout,
    Verbose,
    make_request,
)
from edgekit.cli.validate import FloatModel, request_validation, run_validation
from edgekit.errors import ArtifactError

if TYPE_CHECKING:
    from edgekit.baseline import Baseline, FormatRecord
    from edgekit.export_report import ExportReport
    from edgekit.gate import GateResult
    from edgekit.interleaved_timing import TimedRounds

BASELINE_VARIABLE: Final = "EDGEKIT_BASELINE"

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
    max_size: MaxSize = None,
    max_download: MaxDownload = None,
    max_memory: MaxMemory = None,
    max_latency: MaxLatency = None,
    max_drop: MaxDrop = None,
    min_parity: MinParity = None,
    baseline: BaselineOption = None,
    max_regression: MaxRegression = [],  # noqa: B006  Typer copies it
    fail_on_missing_baseline: FailOnMissing = False,
    junit: Junit = None,
    sarif: Sarif = None,
    github: Github = False,
    markdown: Markdown = None,
    why: Why = False,
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
    if not target.exists():
        raise ArtifactError(
            f"{target}: no such file or folder. Give the folder that edgekit export wrote, or an artifact."
        )
    is_folder = target.is_dir() and target.suffix != ".mlpackage"
    limits = {
        "size": max_size,
        "download": max_download,
        "memory": max_memory,
        "latency": max_latency,
        "accuracy_drop": max_drop,
        "parity": min_parity,
    }
    show = not (quiet or as_json)
    if is_folder:
        result, request = _gate_folder(target, model, device, config, limits, max_regression)
    else:
        request, has_task = request_validation(
            target,
            model=model,
            device=device,
            config=config,
            limits=limits,
            overrides={"evaluation": evaluation, "metric": metric},
            regression=max_regression,
        )
        report = run_validation(
            target,
            request,
            has_task=has_task,
            timeout=timeout,
            memory_limit=memory_limit,
            no_cache=no_cache,
            show_progress=show,
            no_color=no_color,
        )
        result = _gate_validated(report, request)
    result = _with_baseline(result, request, baseline, fail_on_missing_baseline, timeout, show=show, no_color=no_color)
    files = GateFiles(junit=junit, sarif=sarif, github=github, markdown=markdown, as_json=as_json)
    findings = write_files(files, result, request, strict=strict)
    if not as_json and str(markdown) != "-":
        from edgekit.cli.gate_text import show_gate

        show_gate(result, findings, request, strict=strict, quiet=quiet, verbose=verbose, no_color=no_color)
        if why:
            from edgekit.cli.gate_why import show_why

            show_why(result, request, no_color=no_color)
    return _exit_code(result, strict=strict)


def _gate_folder(
    folder: Path,
    model: str | None,
    device: str | None,
    config: Path | None,
    limits: Mapping[str, str | None],
    regression: list[str],
) -> tuple[GateResult, Request]:
    from edgekit.export_report import read_report
    from edgekit.gate import gate_folder

    request = make_request(model=model, device=device, config=config, limits=limits, regression=regression)
    if request.task.embedded_default:
        exported = read_report(folder)["model"]
        if exported and not exported["embedded_default"]:
            # The limits of the embedded default are about that model only.
            source = exported["source"]
            request = make_request(model=source, device=device, config=config, limits=limits, regression=regression)
    return gate_folder(folder, request.profile.name, request.budget), request


def _gate_validated(report: ExportReport, request: Request) -> GateResult:
    from edgekit.gate import gate_report

    return gate_report(report.to_json(), report.folder, request.profile.name, request.budget)


def _exit_code(result: GateResult, *, strict: bool) -> int:
    """Returns 0 or 1; for an artifact that could not be run, the code of what went wrong."""
    errors = [entry["error"]["exit_code"] for entry in result.report["formats"] if entry["error"] is not None]
    if errors and result.report["command"] == "validate":
        return int(max(errors))
    return 0 if result.passed(strict=strict) else 1


def _with_baseline(
    result: GateResult,
    request: Request,
    path: Path | None,
    fail_on_missing: bool,
    timeout: float,
    *,
    show: bool,
    no_color: bool,
) -> GateResult:
    """Returns the result with what the baseline says, where there is a baseline or a limit that needs one."""
    from edgekit.gate import hold_against_baseline

    found = _find_baseline(path)
    if found is None and not request.regression and not fail_on_missing:
        return result
    if found is None and fail_on_missing and not request.regression:
        raise ArtifactError(
            "There is no baseline and --fail-on-missing-baseline was given. Set one with: edgekit baseline set DIR, "
            "or name its file with --baseline."
        )
    from edgekit.cli.progress import StageDisplay

    with StageDisplay(enabled=show, no_color=no_color) as display:

        def timing(new: FormatRecord, old: FormatRecord) -> TimedRounds:
            from edgekit.interleaved_timing import TimedRounds, time_in_turn

            if new.file is None or old.file is None:
                return TimedRounds(missing="An artifact is gone.")
            return time_in_turn(
                new.file,
                old.file,
                new.runtime,
                timeout_s=timeout,
                progress=lambda phrase, share=None: display(new.runtime, phrase, share),
            )

        return hold_against_baseline(result, found, request.regression, timing, fail_on_missing=fail_on_missing)


def _find_baseline(path: Path | None) -> Baseline | None:
    from edgekit.baseline import BASELINE_NAME, read_baseline

    named = path or (Path(text) if (text := os.environ.get(BASELINE_VARIABLE)) else None)
    if named is None and not Path(BASELINE_NAME).is_file():
        return None
    return read_baseline(named or Path(BASELINE_NAME))
