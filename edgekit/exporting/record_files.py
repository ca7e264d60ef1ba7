"""The files that an export leaves: report.json and edgekit.lock, each whole or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from edgekit.budget import EVERY_CHECK
from edgekit.checks import judge
from edgekit.errors import ArtifactError
from edgekit.exporting.format_result import FormatResult
from edgekit.exporting.lock import LOCK_NAME, lock_json
from edgekit.exporting.report import ExportReport
from edgekit.workers.atomic_files import write_json

REPORT_NAME: Final = "report.json"


def write_report(report: ExportReport) -> Path:
    """Writes `report.json` and `edgekit.lock` into the report's folder, each whole or not; returns the former."""
    report = complete_report(report)
    path = report.folder / REPORT_NAME
    write_json(path, report.to_json())
    write_json(report.folder / LOCK_NAME, lock_json(report))
    return path


def complete_report(report: ExportReport) -> ExportReport:
    """Returns the report as it is written: every check by its name, also those that nothing measures."""
    return replace(report, results=tuple(map(_with_every_check, report.results)))


def _with_every_check(result: FormatResult) -> FormatResult:
    """Returns a result with all checks by name: what nothing measures stands there without a limit, and says so."""
    artifact = result.artifact
    if artifact is None or result.error is not None:
        return result
    bytes_of = {"size": artifact.size_bytes, "download": artifact.download_bytes}
    there = {check.name for check in result.checks}
    missing = (
        judge(
            name, bytes_of.get(name), None, measured_on="file" if name in bytes_of else "", runtime=result.runtime,
            detail="Nothing measures it yet.",
        )
        for name in EVERY_CHECK
        if name not in there
    )  # fmt: skip
    return replace(result, checks=(*result.checks, *missing))


def read_report(folder: Path) -> dict[str, Any]:
    """Returns the content of the `report.json` in `folder`.

    Raises:
        ArtifactError: none there, not JSON, of another edgekit, or its faults (all at once).
    """
    path = folder / REPORT_NAME
    from edgekit.exporting.record_schema import ReportFile
    from edgekit.measurements.figure_schema import read_record

    return read_record(
        path,
        ReportFile,
        ArtifactError,
        what="a report of edgekit export",
        advice="Run edgekit export again.",
        missing=f"{folder}: no {REPORT_NAME} there. Give the folder that edgekit export wrote, or an artifact.",
    )
