"""Carries out a gate, for the command line and for pytest: find or measure the figures, judge, compare."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.cli.task_options import Request, make_request
from edgekit.cli.validate import request_validation, run_validation
from edgekit.errors import ArtifactError, UsageError

if TYPE_CHECKING:
    from edgekit.baseline import Baseline, FormatRecord
    from edgekit.gate import GateResult
    from edgekit.interleaved_timing import TimedRounds

BASELINE_VARIABLE: Final = "EDGEKIT_BASELINE"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GateOrder:
    """What shall be gated, and how.

    Attributes:
        target: Folder that export wrote, or an artifact.
        device: Name of the profile; None asks the environment.
        model: Float model of an artifact; None takes the task's.
        config: Task file; None takes the current folder's.
        limits: Cost name to the text of its limit.
        overrides: Task fields to their texts.
        regression: Limits on changes, as texts.
        measurements: Files with figures from the device.
        baseline: Its file; None asks the environment, then looks in the current folder.
        fail_on_missing_baseline: A format without a baseline fails; else it warns.
        timeout: Seconds of each worker process.
        memory_limit: Memory of each worker process.
        no_cache: Do everything anew.
        show_progress: On stderr.
        no_color: No colours.
    """

    target: Path
    device: str | None = None
    model: str | None = None
    config: Path | None = None
    limits: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    overrides: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    regression: tuple[str, ...] = ()
    measurements: tuple[Path, ...] = ()
    baseline: Path | None = None
    fail_on_missing_baseline: bool = False
    timeout: float = 1800.0
    memory_limit: str | None = None
    no_cache: bool = False
    show_progress: bool = False
    no_color: bool = False


def carry_out(order: GateOrder) -> tuple[GateResult, Request]:
    """Returns the verdict, and the request that the flags, the environment, the files and the profile made.

    Raises:
        InputError: the target, a limit, a file or the baseline is wrong.
        MachineError: an artifact cannot be run here.
    """
    if not order.target.exists():
        raise ArtifactError(
            f"{order.target}: no such file or folder. Give the folder that edgekit export wrote, or an artifact."
        )
    is_folder = order.target.is_dir() and order.target.suffix != ".mlpackage"
    result, request = _of_folder(order) if is_folder else _of_artifact(order)
    return _with_baseline(result, request, order), request


def exit_code(result: GateResult, *, strict: bool) -> int:
    """Returns 0 or 1; for an artifact that could not be run, the code of what went wrong."""
    errors = [entry["error"]["exit_code"] for entry in result.report["formats"] if entry["error"] is not None]
    if errors and result.report["command"] == "validate":
        return int(max(errors))
    return 0 if result.passed(strict=strict) else 1


def _of_folder(order: GateOrder) -> tuple[GateResult, Request]:
    if given := [name for name, value in order.overrides.items() if value is not None]:
        raise UsageError(
            f"--{given[0]} has no effect on the folder {order.target}: its report holds what was measured. "
            "Give one artifact, or export again."
        )
    from edgekit.export_report import read_report
    from edgekit.gate import gate_folder
    from edgekit.measurements.measurement import read_measurement

    def ask(model: str | None) -> Request:
        return make_request(
            model=model,
            device=order.device,
            config=order.config,
            limits=order.limits,
            regression=order.regression,
        )

    request = ask(order.model)
    if request.task.embedded_default:
        exported = read_report(order.target)["model"]
        if exported and not exported["embedded_default"]:
            # The limits of the embedded default are about that model only.
            request = ask(exported["source"])
    read = tuple(map(read_measurement, order.measurements))
    return gate_folder(order.target, request.profile.name, request.budget, read), request


def _of_artifact(order: GateOrder) -> tuple[GateResult, Request]:
    from edgekit.gate import gate_report
    from edgekit.validation import budget_of_artifact

    request, has_task = request_validation(
        order.target,
        model=order.model,
        device=order.device,
        config=order.config,
        limits=order.limits,
        overrides=order.overrides,
        regression=order.regression,
    )
    report = run_validation(
        order.target,
        request,
        has_task=has_task,
        measurements=order.measurements,
        timeout=order.timeout,
        memory_limit=order.memory_limit,
        no_cache=order.no_cache,
        show_progress=order.show_progress,
        no_color=order.no_color,
    )
    if not has_task:
        made = report.results[0].artifact
        metadata = made.metadata if made is not None else {}
        request = replace(request, budget=budget_of_artifact(request.budget, metadata, Path.cwd()))
    return gate_report(report.to_json(), report.folder, request.profile.name, request.budget), request


def _with_baseline(result: GateResult, request: Request, order: GateOrder) -> GateResult:
    """Returns the result with what the baseline says, where there is a baseline or a limit that needs one."""
    from edgekit.gate import hold_against_baseline

    found = _find_baseline(order.baseline)
    if found is None and not request.regression:
        if order.fail_on_missing_baseline:
            raise ArtifactError(
                "There is no baseline and --fail-on-missing-baseline was given. "
                "Set one with: edgekit baseline set DIR, or name its file with --baseline."
            )
        return result
    from edgekit.cli.progress import StageDisplay

    with StageDisplay(enabled=order.show_progress, no_color=order.no_color) as display:

        def timing(new: FormatRecord, old: FormatRecord) -> TimedRounds:
            from edgekit.interleaved_timing import TimedRounds, time_in_turn

            if new.file is None or old.file is None:
                return TimedRounds(missing="One of the two artifacts is not there.")

            def tell(phrase: str, share: float | None = None) -> None:
                display(new.runtime, phrase, share)

            return time_in_turn(new.file, old.file, new.runtime, timeout_s=order.timeout, progress=tell)

        return hold_against_baseline(
            result, found, request.regression, timing, fail_on_missing=order.fail_on_missing_baseline
        )


def _find_baseline(path: Path | None) -> Baseline | None:
    from edgekit.baseline import BASELINE_NAME, read_baseline

    named = path or (Path(text) if (text := os.environ.get(BASELINE_VARIABLE)) else None)
    if named is None and not Path(BASELINE_NAME).is_file():
        return None
    return read_baseline(named or Path(BASELINE_NAME))
