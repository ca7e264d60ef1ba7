"""The files that an export leaves: report.json and edgekit.lock, each whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from edgekit.errors import ArtifactError
from edgekit.exporting.lock import LOCK_NAME, lock_json
from edgekit.exporting.report import SCHEMA_VERSION, ExportReport
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
