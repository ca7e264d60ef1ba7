"""Baselines: what an export measured once, kept to hold later exports against. One JSON file, small enough for git.

    {"schema_version": 1, "edgekit": "0.1.0", "device": "pi4", "model": {"name": ..., "digest": ...},
     "data": {"metric": "top1", "evaluation": "<hash>"},
     "formats": [{"runtime": "tflite", "precision": "int8-static", "sha256": ..., "ran_by": "ai-edge-litert 2.3.0",
                  "file": "baseline-artifacts/<hash>.tflite" or null, "figures": [...], "accuracy": {...}}]}

`figures` are checks without limits. `file` is there where the artifacts were kept: timings can only be compared on one
machine at one time, so a limit on latency needs the old artifact itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import edgekit
from edgekit.artifact import measure_files
from edgekit.checks import Check
from edgekit.errors import ArtifactError, ResourceError
from edgekit.external_data import external_files
from edgekit.workers.atomic_files import copy_atomically, write_json

SCHEMA_VERSION: Final = 1
BASELINE_NAME: Final = "edgekit-baseline.json"
_KEPT_FOLDER_SUFFIX: Final = "-artifacts"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class FormatRecord:
    """What is known of one format of an export, then or now.

    Attributes:
        runtime: The format.
        precision: Name of its recipe.
        sha256: Of the artifact.
        ran_by: The runtime that ran it, with its version.
        figures: Checks with a figure, without limits.
        accuracy: The artifact's own value of the metric, and each item's (see `metrics.item_scores`); {} without.
        file: The artifact; None where it was not kept.
    """

    runtime: str
    precision: str
    sha256: str
    ran_by: str = ""
    figures: tuple[Check, ...] = ()
    accuracy: Mapping[str, Any]
    file: Path | None = None

    def figure(self, name: str) -> Check | None:
        """Returns the figure of that name, or None."""
        return next((check for check in self.figures if check.name == name), None)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """A baseline that has been read.

    Attributes:
        path: Its file.
        device: Device of the export.
        model: Name and digest.
        data: Metric and hash of the evaluation data.
        formats: One record a format.
    """

    path: Path
    device: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    formats: tuple[FormatRecord, ...]

    def find(self, runtime: str, precision: str) -> FormatRecord | None:
        """Returns the record to compare a format with: the same precision, else the runtime's only one, else None."""
        same = [record for record in self.formats if record.runtime == runtime]
        exact = [record for record in same if record.precision == precision]
        found = exact or same
        return found[0] if len(found) == 1 else None


def format_records(report: Mapping[str, Any], folder: Path) -> tuple[FormatRecord, ...]:
    """Returns what a report (the JSON of an export or a validation) knows of each format that has an artifact."""
    return tuple(
        FormatRecord(
            runtime=entry["runtime"],
            precision=entry["precision"],
            sha256=entry["artifact"]["sha256"],
            ran_by=str(entry["host"].get("runtime", "")),
            figures=tuple(_figure(check) for check in entry["checks"] if check["value"] is not None),
            accuracy=entry["host"].get("accuracy") or {},
            file=folder / entry["artifact"]["path"],
        )
        for entry in report["formats"]
        if entry["artifact"] is not None
    )


def _figure(check: Mapping[str, Any]) -> Check:
    return replace(
        Check.from_json(dict(check)), verdict="pass", limit=None, limit_from="", level="warn", detail="", runtime=""
    )


def write_baseline(report: Mapping[str, Any], folder: Path, path: Path, *, keep_artifacts: bool) -> Baseline:
    """Writes the baseline of an export and returns it.

    Args:
        report: Content of the export's `report.json`.
        folder: The export's folder.
        path: Where the baseline goes.
        keep_artifacts: Copy the artifacts beside it, so that latency can be compared too.

    Raises:
        ArtifactError: the export made nothing.
        ResourceError: the file or the copies cannot be written.
    """
    records = format_records(report, folder)
    if not records:
        raise ArtifactError(f"{folder} holds no artifact: every format failed. A baseline needs an export that worked.")
    model = report["model"] or {}
    evaluation = (report.get("data") or {}).get("evaluation") or {}
    kept = path.with_name(path.stem + _KEPT_FOLDER_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        records = tuple(_keep(record, kept) if keep_artifacts else replace(record, file=None) for record in records)
        content = {
            "schema_version": SCHEMA_VERSION,
            "edgekit": edgekit.__version__,
            "device": report["device"],
            "model": {"name": model.get("name"), "digest": model.get("digest")},
            "data": {"metric": (report.get("data") or {}).get("metric"), "evaluation": evaluation.get("sha256")},
            "formats": [_record_json(record, path.parent) for record in records],
        }
        write_json(path, content)
    except OSError as error:
        raise ResourceError(
            f"The baseline {path} cannot be written: {error.strerror}. Name another file with --output."
        ) from error
    return read_baseline(path)


def _keep(record: FormatRecord, folder: Path) -> FormatRecord:
    """Copies the artifact into `folder` under its hash, so that two baselines can share it."""
    source = record.file
    if source is None:
        return record
    target = folder / f"{record.sha256[:16]}{source.suffix}"
    if external_files(source):
        # External data keeps its name, and two artifacts may call theirs alike.
        target = folder / record.sha256[:16] / source.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_atomically(source, target)
    return replace(record, file=target)


def _record_json(record: FormatRecord, base: Path) -> dict[str, Any]:
    shown = ("name", "value", "unit", "basis", "low", "high", "measured_on")
    return {
        "runtime": record.runtime,
        "precision": record.precision,
        "sha256": record.sha256,
        "ran_by": record.ran_by,
        "file": record.file.relative_to(base).as_posix() if record.file else None,
        "figures": [{key: check.to_json()[key] for key in shown} for check in record.figures],
        "accuracy": dict(record.accuracy),
    }


def read_baseline(path: Path) -> Baseline:
    """Returns the baseline in `path`.

    Raises:
        ArtifactError: no such file, not a baseline, or one of a schema that this edgekit does not read.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such baseline. Write one with: edgekit baseline set DIR -o {path}") from None
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: not a baseline: {error}. Write it anew with: edgekit baseline set DIR") from None
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION or "formats" not in data:
        raise ArtifactError(
            f"{path}: not a baseline that this edgekit reads (schema_version {version!r}, expected {SCHEMA_VERSION}). "
            "Write it anew with: edgekit baseline set DIR"
        )
    try:
        return Baseline(
            path=path,
            device=data["device"],
            model=data["model"],
            data=data["data"],
            formats=tuple(_read_record(record, path.parent) for record in data["formats"]),
        )
    except (KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: the baseline is incomplete: {error}. Write it anew with: edgekit baseline set DIR"
        ) from error


def _read_record(data: Mapping[str, Any], base: Path) -> FormatRecord:
    return FormatRecord(
        runtime=data["runtime"],
        precision=data["precision"],
        sha256=data["sha256"],
        ran_by=data["ran_by"],
        figures=tuple(Check(verdict="pass", level="warn", **figure) for figure in data["figures"]),
        accuracy=data["accuracy"],
        file=_kept_file(base / data["file"], data["sha256"]) if data["file"] else None,
    )


def _kept_file(path: Path, sha256: str) -> Path | None:
    """Returns the kept artifact, None where it is not there (it may lie in a CI cache that was lost).

    Raises:
        ArtifactError: other bytes than those that the baseline is about.
    """
    if not path.exists():
        return None
    found = measure_files(path)[2]
    if found != sha256:
        raise ArtifactError(
            f"{path} is not the artifact of the baseline: its SHA-256 is {found[:12]}, the baseline says "
            f"{sha256[:12]}. Write the baseline anew with: edgekit baseline set DIR --keep-artifacts"
        )
    return path
