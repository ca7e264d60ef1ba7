"""The files that an export leaves: report.json and edgekit.lock, each whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from edgekit.errors import ArtifactError
from edgekit.exporting.lock import LOCK_NAME, lock_json
from edgekit.exporting.report import ExportReport
from edgekit.workers.atomic_files import write_json

REPORT_NAME: Final = "report.json"


def write_report(report: ExportReport) -> Path:
    """Writes `report.json` and `edgekit.lock` into the report's folder, each whole or not; returns the former."""
    path = report.folder / REPORT_NAME
    write_json(path, report.to_json())
    write_json(report.folder / LOCK_NAME, lock_json(report))
    return path


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
