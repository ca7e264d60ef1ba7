"""The record of an export: what was asked, made, measured and judged. `report.json` and `--json` are its JSON form."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import edgekit
from edgekit.artifact import Artifact
from edgekit.budget import Budget
from edgekit.converters.base import Conversion
from edgekit.embedded import read_embedded
from edgekit.errors import ArtifactError, EdgekitError
from edgekit.lock import LOCK_NAME, lock_json
from edgekit.measurements.imported_checks import check_belongs, with_measurements
from edgekit.measurements.measurement import Measurement
from edgekit.model import CapturedModel
from edgekit.plan import Prediction, Recipe, Rejection, Step
from edgekit.report import Check, passed
from edgekit.stages import StageTable
from edgekit.whole_files import write_json

SCHEMA_VERSION: Final = 1
REPORT_NAME: Final = "report.json"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A prediction beside what was then measured, both in `unit`.

    Attributes:
        name: A key of `budget.COSTS`.
        unit: As there.
        predicted: The value.
        low: Lower end of its 90 % band.
        high: Upper end.
        measured: What the artifact has.
        basis: Where the prediction came from.
        measured_low: Lower end of the interval of what was measured, where it has one.
        measured_high: Upper end.
    """

    name: str
    unit: str
    predicted: float
    low: float | None
    high: float | None
    measured: float
    basis: str
    measured_low: float | None = None
    measured_high: float | None = None

    @property
    def error(self) -> float:
        """Predicted minus measured, in `unit`."""
        return self.predicted - self.measured

    @property
    def error_share(self) -> float | None:
        """The error as a share of what was measured, for costs that have a scale: bytes and milliseconds."""
        return self.error / self.measured if self.unit in ("bytes", "ms") and self.measured else None

    @property
    def in_band(self) -> bool | None:
        """True if the measured value lies in the band, None where there is none."""
        if self.low is None or self.high is None:
            return None
        return self.low <= self.measured <= self.high

    @property
    def overlaps(self) -> bool | None:
        """True if band and interval have values in common: so few samples cannot tell them apart. None without both."""
        if None in (self.low, self.high, self.measured_low, self.measured_high):
            return None
        return self.low <= self.measured_high and self.measured_low <= self.high  # type: ignore[operator]  # not None

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        share = self.error_share
        return {
            "name": self.name,
            "unit": self.unit,
            "predicted": self.predicted,
            "low": self.low,
            "high": self.high,
            "measured": self.measured if math.isfinite(self.measured) else None,
            "error": self.error if math.isfinite(self.error) else None,
            "error_percent": None if share is None or not math.isfinite(share) else 100 * share,
            "measured_low": self.measured_low,
            "measured_high": self.measured_high,
            "in_band": self.in_band,
            "overlaps": self.overlaps,
            "basis": self.basis,
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FormatResult:
    """What came of one format.

    Attributes:
        runtime: The format.
        recipe: Precision of each part.
        steps: The pipeline, quantization included.
        artifact: None where the conversion failed.
        conversion: What the converter said; None where it failed.
        seconds: Of the conversion.
        cached: It was found in the cache, and `seconds` are those of the first time.
        checks: The verdict's checks.
        host: Timing on this host and other figures that are shown and not judged.
        predictions: What was predicted before.
        error: Why there is no artifact, or why it could not be validated.
    """

    runtime: str
    recipe: Recipe
    steps: tuple[Step, ...] = ()
    artifact: Artifact | None = None
    conversion: Conversion | None = None
    seconds: float = 0.0
    cached: bool = False
    checks: tuple[Check, ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict[str, Any])
    predictions: tuple[Prediction, ...] = ()
    error: EdgekitError | None = None

    def passed(self, *, strict: bool = False) -> bool:
        """True if there is an artifact and its checks pass."""
        return self.error is None and passed(self.checks, strict=strict)

    @property
    def techniques(self) -> tuple[Step, ...]:
        """The steps that changed the float model."""
        return tuple(step for step in self.steps if not step.is_recipe)

    def check(self, name: str) -> Check | None:
        """Returns the check of that name, or None."""
        return next((check for check in self.checks if check.name == name), None)

    def comparisons(self) -> tuple[Comparison, ...]:
        """Returns predicted beside measured, for each cost that was both."""
        checks = {check.name: check for check in self.checks if check.basis != "predicted"}
        return tuple(
            Comparison(
                name=item.name,
                unit=item.unit,
                predicted=item.value,
                low=item.low,
                high=item.high,
                measured=check.value,
                basis=item.basis,
                measured_low=check.low,
                measured_high=check.high,
            )
            for item in self.predictions
            if item.value is not None and (check := checks.get(item.name)) is not None and check.value is not None
        )

    def to_json(self, folder: Path) -> dict[str, Any]:
        """Returns the JSON form; the artifact's path is relative to `folder`."""
        artifact = None
        if self.artifact is not None:
            artifact = {
                **self.artifact.to_json(),
                "path": _relative(self.artifact.path, folder),
                "embedded": read_embedded(self.artifact.metadata).to_json(),
            }
        return {
            "runtime": self.runtime,
            "precision": self.recipe.name,
            "recipe": self.recipe.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "passed": self.passed(),
            "artifact": artifact,
            "notes": list(self.conversion.notes) if self.conversion else [],
            "operators": dict(self.conversion.operators) if self.conversion else {},
            "float_fallbacks": list(self.conversion.float_fallbacks) if self.conversion else [],
            "conversion_seconds": round(self.seconds, 2),
            "checks": [check.to_json() for check in self.checks],
            "host": dict(self.host),
            "predictions": [prediction.to_json() for prediction in self.predictions],
            "predicted_and_measured": [item.to_json() for item in self.comparisons()],
            "error": _error_json(self.error),
        }


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What came of an export or a validation.

    Attributes:
        command: export or validate.
        device: Name of the profile.
        model: None where an artifact was validated without its float model.
        results: One for each format.
        rejected: Candidates that the planner turned down.
        environment: Host, Python, edgekit and package versions.
        data: Hashes and counts of calibration and evaluation data, and the metric.
        folder: Where the artifacts lie.
        calibration: What the lint says about the calibration data (see `edgekit.calibration_report`); None without.
        io: Types of the artifacts' inputs and outputs.
        stages: A table by stage for each pipeline of techniques; empty without techniques.
    """

    command: str
    device: str
    model: CapturedModel | None
    results: tuple[FormatResult, ...]
    rejected: tuple[Rejection, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict[str, Any])
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    folder: Path
    calibration: Mapping[str, Any] | None = None
    io: str = "float"
    stages: tuple[StageTable, ...] = ()

    def passed(self, *, strict: bool = False) -> bool:
        """True if every format that was asked for exists and keeps the budget."""
        return bool(self.results) and all(result.passed(strict=strict) for result in self.results)

    def exit_code(self, *, strict: bool = False) -> int:
        """Returns 0, or 1 for a missed budget, or the worst error's code where a format has no artifact."""
        codes = [result.error.exit_code for result in self.results if result.error is not None]
        return max(codes) if codes else 0 if self.passed(strict=strict) else 1

    def to_json(self, *, strict: bool = False) -> dict[str, Any]:
        """Returns the JSON form that CI users rely on."""
        results = [result.to_json(self.folder) for result in self.results]
        made = [result for result in self.results if result.artifact is not None]
        return {
            "schema_version": SCHEMA_VERSION,
            "command": self.command,
            "edgekit": edgekit.__version__,
            "device": self.device,
            "runtime": self.results[0].runtime if len(self.results) == 1 else "several",
            "feasible": all(result.error is None for result in self.results),
            "passed": self.passed(strict=strict),
            "model": model_json(self.model),
            "steps": [step.to_json() for step in (made or self.results)[0].steps] if self.results else [],
            "checks": [check.to_json() for result in self.results for check in result.checks],
            "predictions": [
                {**prediction.to_json(), "runtime": result.runtime}
                for result in self.results
                for prediction in result.predictions
            ],
            "rejected": [rejection.to_json() for rejection in self.rejected],
            "artifacts": [result["artifact"] for result in results if result["artifact"] is not None],
            "formats": results,
            "stages": [table.to_json() for table in self.stages],
            "data": dict(self.data),
            "calibration": None if self.calibration is None else dict(self.calibration),
            "environment": dict(self.environment),
        }


def with_imported(report: ExportReport, measurements: Sequence[Measurement], budget: Budget) -> ExportReport:
    """Returns the report with figures from the device in place of those that this machine gave.

    Raises:
        DataError: a measurement of another device, or of an artifact that is not in the report.
    """
    digests = [result.artifact.sha256 for result in report.results if result.artifact is not None]
    check_belongs(measurements, report.device, digests, str(report.folder))
    results = [
        result
        if result.artifact is None
        else replace(result, checks=with_measurements(result.checks, measurements, result.artifact.sha256, budget))
        for result in report.results
    ]
    return replace(report, results=tuple(results))


def model_json(model: CapturedModel | None) -> dict[str, Any] | None:
    """Returns the facts about a model that go into every JSON output."""
    if model is None:
        return None
    return {
        "name": model.name,
        "source": model.source,
        "parameters": model.parameters,
        "macs": model.macs,
        "family": model.family,
        "family_evidence": model.family_evidence,
        "digest": model.digest,
        "embedded_default": model.embedded_default,
        "inputs": [spec.to_json() for spec in model.inputs],
        "outputs": [spec.to_json() for spec in model.outputs],
    }


def write_report(report: ExportReport) -> Path:
    """Writes `report.json` and `edgekit.lock` into the report's folder, each whole or not; returns the former."""
    path = report.folder / REPORT_NAME
    write_json(path, report.to_json())
    write_json(report.folder / LOCK_NAME, lock_json(report))
    return path


def read_report(folder: Path) -> dict[str, Any]:
    """Returns the content of the `report.json` in `folder`.

    Raises:
        ArtifactError: none there, not JSON, or written by an edgekit that this one cannot read.
    """
    path = folder / REPORT_NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder}: no {REPORT_NAME} there. Give the folder that edgekit export wrote, or an artifact."
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not valid JSON: {error}. Run edgekit export again.") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or "formats" not in data:
        raise ArtifactError(
            f"{path}: not a report of edgekit export that this edgekit reads (schema_version {version!r}, "
            f"expected {SCHEMA_VERSION}). Run edgekit export again."
        )
    result: dict[str, Any] = data
    return result


def describe_environment(packages: Mapping[str, str]) -> dict[str, Any]:
    """Returns host, Python and package versions, for reports."""
    return {
        "host": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version for name, version in packages.items() if version},
    }


def _error_json(error: EdgekitError | None) -> dict[str, Any] | None:
    if error is None:
        return None
    return {"type": type(error).__name__, "message": error.message, "exit_code": error.exit_code}


def _relative(path: Path, folder: Path) -> str:
    try:
        return path.absolute().relative_to(folder.absolute()).as_posix()
    except ValueError:
        return str(path)
