"""The gate: holds what an export measured against today's budgets, and against a baseline, without measuring again.

The budgets may have changed since the export (another device, a new flag), the figures have not: they belong to the
artifacts' bytes, so an artifact whose bytes have changed is refused, and so is a report that says other figures than
its artifacts and its lock. Only a limit on how much slower an artifact may
become is measured here, because two timings compare only where they are taken in turn.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from edgekit.budget import PATHS, RECIPE_SOURCE, SOUNDNESS, SOUNDNESS_SOURCE, Budget, Limit
from edgekit.checks import Check, complete, judge, passed
from edgekit.errors import ArtifactError
from edgekit.exporting.lock import find_lock, read_lock
from edgekit.exporting.record_check import find_contradictions
from edgekit.exporting.record_files import read_report
from edgekit.exporting.report import SCHEMA_VERSION, ExportReport
from edgekit.gating.baseline import Baseline, format_records
from edgekit.gating.comparison import Timing, compare, without_baseline
from edgekit.measurements.imported_checks import check_belongs, with_measurements
from edgekit.measurements.measurement import Measurement
from edgekit.validators.floors import precisions_named, sound_limit
from edgekit.workers.cache import Cache


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The verdict on one export folder, or on one artifact.

    Attributes:
        device: Whose budgets were applied.
        checks: All checks of all formats, judged anew; those against a baseline last.
        failures: Formats that could not be made or run, each with its reason.
        formats: Formats in the report: runtime and precision.
        report: The JSON of the export or of the validation.
        folder: What the paths in `report` start from.
        baseline: What the export was compared with, None where it was not.
    """

    device: str
    checks: tuple[Check, ...]
    failures: tuple[str, ...]
    formats: tuple[str, ...]
    report: Mapping[str, Any]
    folder: Path
    baseline: Baseline | None = None

    def passed(self, *, strict: bool = False) -> bool:
        """True if every format was made and every check of each passes."""
        by_runtime: dict[str, list[Check]] = {}
        for check in self.checks:
            by_runtime.setdefault(check.runtime, []).append(check)
        return bool(by_runtime) and not self.failures and all(passed(x, strict=strict) for x in by_runtime.values())

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        return {
            "schema_version": SCHEMA_VERSION,
            "command": "gate",
            "device": self.device,
            "runtime": self.report["runtime"],
            "feasible": not self.failures,
            "passed": self.passed(strict=strict),
            "model": self.report["model"],
            "steps": self.report["steps"],
            "checks": [check.to_json() for check in self.checks],
            "predictions": self.report["predictions"],
            "rejected": self.report["rejected"],
            "artifacts": self.report["artifacts"],
            "failures": list(self.failures),
            "calibration": self.report.get("calibration"),
            "baseline": str(self.baseline.path) if self.baseline else None,
        }


def gate_folder(
    folder: Path,
    device: str,
    budget: Budget,
    measurements: Sequence[Measurement] = (),
    cache: Cache | None = None,
) -> GateResult:
    """Returns the verdict on what `edgekit export` left in `folder`.

    Args:
        folder: The export's folder.
        device: Name of the profile.
        budget: Today's limits.
        measurements: Figures of these artifacts from the device; they take the place of the export's.
        cache: May know what an artifact's bytes deflate to and hold, by their SHA-256.

    Raises:
        DataError: a measurement of another device, or of an artifact that is not there.
        ArtifactError: no report or lock there, or they contradict each other or the artifacts.
    """
    return gate_report(check_folder(folder, cache), folder, device, budget, measurements)


def check_folder(folder: Path, cache: Cache | None = None) -> dict[str, Any]:
    """Returns the report in `folder`, after checking it against its artifacts and its lock.

    Raises:
        ArtifactError: no report or lock there, a fault in one of them, or each thing that they contradict.
    """
    report = read_report(folder)
    if found := find_contradictions(report, read_lock(find_lock(folder)), folder, cache):
        if len(found) == 1 and " is gone, " in found[0]:
            raise ArtifactError(f"{found[0]}. Run edgekit export again.")
        again = "Run edgekit export again, or edgekit validate on the new file."
        if len(found) == 1 and " has changed since " in found[0]:
            raise ArtifactError(f"{found[0]}. {again}")
        raise ArtifactError(
            "\n".join((f"{folder}: the records contradict each other:", *(f"  {line}" for line in found)))
            + "\nRun edgekit export again, or run the artifacts again with: "
            + shlex.join(["edgekit", "gate", str(folder), "-d", report["device"], "--remeasure"])
        )
    return report


def gate_report(
    report: Mapping[str, Any], folder: Path, device: str, budget: Budget, measurements: Sequence[Measurement] = ()
) -> GateResult:
    """Returns the verdict on a report whose artifacts lie in `folder` as they were measured (see `gate_folder`)."""
    digests = [entry["artifact"]["sha256"] for entry in report["formats"] if entry["artifact"] is not None]
    check_belongs(measurements, device, digests, str(folder))
    checks: list[Check] = []
    failures: list[str] = []
    formats: list[str] = []
    for entry in report["formats"]:
        name = f"{entry['runtime']} {entry['precision']}"
        formats.append(name)
        if entry["error"] is not None:
            failures.append(f"{name}: {entry['error']['message']}")
        if entry["artifact"] is None:
            continue
        limits = budget.for_format(entry["runtime"])
        judged = [
            _judge_anew(Check.from_json(check), limits, report["device"], device, entry["precision"])
            for check in entry["checks"]
        ]
        # A report need not have figures about paths that its formats may not have.
        completed = complete(judged, limits.without_profile_paths(), entry["runtime"])
        checks += with_measurements(completed, measurements, entry["artifact"]["sha256"], limits)
    return GateResult(
        device=device,
        checks=tuple(checks),
        failures=tuple(failures),
        formats=tuple(formats),
        report=report,
        folder=folder,
    )


def gate_validation(report: ExportReport) -> GateResult:
    """Returns the verdict on an artifact that was run just now: as it was judged then, not judged a second time."""
    return GateResult(
        device=report.device,
        checks=tuple(check for result in report.results for check in result.checks),
        failures=tuple(
            f"{result.runtime} {result.precision}: {result.error.message}"
            for result in report.results
            if result.error is not None
        ),
        formats=tuple(f"{result.runtime} {result.precision}" for result in report.results),
        report=report.to_json(),
        folder=report.folder,
    )


def hold_against_baseline(
    result: GateResult,
    baseline: Baseline | None,
    limits: Sequence[Limit],
    timing: Timing,
    *,
    fail_on_missing: bool = False,
) -> GateResult:
    """Returns the verdict with the checks of changes against a baseline.

    Args:
        result: The verdict so far.
        baseline: None where there is none.
        limits: On changes; without any the baseline is only shown beside today's figures.
        timing: Times two artifacts in turn.
        fail_on_missing: A format that has no baseline fails; else it is a warning.
    """
    records = [
        # As judged: what was imported takes the place of what the report holds.
        replace(record, figures=tuple(x for x in result.checks if x.runtime == record.runtime and x.value is not None))
        for record in format_records(result.report, result.folder)
    ]
    if baseline is None:
        folder = "DIR" if result.report["command"] == "validate" else shlex.quote(str(result.folder))
        reason = f"There is no baseline. Set one with: edgekit baseline set {folder}"
        known, changes = [], without_baseline([record.runtime for record in records], limits, reason)
    else:
        evaluation = (result.report.get("data") or {}).get("evaluation") or {}
        known = [record.runtime for record in records if baseline.find(record.runtime, record.precision)]
        changes = compare(records, evaluation.get("sha256"), baseline, limits, timing)
    if not fail_on_missing:
        # The first export of a format has nothing to be compared with: that must be seen, and must not stop anybody.
        changes = tuple(
            x if x.runtime in known or x.verdict != "not_run" else replace(x, level="warn") for x in changes
        )
    order = {entry["runtime"]: i for i, entry in enumerate(result.report["formats"])}
    # Stable: each format's checks stay together, its changes last.
    checks = sorted((*result.checks, *changes), key=lambda check: order.get(check.runtime, len(order)))
    return replace(result, checks=tuple(checks), baseline=baseline)


def _limit_today(check: Check, budget: Budget, precision: str) -> Limit | None:
    """Returns today's limit; one that follows from the recipe stands as long as no budget names another."""
    if check.name in SOUNDNESS and (check.value is not None or check.limit is not None):
        return _sound_limit_today(check, budget, precision)
    limit = budget.get(check.name)
    if check.name in PATHS and check.value is None and check.limit is None:
        # The export has found that the format has no such path.
        limit = budget.without_profile_paths().get(check.name)
    if limit is None and check.limit is not None and check.limit_from == RECIPE_SOURCE:
        return Limit(name=check.name, value=check.limit, source=RECIPE_SOURCE, level=check.level)
    return limit


def _sound_limit_today(check: Check, budget: Budget, precision: str) -> Limit | None:
    """Returns the limit on a check of soundness: whoever waived it for the export has not waived it here."""
    default = sound_limit(check.name, precisions_named(precision))
    if check.limit is not None and check.limit_from == SOUNDNESS_SOURCE:
        default = replace(default, value=check.limit)  # of a mixed recipe the name does not tell all
    limit = budget.get_or(default)
    # What could not be measured warned where it was judged, or failed there: it does the same here.
    return replace(limit, level=check.level) if limit is not None and check.value is None else limit


def _judge_anew(check: Check, budget: Budget, exported_for: str, device: str, precision: str) -> Check:
    """Returns a check with the same figure and today's limit.

    What was imported counts for its own device only, and a prediction for another device is no figure.
    """
    detail = ""
    if check.basis == "imported" and check.measured_on != device:
        detail = f"It was imported from {check.measured_on} and not measured on {device}."
    if check.name in PATHS and check.basis == "predicted" and check.value is None and exported_for != device:
        # Whether this device reaches an accelerator with this format is not in a report that was made for another one.
        again = f"The export was for {exported_for}: export again with --device {device} to predict it there."
        limit = _limit_today(check, budget, precision)
        return judge(check.name, None, limit, basis="predicted", detail=again, runtime=check.runtime)
    if check.basis == "predicted" and exported_for != device:
        detail = f"It was predicted for {exported_for}: export again with --device {device} to predict it there."
    if detail:
        return judge(check.name, None, budget.get(check.name), detail=detail, runtime=check.runtime)
    return judge(
        check.name,
        # JSON has no NaN: a figure that failed without a value was not a number.
        float("nan") if check.value is None and check.verdict == "fail" else check.value,
        _limit_today(check, budget, precision),
        low=check.low,
        high=check.high,
        basis=check.basis,
        measured_on=check.measured_on,
        detail=check.detail,
        runtime=check.runtime,
    )
