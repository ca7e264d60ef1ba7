"""`edgekit.lock`: what an export was made of and what came out, to be checked again offline or rebuilt.

It holds hashes of the model, the data and the tools, versions, the plan, the artifacts and what was measured about
them. No paths and no timings: the same inputs give the same lock, and a change in it is a change in the export.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import edgekit
from edgekit.artifact import Artifact
from edgekit.errors import ArtifactError
from edgekit.workers.cache import code_fingerprint

if TYPE_CHECKING:
    from edgekit.exporting.format_result import FormatResult
    from edgekit.exporting.report import ExportReport

SCHEMA_VERSION: Final = 1
LOCK_NAME: Final = "edgekit.lock"

_UNSTEADY: Final = ("memory", "latency", "latency_p95")
"""Figures that differ from run to run on one machine; the report and the baseline hold them."""

_KEYS: Final = ("code", "io", "model", "data", "packages", "artifacts")


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
        "model": {"source": report.model.source, "digest": report.model.digest} if report.model else None,
        "data": dict(report.data),
        "packages": dict(sorted(report.environment.get("packages", {}).items())),
        "artifacts": [_artifact_json(r, r.artifact) for r in report.results if r.artifact is not None],
    }


def _artifact_json(result: FormatResult, artifact: Artifact) -> dict[str, Any]:
    steady = [check for check in result.checks if check.value is not None and check.name not in _UNSTEADY]
    return {
        "file": artifact.path.name,
        "runtime": result.runtime,
        "recipe": result.recipe.to_json(),
        "steps": [step.to_json() for step in result.steps],
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "measurements": {
            check.name: {key: check.to_json()[key] for key in ("value", "low", "high", "unit", "basis")}
            for check in steady
        },
    }


def find_lock(target: Path) -> Path:
    """Returns the lock of a folder, or `target` itself where it is the file."""
    return target / LOCK_NAME if target.is_dir() else target


def read_lock(path: Path) -> dict[str, Any]:
    """Returns the content of a lock.

    Raises:
        ArtifactError: none there, or not a lock that this edgekit reads.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such lock. Give the folder that edgekit export wrote.") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a lock: {error}. Run edgekit export again.") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or "artifacts" not in data:
        raise ArtifactError(
            f"{path}: not a lock that this edgekit reads (schema_version {version!r}, expected {SCHEMA_VERSION}). "
            "Run edgekit export again."
        )
    if missing := [key for key in _KEYS if key not in data]:
        raise ArtifactError(
            f"{path}: the lock has no {', '.join(missing)}: an older edgekit wrote it. Run edgekit export again."
        )
    result: dict[str, Any] = data
    return result
