"""Baselines: what an export measured once, kept to hold later exports against. One JSON file, small enough for git.

    {"schema_version": 1, "edgekit": "0.1.0", "device": "pi4", "model": {"name": ..., "digest": ...},
     "data": {"metric": "top1", "evaluation": "<hash>"},
     "formats": [{"runtime": "tflite", "precision": "int8-static", "sha256": ..., "ran_by": "ai-edge-litert 2.3.0",
                  "file": "baseline-artifacts/<hash>.tflite" or null, "figures": [...], "accuracy": {...}}],
     "history": [{"when": ..., "reason": ..., "moves": [{"runtime": ..., "name": "size", "old": ..., "new": ...}]}]}

`figures` are checks without limits. `file` is there where the artifacts were kept: timings can only be compared on one
machine at one time, so a limit on latency needs the old artifact itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, final

import edgekit
from edgekit.artifact import hash_files
from edgekit.budget import cost_of
from edgekit.checks import Check
from edgekit.errors import ArtifactError, ResourceError, UsageError
from edgekit.external_data import external_files
from edgekit.units import format_value
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
        sha256: SHA-256 of the artifact.
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
class Move:
    """How far one figure moved when the baseline was set anew; `old` and `new` are in `unit`."""

    runtime: str
    precision: str
    name: str
    unit: str
    old: float
    new: float

    @property
    def is_worse(self) -> bool:
        """True if the figure costs more than before, or is worth less."""
        return self.new > self.old if cost_of(self.name).at_most else self.new < self.old


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One time that a baseline was set anew.

    Attributes:
        when: UTC, ISO 8601.
        reason: Why, in the words of who did it.
        moves: Figures that are not what they were.
    """

    when: str
    reason: str
    moves: tuple[Move, ...]


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
        history: The times that it was set anew, the oldest first.
    """

    path: Path
    device: str
    model: Mapping[str, Any]
    data: Mapping[str, Any]
    formats: tuple[FormatRecord, ...]
    history: tuple[Change, ...] = ()

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
        Check.from_json(check), verdict="pass", limit=None, limit_from="", level="warn", detail="", runtime=""
    )


def write_baseline(
    report: Mapping[str, Any], folder: Path, path: Path, *, keep_artifacts: bool, reason: str = ""
) -> Baseline:
    """Writes the baseline of an export and returns it.

    Args:
        report: Content of the export's `report.json`.
        folder: The export's folder.
        path: Where the baseline goes.
        keep_artifacts: Copy the artifacts beside it, so that latency can be compared too.
        reason: Why figures may be worse than those of the baseline that is there.

    Raises:
        ArtifactError: the export made nothing, or the baseline that is there cannot be read.
        UsageError: a figure is worse than that of the baseline that is there, and there is no reason.
        ResourceError: the file or the copies cannot be written.
    """
    records = format_records(report, folder)
    if not records:
        raise ArtifactError(f"{folder} holds no artifact: every format failed. A baseline needs an export that worked.")
    history = changes_since(read_baseline(path), records, reason) if path.is_file() else ()
    kept = path.with_name(path.stem + _KEPT_FOLDER_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        records = tuple(_keep(record, kept) if keep_artifacts else replace(record, file=None) for record in records)
        content = {
            "schema_version": SCHEMA_VERSION,
            "edgekit": edgekit.__version__,
            **baseline_json(report, records, history, path.parent),
        }
        write_json(path, content)
    except OSError as error:
        raise ResourceError(
            f"The baseline {path} cannot be written: {error.strerror}. Name another file with --output."
        ) from error
    return read_baseline(path)


def baseline_json(
    report: Mapping[str, Any], records: Sequence[FormatRecord], history: Sequence[Change], base: Path
) -> dict[str, Any]:
    """Returns what a baseline's file says about one export; paths of kept artifacts start from `base`."""
    model, data = report.get("model") or {}, report.get("data") or {}
    return {
        "device": report["device"],
        "model": {"name": model.get("name"), "digest": model.get("digest")},
        "data": {"metric": data.get("metric"), "evaluation": (data.get("evaluation") or {}).get("sha256")},
        "formats": [_record_json(record, base) for record in records],
        "history": [asdict(change) for change in history],
    }


def changes_since(old: Baseline, records: Sequence[FormatRecord], reason: str) -> tuple[Change, ...]:
    """Returns the history of the baseline that is there, with what now moves as its last entry.

    Raises:
        UsageError: a figure gets worse and there is no reason.
    """
    moved = moves_since(old, records)
    worse = [move for move in moved if move.is_worse]
    if worse and not reason.strip():
        words = "; ".join(
            f"{x.runtime} {x.precision} {cost_of(x.name).title} from {format_value(x.old, x.unit)} to "
            f"{format_value(x.new, x.unit)}"
            for x in worse
        )
        raise UsageError(f'The baseline {old.path} gets worse: {words}. Say why, for those who read it: --reason "..."')
    if not moved:
        return old.history
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return (*old.history, Change(when=now, reason=reason.strip(), moves=moved))


def moves_since(old: Baseline, records: Sequence[FormatRecord]) -> tuple[Move, ...]:
    """Returns the figures of other artifacts that differ from the baseline's."""
    return tuple(move for record in records for move in _moves(record, old.find(record.runtime, record.precision)))


def _moves(new: FormatRecord, old: FormatRecord | None) -> Iterator[Move]:
    """Yields the figures that another artifact's differ by; what differs from run to run is no move."""
    for figure in new.figures if old is not None and old.sha256 != new.sha256 else ():
        then = old.figure(figure.name) if old is not None else None
        if then is None or then.value is None or figure.value is None or then.value == figure.value:
            continue
        if figure.name in ("memory", "latency", "latency_p95") and figure.basis != "predicted":
            continue
        yield Move(
            runtime=new.runtime,
            precision=new.precision,
            name=figure.name,
            unit=figure.unit,
            old=then.value,
            new=figure.value,
        )


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
        ArtifactError: no such file, not a baseline that this edgekit reads, or its faults (all at once).
    """
    from edgekit.gating.baseline_schema import BaselineFile
    from edgekit.measurements.figure_schema import read_record

    data = read_record(
        path,
        BaselineFile,
        ArtifactError,
        what="a baseline",
        advice="Write it anew with: edgekit baseline set DIR",
        missing=f"{path}: no such baseline. Write one with: edgekit baseline set DIR -o {path}",
    )
    return read_baseline_data(data, path)


def read_baseline_data(data: Mapping[str, Any], path: Path) -> Baseline:
    """Returns the baseline that `baseline_json` describes; `path` is the file that it stands in.

    Raises:
        ArtifactError: a kept artifact has other bytes.
    """
    return Baseline(
        path=path,
        device=data["device"],
        model=data["model"],
        data=data["data"],
        formats=tuple(_read_record(record, path.parent) for record in data["formats"]),
        history=tuple(_read_change(change) for change in data.get("history", ())),
    )


def _read_change(data: Mapping[str, Any]) -> Change:
    return Change(
        when=data["when"],
        reason=data["reason"],
        moves=tuple(Move(**{key: move[key] for key in Move.__dataclass_fields__}) for move in data["moves"]),
    )


def _read_record(data: Mapping[str, Any], base: Path) -> FormatRecord:
    return FormatRecord(
        runtime=data["runtime"],
        precision=data["precision"],
        sha256=data["sha256"],
        ran_by=data["ran_by"],
        figures=tuple(Check.from_json({**figure, "verdict": "pass", "level": "warn"}) for figure in data["figures"]),
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
    found = hash_files(path)[1]
    if found != sha256:
        raise ArtifactError(
            f"{path} is not the artifact of the baseline: its SHA-256 is {found[:12]}, the baseline says "
            f"{sha256[:12]}. Write the baseline anew with: edgekit baseline set DIR --keep-artifacts"
        )
    return path
