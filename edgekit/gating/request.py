"""A gate, from the request to the verdict: find or measure the figures, judge, compare with the baseline."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

from edgekit.errors import ArtifactError, UsageError
from edgekit.formats.table import all_formats
from edgekit.task.request import Request, make_request

if TYPE_CHECKING:
    from edgekit.exporting.artifact_data import ArtifactData
    from edgekit.gating.baseline import Baseline, FormatRecord
    from edgekit.gating.gate import GateResult
    from edgekit.gating.interleaved_timing import TimedRounds
    from edgekit.pipeline.settings import Settings
    from edgekit.profiles.profile import DeviceProfile
    from edgekit.task.task import Task

BASELINE_VARIABLE: Final = "EDGEKIT_BASELINE"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What is to be gated, and how.

    Attributes:
        target: Folder that export wrote, or an artifact.
        device: Name of the profile, or itself; None asks the environment.
        model: Float model of an artifact; None takes the task's.
        config: Task file; None takes the current folder's.
        limits: Cost name to the text of its limit.
        overrides: Task fields to their texts.
        input_sizes: Sizes of inputs, as texts.
        regression: Limits on changes, as texts.
        without: Checks that are shown and not judged.
        measurements: Files with figures from the device.
        baseline: Its file; None asks the environment, then looks in the current folder.
        fail_on_missing_baseline: A format without a baseline fails; else it warns.
        remeasure: The artifacts of a folder are run again; nothing that its report says about them is believed.
        settings: How worker processes run, and what is shown of them.
        task: The task, where it is known already; else `model`, `config` and `overrides` make it.
        data: What to run an artifact without a float model on, where it is known already; else `overrides` say it.
    """

    target: Path
    settings: Settings
    device: str | DeviceProfile | None = None
    model: str | None = None
    config: Path | None = None
    limits: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    overrides: Mapping[str, str | None] = field(default_factory=dict[str, "str | None"])
    input_sizes: tuple[str, ...] = ()
    regression: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    measurements: tuple[Path, ...] = ()
    baseline: Path | None = None
    fail_on_missing_baseline: bool = False
    task: Task | None = None
    data: ArtifactData | None = None
    remeasure: bool = False


def is_export_folder(target: Path) -> bool:
    """Returns whether a target is a folder that export wrote, and no artifact."""
    return target.is_dir() and target.suffix not in {suffix for one in all_formats() for suffix in one.suffixes}


def exported_source(folder: Path) -> str | None:
    """Returns the model that an export was made from, as its user wrote it; None for the embedded default.

    Raises:
        ArtifactError: the folder holds no export.
    """
    from edgekit.exporting.record_files import read_report

    model = read_report(folder)["model"]
    return str(model["source"]) if model and not model["embedded_default"] else None


def run_gate(requested: GateRequest) -> tuple[GateResult, Request]:
    """Returns the verdict, and the request that the flags, the environment, the files and the profile made.

    Raises:
        InputError: the target, a limit, a file or the baseline is wrong.
        MachineError: an artifact cannot be run here.
    """
    if not requested.target.exists():
        raise ArtifactError(
            f"{requested.target}: no such file or folder. Give the folder that edgekit export wrote, or an artifact."
        )
    result, request = _of_folder(requested) if is_export_folder(requested.target) else _of_artifact(requested)
    return _with_baseline(result, request, requested), request


def exit_code(result: GateResult, *, strict: bool) -> int:
    """Returns 0 or 1; for an artifact that could not be run, the code of what went wrong."""
    errors = [entry["error"]["exit_code"] for entry in result.report["formats"] if entry["error"] is not None]
    if errors and result.report["command"] == "validate":
        return int(max(errors))
    return 0 if result.passed(strict=strict) else 1


def _of_folder(requested: GateRequest) -> tuple[GateResult, Request]:
    given = [name for name, value in requested.overrides.items() if value is not None]
    given += ["input"] if requested.input_sizes else []
    if given and not requested.remeasure:
        raise UsageError(
            f"--{given[0].replace('_', '-')} has no effect on the folder {requested.target}: its report holds what was "
            "measured. Give one artifact, export again, or run the artifacts again with --remeasure."
        )
    from edgekit.gating.gate import gate_folder
    from edgekit.measurements.measurement import read_measurement

    def ask(model: str | None) -> Request:
        return make_request(
            model=model,
            device=requested.device,
            config=requested.config,
            limits=requested.limits,
            regression=requested.regression,
            task=requested.task,
            without=requested.without,
        )

    request = ask(requested.model)
    if request.task.embedded_default:
        # The limits of the embedded default are about that model only.
        request = ask(exported_source(requested.target))
    if requested.remeasure:
        return _remeasured(requested, embedded_default=request.task.embedded_default), request
    read = tuple(map(read_measurement, requested.measurements))
    cache = requested.settings.cache
    return gate_folder(requested.target, request.profile.name, request.budget, read, cache), request


def _of_artifact(requested: GateRequest) -> tuple[GateResult, Request]:
    from edgekit.exporting.validation import budget_of_artifact
    from edgekit.exporting.validation_request import request_validation, run_validation
    from edgekit.gating.gate import gate_validation

    request, data = request_validation(
        requested.target,
        model=requested.model,
        device=requested.device,
        config=requested.config,
        limits=requested.limits,
        overrides=requested.overrides,
        input_sizes=requested.input_sizes,
        regression=requested.regression,
        task=requested.task,
        without=requested.without,
        data=requested.data,
    )
    report = run_validation(
        requested.target,
        request,
        data=data,
        measurements=requested.measurements,
        settings=requested.settings,
    )
    if data is not None:
        made = report.results[0].artifact
        metadata = made.metadata if made is not None else {}
        request = replace(request, budget=budget_of_artifact(request.budget, metadata, Path.cwd()))
    return gate_validation(report), request


def _remeasured(requested: GateRequest, *, embedded_default: bool) -> GateResult:
    """Returns the verdict on the artifacts in a folder, each run again as if it had come alone.

    Of the report only the list of formats is taken, and why some of them failed.
    """
    from edgekit.exporting.record_files import read_report
    from edgekit.gating.gate import GateResult

    report = read_report(requested.target)
    source = report["model"]["source"] if report["model"] and not embedded_default else None
    entries, results = [], []
    for entry in report["formats"]:
        if entry["artifact"] is None:
            entries.append(entry)
            continue
        alone = replace(requested, target=requested.target / entry["artifact"]["path"], model=requested.model or source)
        found, _ = _of_artifact(alone)
        results.append(found)
        (again,) = found.report["formats"]
        entries.append({**again, "artifact": {**again["artifact"], "path": entry["artifact"]["path"]}})
    if not results:
        raise ArtifactError(f"{requested.target} holds no artifact: every format failed. Run edgekit export again.")
    failed = [entry for entry in report["formats"] if entry["artifact"] is None]
    reported = [f"{entry['runtime']} {entry['precision']}: {entry['error']['message']}" for entry in failed]
    facts = {
        "command": report["command"] if failed else "validate",
        "formats": entries,
        "artifacts": [entry["artifact"] for entry in entries if entry["artifact"] is not None],
        "checks": [check for entry in entries for check in entry["checks"]],
    }
    return GateResult(
        device=results[0].device,
        checks=tuple(check for result in results for check in result.checks),
        failures=(*reported, *(failure for result in results for failure in result.failures)),
        formats=tuple(f"{entry['runtime']} {entry['precision']}" for entry in entries),
        report={**results[0].report, **facts},
        folder=requested.target,
    )


def _with_baseline(result: GateResult, request: Request, requested: GateRequest) -> GateResult:
    """Returns the result with what the baseline says, where there is a baseline or a limit that needs one."""
    from edgekit.gating.gate import hold_against_baseline

    found = _find_baseline(requested.baseline)
    if found is None and not request.regression:
        if requested.fail_on_missing_baseline:
            raise ArtifactError(
                "There is no baseline and --fail-on-missing-baseline was given. "
                "Set one with: edgekit baseline set DIR, or name its file with --baseline."
            )
        return result

    def timing(new: FormatRecord, old: FormatRecord) -> TimedRounds:
        from edgekit.gating.interleaved_timing import TimedRounds, time_in_turn

        if new.file is None or old.file is None:
            return TimedRounds(missing="One of the two artifacts is not there.")
        settings = requested.settings
        progress = settings.stage(new.runtime)
        return time_in_turn(new.file, old.file, new.runtime, timeout_s=settings.timeout_s, progress=progress)

    return hold_against_baseline(
        result, found, request.regression, timing, fail_on_missing=requested.fail_on_missing_baseline
    )


def _find_baseline(path: Path | None) -> Baseline | None:
    from edgekit.gating.baseline import BASELINE_NAME, read_baseline

    named = path or (Path(text) if (text := os.environ.get(BASELINE_VARIABLE)) else None)
    if named is None and not Path(BASELINE_NAME).is_file():
        return None
    return read_baseline(named or Path(BASELINE_NAME))
