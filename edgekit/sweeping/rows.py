"""The rows of a sweep: one a combination, each in a Parquet file of its own that is never written again.

A row appears by renaming, so whoever reads the folder while a sweep runs sees finished rows only. `compact` puts the
newest row of each combination into one file, as a step of its own.
"""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, final

from edgekit.budget import COSTS
from edgekit.checks import Check, passed
from edgekit.errors import ArtifactError, MachineError, MissingDependencyError
from edgekit.workers.atomic_files import write_bytes

if TYPE_CHECKING:
    from edgekit.sweeping.matrix import Point

PARTS: Final = "rows"
"""Folder of the parts, in the sweep's."""

COMPACTED: Final = "rows.parquet"
"""The file of the compacted rows, beside the folder."""

Status = Literal["judged", "failed"]

_TEXTS: Final = (
    "point", "digest", "model", "device", "format", "precision", "pipeline", "effort", "status", "made", "checks",
    "message", "error", "artifact_sha256", "report",
)  # fmt: skip
AXIS_COLUMNS: Final = ("model", "device", "format", "precision", "pipeline", "effort")
"""What tells one row from another."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one combination.

    Attributes:
        point: Key of the combination, the same in every run.
        digest: Of all that the row depends on: another one is another row.
        model: Its name in the matrix.
        device: Name of the profile.
        format: The format.
        precision: As it was requested; `auto` where the planner chose.
        pipeline: Techniques, "" for none.
        effort: Of the planning.
        status: Whether there are checks, or why there are none.
        made: Name of the precision that was made, "" where nothing was.
        checks: What was judged.
        message: Why it failed, "" where it did not.
        error: Class name of the error.
        exit_code: Of the error; 0 without one.
        artifact_sha256: SHA-256 of the artifact, "" without one.
        report: What an export of the row writes as report.json; "" where nothing was judged.
        seconds: That the judgement took.
        finished: When (POSIX time).
    """

    point: str
    digest: str
    model: str
    device: str
    format: str
    precision: str
    pipeline: str
    effort: str
    status: Status
    made: str = ""
    checks: tuple[Check, ...] = ()
    message: str = ""
    error: str = ""
    exit_code: int = 0
    artifact_sha256: str = ""
    report: str = ""
    seconds: float = 0.0
    finished: float = field(default_factory=time.time)

    def passed(self, *, strict: bool = False) -> bool:
        """True if there is an artifact and its checks pass."""
        return self.status == "judged" and passed(self.checks, strict=strict)

    @property
    def title(self) -> str:
        """For messages and tables: `net.onnx on pi4: tflite int8`."""
        pipeline = f" {self.pipeline}" if self.pipeline else ""
        effort = "" if self.effort == "quick" else f" ({self.effort})"
        return f"{self.model} on {self.device}: {self.format} {self.precision}{pipeline}{effort}"

    @property
    def stands(self) -> bool:
        """True if doing it again would give the same: a fault of the machine's may be gone the next time."""
        return self.exit_code < MachineError.exit_code

    def value(self, cost: str) -> float | None:
        """Returns the figure of a cost, None where there is none."""
        return next((check.value for check in self.checks if check.name == cost), None)

    def to_json(self) -> dict[str, Any]:
        """Returns the JSON form."""
        texts = {name: getattr(self, name) for name in _TEXTS if name not in ("checks", "report")}
        return {
            **texts,
            "passed": self.passed(),
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 3),
            "checks": [check.to_json() for check in self.checks],
        }


def row_of(point: Point, digest: str, **rest: Any) -> Row:
    """Returns the row of a point; `rest` are the fields that the point does not tell."""
    return Row(
        point=point.key,
        digest=digest,
        model=point.model.name,
        device=point.device,
        format=point.format,
        precision=point.precision,
        pipeline=point.pipeline_text,
        effort=point.effort,
        **rest,
    )


def require_tables() -> None:
    """Checks before any work that rows can be written and asked about.

    Raises:
        MissingDependencyError: a package is missing.
    """
    try:
        for module in ("duckdb", "pyarrow.parquet"):
            importlib.import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            "A sweep needs pyarrow and duckdb, and one of them is not installed: pip install -e '.[sweep]'"
        ) from error


def write_row(folder: Path, row: Row) -> Path:
    """Writes a row as a part of its own into a sweep's folder; returns the file.

    Raises:
        OSError: it cannot be written.
    """
    path = row_path(folder, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, _parquet_bytes([row]))
    return path


def row_path(folder: Path, row: Row) -> Path:
    """Returns the file of a row in a sweep's folder."""
    return folder / PARTS / f"{row.point}-{row.digest}.parquet"


def standing_row(folder: Path, row: Row) -> Row | None:
    """Returns the row of the same combination and digest that lies in the folder, None where none does that stands.

    Raises:
        ArtifactError: it is damaged.
    """
    path = row_path(folder, row)
    found = [_row(data) for data in _read(path)] if path.is_file() else []
    return found[0] if found and found[0].stands else None


def read_rows(folder: Path) -> tuple[Row, ...]:
    """Returns the newest row of each combination, in the order of their names.

    Raises:
        ArtifactError: a file of rows is damaged.
        MissingDependencyError: a package is missing.
    """
    newest: dict[str, Row] = {}
    for row in _all_rows(folder):
        known = newest.get(row.point)
        if known is None or known.finished <= row.finished:
            newest[row.point] = row
    return tuple(sorted(newest.values(), key=lambda row: tuple(getattr(row, name) for name in AXIS_COLUMNS)))


def compact(folder: Path) -> int:
    """Puts the newest row of each combination into one file and removes the parts that it holds. Returns how many.

    Rows that a sweep writes in the meantime stay parts of their own.

    Raises:
        ArtifactError: a file of rows is damaged.
        OSError: the file cannot be written.
    """
    parts = _parts(folder)
    rows = read_rows(folder)
    if rows:
        write_bytes(folder / COMPACTED, _parquet_bytes(rows))
    for part in parts:
        part.unlink(missing_ok=True)
    return len(rows)


def rows_table(rows: Iterable[Row]) -> Any:
    """Returns rows as an Arrow table: texts, `passed`, `exit_code`, and a column of its own for each cost's figure."""
    import pyarrow as pa

    columns = [_columns(row) for row in rows]
    types = {
        **dict.fromkeys(_TEXTS, pa.string()),
        "passed": pa.bool_(),
        "exit_code": pa.int64(),
        "seconds": pa.float64(),
        "finished": pa.float64(),
        **dict.fromkeys(COSTS, pa.float64()),
    }
    return pa.Table.from_pylist(columns, schema=pa.schema(list(types.items())))


def _columns(row: Row) -> dict[str, Any]:
    texts = {name: getattr(row, name) for name in _TEXTS if name != "checks"}
    figures = {check.name: check.to_json()["value"] for check in row.checks if check.name in COSTS}
    return {
        **texts,
        **figures,
        "checks": json.dumps([check.to_json() for check in row.checks]),
        "passed": row.passed(),
        "exit_code": row.exit_code,
        "seconds": row.seconds,
        "finished": row.finished,
    }


def _parquet_bytes(rows: Sequence[Row]) -> bytes:
    import pyarrow.parquet as pq

    stream = BytesIO()
    pq.write_table(rows_table(rows), stream)
    return stream.getvalue()


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).glob("*.parquet")) if (folder / PARTS).is_dir() else []


def _all_rows(folder: Path) -> list[Row]:
    require_tables()
    compacted = folder / COMPACTED
    files = [*([compacted] if compacted.is_file() else []), *_parts(folder)]
    return [_row(data) for file in files for data in _read(file)]


def _read(file: Path) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # `read_table` would take a folder's name such as `device=pi4` for a column.
        found: list[dict[str, Any]] = pq.ParquetFile(file).read().to_pylist()
    except FileNotFoundError:
        return []  # another process has compacted the folder in this moment
    except (pa.ArrowException, OSError) as error:
        raise ArtifactError(
            f"{file} is damaged and cannot be read: {str(error).splitlines()[0].rstrip('.')}. "
            "Remove it: the next sweep makes its rows anew."
        ) from error
    return found


def _row(data: Mapping[str, Any]) -> Row:
    # Sweeps that are older than the column of reports have none.
    texts = {name: data.get(name, "") for name in _TEXTS if name not in ("checks", "status")}
    checks = tuple(Check.from_json(check) for check in json.loads(data["checks"]))
    status: Status = "judged" if data["status"] == "judged" else "failed"
    return Row(
        **texts,
        status=status,
        checks=checks,
        exit_code=data["exit_code"],
        seconds=data["seconds"],
        finished=data["finished"],
    )
