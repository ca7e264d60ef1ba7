"""The gate: holds what an export measured against today's budgets, without measuring again.

The budgets may have changed since the export (another device, a new flag), the figures have not: they belong to the
artifacts' bytes, so an artifact whose bytes have changed is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from edgekit.artifact import measure_files
from edgekit.budget import Budget
from edgekit.errors import ArtifactError
from edgekit.export_report import REPORT_NAME, SCHEMA_VERSION, read_report
from edgekit.report import Check, complete, judge, passed


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """The verdict on one export folder.

    Attributes:
        device: Whose budgets were applied.
        checks: All checks of all formats, judged anew.
        failures: Formats that the export could not make, each with its reason.
        formats: Formats in the report: runtime and precision.
        report: The content of `report.json`.
    """

    device: str
    checks: tuple[Check, ...]
    failures: tuple[str, ...]
    formats: tuple[str, ...]
    report: Mapping[str, Any]

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
        }


def gate_folder(folder: Path, device: str, budget: Budget) -> GateResult:
    """Returns the verdict on what `edgekit export` left in `folder`.

    Raises:
        ArtifactError: no report there, an artifact is gone, or its bytes are not those that were measured.
    """
    report = read_report(folder)
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
        _check_bytes(folder, entry["artifact"])
        judged = [_judge_anew(Check.from_json(check), budget, report["device"], device) for check in entry["checks"]]
        checks += complete(judged, budget, entry["runtime"])
    return GateResult(
        device=device, checks=tuple(checks), failures=tuple(failures), formats=tuple(formats), report=report
    )


def _check_bytes(folder: Path, artifact: Mapping[str, Any]) -> None:
    path = folder / artifact["path"]
    if not path.exists():
        raise ArtifactError(f"{path} is gone, but {folder / REPORT_NAME} has measured it. Run edgekit export again.")
    found = measure_files(path)[2]
    if found != artifact["sha256"]:
        raise ArtifactError(
            f"{path} has changed since it was measured: its SHA-256 is {found[:12]}, {REPORT_NAME} says "
            f"{artifact['sha256'][:12]}. Run edgekit export again, or edgekit validate on the new file."
        )


def _judge_anew(check: Check, budget: Budget, exported_for: str, device: str) -> Check:
    """Returns a check with the same figure and today's limit; a prediction for another device is no figure."""
    if check.basis == "predicted" and exported_for != device:
        detail = f"It was predicted for {exported_for}: run edgekit export --device {device} to predict it there."
        return judge(check.name, None, budget.get(check.name), detail=detail, runtime=check.runtime)
    return judge(
        check.name,
        # JSON has no NaN: a figure that failed without a value was not a number.
        float("nan") if check.value is None and check.verdict == "fail" else check.value,
        budget.get(check.name),
        low=check.low,
        high=check.high,
        basis=check.basis,
        measured_on=check.measured_on,
        detail=check.detail,
        runtime=check.runtime,
    )
