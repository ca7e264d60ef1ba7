"""`edgekit.lock`: what an export was made of and what came out, to be checked again offline or rebuilt.

It holds hashes of the model, the data and the tools, versions, the plan, the artifacts and what was measured about
them. No paths and no timings: the same inputs give the same lock, and a change in it is a change in the export.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

import edgekit
from edgekit.artifact import Artifact, measure_files
from edgekit.cache import code_fingerprint, versions
from edgekit.errors import ArtifactError, DataError

if TYPE_CHECKING:
    from edgekit.export_report import ExportReport, FormatResult

SCHEMA_VERSION: Final = 1
LOCK_NAME: Final = "edgekit.lock"

_UNSTEADY: Final = ("memory", "latency", "latency_p95")
"""Figures that differ from run to run on one machine; the report and the baseline hold them."""

_KEYS: Final = ("code", "io", "model", "data", "packages", "artifacts")

Verdict = Literal["ok", "failed", "note"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """One thing that was checked.

    Attributes:
        name: What: an artifact's file, `model`, `calibration data`, a package.
        verdict: `note` where it differs without being wrong, such as another version of a package.
        detail: One sentence for a person.
    """

    name: str
    verdict: Verdict
    detail: str

    def to_json(self) -> dict[str, str]:
        """Returns the JSON form."""
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail}


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


def verify_files(lock: Mapping[str, Any], folder: Path) -> tuple[Verified, ...]:
    """Checks the artifacts beside a lock, byte for byte, and which tools have changed since. Needs no framework."""
    found = [_verify_artifact(artifact, folder) for artifact in lock["artifacts"]]
    if not found:
        found = [Verified(name="artifacts", verdict="failed", detail="The lock names no artifact.")]
    return (*found, *_verify_report(lock, folder), *_verify_tools(lock))


def _verify_artifact(artifact: Mapping[str, Any], folder: Path) -> Verified:
    name: str = artifact["file"]
    path = folder / name
    if not path.exists():
        return Verified(name=name, verdict="failed", detail="The file is gone.")
    found = measure_files(path)[2]
    if found != artifact["sha256"]:
        return Verified(
            name=name,
            verdict="failed",
            detail=f"The file has changed: its SHA-256 is {found[:12]}, the lock says {artifact['sha256'][:12]}.",
        )
    return Verified(name=name, verdict="ok", detail=f"SHA-256 {found[:12]}, {artifact['size_bytes']} bytes.")


def _verify_report(lock: Mapping[str, Any], folder: Path) -> list[Verified]:
    """Checks that the report beside the lock is about the same bytes, where there is one."""
    from edgekit.export_report import REPORT_NAME, read_report

    if not (folder / REPORT_NAME).exists():
        return []
    report = read_report(folder)
    reported = sorted(artifact["sha256"] for artifact in report["artifacts"])
    if reported != sorted(artifact["sha256"] for artifact in lock["artifacts"]):
        detail = f"{REPORT_NAME} is about other artifacts than the lock: one of the two was replaced."
        return [Verified(name=REPORT_NAME, verdict="failed", detail=detail)]
    return [Verified(name=REPORT_NAME, verdict="ok", detail="It is about the same artifacts.")]


def _verify_tools(lock: Mapping[str, Any]) -> list[Verified]:
    locked: Mapping[str, str] = lock["packages"]
    now = versions(tuple(locked))
    changed = [
        f"{name} {version} in the lock, {now[name] or 'not installed'} here"
        for name, version in locked.items()
        if now[name] != version
    ]
    if lock["code"] != code_fingerprint():
        changed.insert(0, f"edgekit {lock['edgekit']} in the lock, other code ({edgekit.__version__}) here")
    return [Verified(name="tools", verdict="note", detail=f"{item}: a rebuild may differ.") for item in changed]


def verify_inputs(lock: Mapping[str, Any], digest: str, data: Mapping[str, Any]) -> tuple[Verified, ...]:
    """Checks that the model and the data are still those of the lock.

    Args:
        lock: The lock.
        digest: Of the model as it is now.
        data: `describe_data` of the data as it is now.

    Raises:
        DataError: the lock was made without a model, so nothing can be rebuilt.
    """
    if lock["model"] is None:
        raise DataError("The lock names no model: the artifact was made elsewhere and cannot be rebuilt.")
    checked = [_same("model", lock["model"]["digest"], digest)]
    for name in ("calibration", "evaluation"):
        then, now = lock["data"].get(name) or {}, data.get(name) or {}
        checked.append(_same(f"{name} data", then.get("sha256"), now.get("sha256")))
    return tuple(checked)


def _same(name: str, then: str | None, now: str | None) -> Verified:
    if then == now:
        return Verified(name=name, verdict="ok", detail=f"The same: {now[:12]}." if now else "None, as in the lock.")
    return Verified(
        name=name,
        verdict="failed",
        detail=f"It has changed: {(now or 'none')[:12]} now, {(then or 'none')[:12]} in the lock.",
    )


def passed(items: Sequence[Verified]) -> bool:
    """Returns True if nothing failed."""
    return bool(items) and all(item.verdict != "failed" for item in items)
