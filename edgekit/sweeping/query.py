"""Questions to the rows of a sweep, in SQL: what is shown of it, and how it differs from another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from edgekit.budget import COSTS
from edgekit.errors import UsageError
from edgekit.sweeping.rows import AXIS_COLUMNS, Row, rows_table

DEFAULT_COLUMNS: Final = (*AXIS_COLUMNS[:4], "pipeline", "passed", "size", "latency", "accuracy_drop", "message")

_ORDER: Final = ", ".join(AXIS_COLUMNS)

_COMPARED: Final = ("size", "download", "memory", "latency", "accuracy_drop", "parity")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A table: names of its columns, and its rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_json(self) -> list[dict[str, Any]]:
        """Returns an object for each row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def ask(rows: Sequence[Row], where: str | None = None, columns: Sequence[str] = ()) -> Answer:
    """Returns the rows that a condition holds for.

    Args:
        rows: Of a sweep.
        where: SQL over the columns, such as `device = 'pi4' and passed`; None for all.
        columns: Names or SQL expressions; none for those that people look at first.

    Raises:
        UsageError: the condition or a column is no SQL over these rows.
    """
    shown = ", ".join(columns or _filled(rows))
    query = f"select {shown} from rows where {where or 'true'} order by {_ORDER}"  # noqa: S608  SQL is what is asked
    return _run({"rows": rows}, query, where, columns)


def compare(rows: Sequence[Row], earlier: Sequence[Row], where: str | None = None) -> Answer:
    """Returns what has changed since another sweep: verdicts, and figures that differ.

    Combinations of only one of the two are listed too, with an empty verdict on the other's side.

    Raises:
        UsageError: the condition is no SQL over these rows.
    """
    join = " and ".join(f"now.{name} = old.{name}" for name in AXIS_COLUMNS)
    axes = ", ".join(f"coalesce(now.{name}, old.{name}) as {name}" for name in AXIS_COLUMNS)
    verdicts = "old.passed as passed_before, now.passed as passed"
    figures = ", ".join(f"old.{name} as {name}_before, now.{name} as {name}" for name in _COMPARED)
    differs = " or ".join(f"old.{name} is distinct from now.{name}" for name in ("passed", *_COMPARED))
    both = f"select {axes}, {verdicts}, {figures} from now full join old on {join} where {differs}"  # noqa: S608  as above
    query = f"select * from ({both}) where {where or 'true'} order by {_ORDER}"  # noqa: S608  as above
    return _run({"now": rows, "old": earlier}, query, where, ())


def _filled(rows: Sequence[Row]) -> tuple[str, ...]:
    """Returns the usual columns without those that are empty in every row."""
    figures = [name for name in DEFAULT_COLUMNS if name in COSTS]
    empty = {name for name in figures if all(row.value(name) is None for row in rows)}
    empty |= {name for name in ("pipeline", "message") if not any(getattr(row, name) for row in rows)}
    return tuple(name for name in DEFAULT_COLUMNS if name not in empty)


def _run(tables: dict[str, Sequence[Row]], query: str, where: str | None, columns: Sequence[str]) -> Answer:
    import duckdb

    # The condition is the user's own, and still it may reach these rows only: no file, no network, no extension.
    connection: Any = duckdb.connect(":memory:", config={"enable_external_access": "false"})
    try:
        for name, rows in tables.items():
            connection.register(f"given_{name}", rows_table(rows))
            connection.table(f"given_{name}").create(name)
        connection.execute("set lock_configuration = true")
        found = connection.execute(query)
        return Answer(columns=tuple(item[0] for item in found.description), rows=tuple(found.fetchall()))
    except duckdb.Error as error:
        said = f'--where "{where}"' if where else f'--columns "{",".join(columns)}"'
        accepted = ", ".join(rows_table([]).column_names)
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"{said} cannot be used: {reason}. The columns are {accepted}.") from error
    finally:
        connection.close()
