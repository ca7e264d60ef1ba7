"""Checks artifacts, report, tools and data against `edgekit.lock`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import edgekit
from edgekit.artifact import hash_files
from edgekit.errors import DataError
from edgekit.exporting.record_check import find_contradictions
from edgekit.workers.cache import code_fingerprint, versions

LockVerdict = Literal["ok", "failed", "note"]


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
    verdict: LockVerdict
    detail: str

    def to_json(self) -> dict[str, str]:
        """Returns the JSON form."""
        return {"name": self.name, "verdict": self.verdict, "detail": self.detail}


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
    found = hash_files(path)[1]
    if found != artifact["sha256"]:
        return Verified(
            name=name,
            verdict="failed",
            detail=f"The file has changed: its SHA-256 is {found[:12]}, the lock says {artifact['sha256'][:12]}.",
        )
    return Verified(name=name, verdict="ok", detail=f"SHA-256 {found[:12]}, {artifact['size_bytes']} bytes.")


def _verify_report(lock: Mapping[str, Any], folder: Path) -> list[Verified]:
    """Checks that the report beside the lock says what lock and artifacts say, where there is one."""
    from edgekit.exporting.record_files import REPORT_NAME, read_report

    if not (folder / REPORT_NAME).exists():
        return []
    report = read_report(folder)
    # What became of the artifacts' own bytes is said of the artifacts.
    prefix = f"{REPORT_NAME}: "
    said = (" has changed since ", " is gone, ")
    found = [x for x in find_contradictions(report, lock, folder) if not any(words in x for words in said)]
    if found:
        return [Verified(name=REPORT_NAME, verdict="failed", detail=f"{x.removeprefix(prefix)}.") for x in found]
    return [Verified(name=REPORT_NAME, verdict="ok", detail="It says what the artifacts and the lock say.")]


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
        digest: Digest of the model as it is now.
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
