"""The record of an export: what was requested, made, measured and judged. `report.json` and `--json` are its JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, final

import edgekit
from edgekit.budget import Budget
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.record_check import figures_digest
from edgekit.exporting.stage_table import StageTable
from edgekit.measurements.imported_checks import check_belongs, with_measurements
from edgekit.measurements.measurement import Measurement
from edgekit.model import CapturedModel
from edgekit.recipe import Rejection

SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What came of an export or a validation.

    Attributes:
        command: export or validate.
        device: Name of the profile.
        model: None where an artifact was validated without its float model.
        results: One for each format.
        rejected: Candidates that the planner rejected.
        environment: Host, Python, edgekit and package versions.
        data: Hashes and counts of calibration and evaluation data, and the metric.
        folder: Where the artifacts lie.
        calibration: What the lint says about the calibration data (see `edgekit.pipeline.lint_report`); None without.
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
        """True if every format that was requested exists and keeps the budget."""
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
            "figures_sha256": figures_digest(results),
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
        "float_types": list(model.float_types),
        "settled_branches": list(model.settled_branches),
        "inputs": [spec.to_json() for spec in model.inputs],
        "outputs": [spec.to_json() for spec in model.outputs],
    }


def describe_environment(packages: Mapping[str, str]) -> dict[str, Any]:
    """Returns host, Python and package versions, for reports."""
    return {
        "host": platform.machine(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "packages": {name: version for name, version in packages.items() if version},
    }
