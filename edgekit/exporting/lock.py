"""`edgekit.lock`: what an export was made of and what came out, to be checked again offline or rebuilt.

It holds hashes of the model, the data and the tools, versions, the plan, the artifacts and what was measured about
them. No paths and no timings: the same inputs give the same lock, and a change in it is a change in the export.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import edgekit
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.exporting.record_check import locked_figures
from edgekit.task.image_input import IMAGE_INPUT_KEY
from edgekit.workers.cache import code_fingerprint

if TYPE_CHECKING:
    from edgekit.exporting.format_result import FormatResult
    from edgekit.exporting.report import ExportReport

SCHEMA_VERSION: Final = 1
LOCK_NAME: Final = "edgekit.lock"


def lock_json(report: ExportReport) -> dict[str, Any]:
    """Returns the lock of an export."""
    return {
        "schema_version": SCHEMA_VERSION,
        "edgekit": edgekit.__version__,
        "code": code_fingerprint(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "device": report.device,
        "io": report.io,
        "model": _model_json(report),
        "data": dict(report.data),
        "packages": dict(sorted(report.environment.get("packages", {}).items())),
        "formats": [
            {"runtime": r.runtime, "precision": r.precision, "failed": r.error is not None} for r in report.results
        ],
        "artifacts": [_artifact_json(r, r.artifact) for r in report.results if r.artifact is not None],
    }


def _model_json(report: ExportReport) -> dict[str, Any] | None:
    if report.model is None:
        return None
    facts = report.model
    return {"source": facts.source, "digest": facts.digest, "embedded_default": facts.embedded_default}


def _artifact_json(result: FormatResult, artifact: Artifact) -> dict[str, Any]:
    checks = [check.to_json() for check in result.checks]
    return {
        "file": artifact.path.name,
        "runtime": result.runtime,
        "recipe": result.recipe.to_json(),
        "steps": [step.to_json() for step in result.steps],
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "checks": [check["name"] for check in checks],
        "measurements": locked_figures(checks),
        **({"image_input": True} if IMAGE_INPUT_KEY in artifact.metadata else {}),
    }


def find_lock(target: Path) -> Path:
    """Returns the lock of a folder, or `target` itself where it is the file."""
    return target / LOCK_NAME if target.is_dir() else target


def read_lock(path: Path) -> dict[str, Any]:
    """Returns the content of a lock.

    Raises:
        ArtifactError: none there, not a lock that this edgekit reads, or its faults (all at once).
    """
    from edgekit.exporting.record_schema import LockFile
    from edgekit.measurements.figure_schema import read_record

    return read_record(
        path,
        LockFile,
        ArtifactError,
        what="a lock",
        advice="Run edgekit export again.",
        missing=f"{path}: no such lock. Give the folder that edgekit export wrote.",
    )
