"""Baselines of sweeps: for each row what an export's baseline holds, in one JSON file that is small enough for git.

    {"schema_version": 1, "command": "sweep", "edgekit": "0.1.0",
     "rows": {"<row>": {"title": "net on pi4: tflite int8", "passed": true, "device": "pi4", "formats": [...], ...}}}

A row is what `gating.baseline` knows of one export. Artifacts are not kept: latency is compared as it was predicted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import edgekit
from edgekit.budget import Limit
from edgekit.checks import Check
from edgekit.errors import ArtifactError, ResourceError, UsageError
from edgekit.files.bounded_reading import read_json
from edgekit.gating.baseline import (
    Baseline,
    FormatRecord,
    Move,
    baseline_json,
    changes_since,
    format_records,
    moves_since,
    read_baseline_data,
)
from edgekit.gating.comparison import compare, without_baseline
from edgekit.gating.interleaved_timing import TimedRounds
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.workers.atomic_files import write_json

SCHEMA_VERSION: Final = 1


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RowBaseline:
    """What is known of one row of an earlier sweep.

    Attributes:
        title: For messages.
        passed: It passed then.
        baseline: Its figures; without a format where there was no artifact.
    """

    title: str
    passed: bool
    baseline: Baseline


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SweepBaseline:
    """A sweep's baseline that has been read: row to what is known of it."""

    path: Path
    rows: Mapping[str, RowBaseline]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """What differs between a row and its baseline.

    Attributes:
        point: Key of the row.
        title: For messages.
        passed_before: Its verdict in the baseline; None where it was not there.
        passed: Its verdict now; None where the sweep has no such combination any more.
        moves: Figures that are not what they were.
    """

    point: str
    title: str
    passed_before: bool | None
    passed: bool | None
    moves: tuple[Move, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        moves = [{"name": x.name, "unit": x.unit, "old": x.old, "new": x.new} for x in self.moves]
        verdicts = {"passed_before": self.passed_before, "passed": self.passed}
        return {"point": self.point, "title": self.title, **verdicts, "moves": moves}


def is_sweep_baseline(path: Path) -> bool:
    """Returns whether a file says that it is the baseline of a sweep."""
    try:
        data = read_json(path, ArtifactError)
    except (OSError, ArtifactError):
        return False  # who reads it says why
    return isinstance(data, dict) and data.get("command") == "sweep"


def row_report(row: Row) -> dict[str, Any]:
    """Returns the report of a row as an export writes it; of a row without one, what the row itself knows."""
    if row.report:
        found: dict[str, Any] = json.loads(row.report)
        return found
    artifact = {"sha256": row.artifact_sha256, "path": ""} if row.artifact_sha256 else None
    checks = [check.to_json() for check in row.checks]
    entry = {"runtime": row.format, "precision": row.made, "artifact": artifact, "host": {}, "checks": checks}
    return {"device": row.device, "model": {"name": row.model}, "data": {}, "formats": [entry]}


def row_records(row: Row) -> tuple[FormatRecord, ...]:
    """Returns what is known of a row's artifact; nothing where there is none."""
    if row.status == "failed":
        return ()
    return tuple(replace(record, file=None) for record in format_records(row_report(row), Path()))


def write_sweep_baseline(result: SweepResult, path: Path, *, reason: str = "") -> SweepBaseline:
    """Writes the baseline of a sweep and returns it.

    Raises:
        ArtifactError: combinations have no row yet, or the baseline that is there cannot be read.
        UsageError: a row is worse than in the baseline that is there, and there is no reason.
        ResourceError: the file cannot be written.
    """
    if result.missing or not result.rows:
        raise ArtifactError(
            f"{result.folder} has no row yet for {result.missing} of {len(result.keys)} combinations. "
            "A baseline needs all of them: run edgekit sweep again."
        )
    old = read_sweep_baseline(path).rows if path.is_file() else {}
    rows = {row.point: _row_json(row, old.get(row.point), path, reason) for row in result.rows}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(
            path,
            {"schema_version": SCHEMA_VERSION, "command": "sweep", "edgekit": edgekit.__version__, "rows": rows},
        )
    except OSError as error:
        raise ResourceError(
            f"The baseline {path} cannot be written: {error.strerror}. Name another file with --output."
        ) from error
    return read_sweep_baseline(path)


def _row_json(row: Row, old: RowBaseline | None, path: Path, reason: str) -> dict[str, Any]:
    records = row_records(row)
    try:
        history = changes_since(old.baseline, records, reason) if old is not None else ()
    except UsageError as error:
        raise UsageError(f"{row.title}: {error.message}") from None
    if old is not None and old.passed and not row.passed() and not reason.strip():
        raise UsageError(
            f'{row.title} passes in the baseline {path} and fails now. Say why, for those who read it: --reason "..."'
        )
    return {
        "title": row.title,
        "passed": row.passed(),
        **baseline_json(row_report(row), records, history, path.parent),
    }


def read_sweep_baseline(path: Path) -> SweepBaseline:
    """Returns the sweep's baseline in `path`.

    Raises:
        ArtifactError: no such file, not the baseline of a sweep, or its faults (all at once).
    """
    from edgekit.measurements.figure_schema import read_record
    from edgekit.sweeping.baseline_schema import SweepBaselineFile

    data = read_record(
        path,
        SweepBaselineFile,
        ArtifactError,
        what="the baseline of a sweep",
        advice="Write it anew with: edgekit baseline set DIR",
        missing=f"{path}: no such baseline. Write one with: edgekit baseline set DIR -o {path}",
    )
    rows = {
        point: RowBaseline(title=row["title"], passed=row["passed"], baseline=read_baseline_data(row, path))
        for point, row in data["rows"].items()
    }
    return SweepBaseline(path=path, rows=rows)


def hold_rows(
    rows: Sequence[Row], baseline: SweepBaseline | None, limits: Sequence[Limit], *, fail_on_missing: bool
) -> tuple[Row, ...]:
    """Returns the rows with the checks of changes against a baseline behind their own.

    Args:
        rows: Of the sweep.
        baseline: None where there is none.
        limits: On changes.
        fail_on_missing: A row that has no baseline fails; else it is a warning.
    """
    return tuple(
        replace(row, checks=(*row.checks, *_changes(row, baseline, limits, fail_on_missing=fail_on_missing)))
        if row.status == "judged"
        else row
        for row in rows
    )


def _changes(
    row: Row, baseline: SweepBaseline | None, limits: Sequence[Limit], *, fail_on_missing: bool
) -> tuple[Check, ...]:
    old = baseline.rows.get(row.point) if baseline is not None else None
    if old is None or not old.baseline.formats:
        reason = (
            "There is no baseline. Set one with: edgekit baseline set DIR"
            if baseline is None
            else "The baseline has no figures of this row. Set it anew with: edgekit baseline set DIR"
        )
        found = without_baseline([row.format], limits, reason)
        return found if fail_on_missing else tuple(replace(check, level="warn") for check in found)
    evaluation = (row_report(row).get("data") or {}).get("evaluation") or {}
    return compare(row_records(row), evaluation.get("sha256"), old.baseline, limits, _not_timed)


def _not_timed(_new: FormatRecord, _old: FormatRecord) -> TimedRounds:
    return TimedRounds(missing="A sweep keeps no artifacts to be timed in turn.")


def row_changes(result: SweepResult, baseline: SweepBaseline) -> tuple[RowChange, ...]:
    """Returns what differs between a sweep and its baseline by row: verdicts, figures, rows of only one of them."""
    found: list[RowChange] = []
    for row in result.rows:
        old = baseline.rows.get(row.point)
        moves = moves_since(old.baseline, row_records(row)) if old is not None else ()
        before = None if old is None else old.passed
        change = RowChange(point=row.point, title=row.title, passed_before=before, passed=row.passed(), moves=moves)
        found += [change] if moves or before != change.passed else []
    gone = [key for key in baseline.rows if key not in set(result.keys)]
    found += [
        RowChange(point=key, title=baseline.rows[key].title, passed_before=baseline.rows[key].passed, passed=None)
        for key in gone
    ]
    return tuple(found)
