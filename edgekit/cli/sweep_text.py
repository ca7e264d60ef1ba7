"""How a sweep is shown: its matrix, its verdicts, the best choice on each device, answers to questions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.budget import COSTS
from edgekit.exporting.sentences import escape
from edgekit.units import format_value

if TYPE_CHECKING:
    from rich.console import Console

    from edgekit.sweeping.query import Answer
    from edgekit.sweeping.result import SweepResult
    from edgekit.sweeping.rows import Row


def show_dry_run(out: Console, result: SweepResult) -> None:
    """Prints the matrix: what would be judged, what has a row already, what is left out and why."""
    from rich.table import Table

    done = {row.point for row in result.rows}
    table = Table(box=None, pad_edge=False)
    for name in ("model", "device", "format", "precision", "technique", "effort", "row"):
        table.add_column(name, overflow="fold")
    for point in result.points:
        table.add_row(*map(escape, point.axes().values()), "there" if point.key in done else "")
    out.print(table)
    out.print(f"\n{len(result.points)} combinations, {len(done)} with a row in {escape(str(result.folder))}")
    _show_omitted(out, result)


def show_sweep(out: Console, result: SweepResult, *, strict: bool, quiet: bool, verbose: bool) -> None:
    """Prints what came of a sweep."""
    from rich.table import Table

    if not quiet:
        table = Table(box=None, pad_edge=False)
        for name in ("model", "device", "pass", "rows", "best", "latency", "size", "accuracy drop"):
            table.add_column(name, overflow="fold")
        for model in result.models:
            for device in result.devices:
                if rows := result.cell(model, device):
                    best = result.best(model, device, strict=strict)
                    passing = sum(row.passed(strict=strict) for row in rows)
                    table.add_row(escape(model), device, str(passing), str(len(rows)), *_best_cells(best))
        out.print(table)
        for row in result.rows if verbose else [row for row in result.rows if row.status == "failed"]:
            said = row.message.splitlines()[0] if row.message else "passes" if row.passed(strict=strict) else "fails"
            out.print(f"{escape(row.title)}: {escape(said)}", soft_wrap=True)
        if verbose:
            _show_omitted(out, result)
    out.print(_headline(result, strict=strict), soft_wrap=True)


def _best_cells(best: Row | None) -> list[str]:
    if best is None:
        return ["none passes", "", "", ""]
    pipeline = f" {best.pipeline}" if best.pipeline else ""
    return [
        escape(f"{best.format} {best.made}{pipeline}"),
        *(_figure(best, x) for x in ("latency", "size", "accuracy_drop")),
    ]


def _figure(row: Row, name: str) -> str:
    value = row.value(name)
    return "" if value is None else format_value(value, COSTS[name].unit)


def _headline(result: SweepResult, *, strict: bool) -> str:
    tallies = result.tallies.values()
    counts = (
        f"{sum(x.done for x in tallies)} judged, {sum(x.failed for x in tallies)} failed, "
        f"{sum(x.cached for x in tallies)} from before"
    )
    left = f"; {result.missing} without a row: the same command goes on" if result.missing else ""
    verdict = "pass" if result.passed(strict=strict) else "fail"
    return f"{verdict}: {len(result.rows)} of {len(result.keys)} rows in {escape(str(result.folder))} ({counts}){left}"


def _show_omitted(out: Console, result: SweepResult) -> None:
    for item in result.omitted:
        out.print(f"left out: {escape(item.title)}: {escape(item.reason)}", soft_wrap=True)


def show_answer(out: Console, answer: Answer) -> None:
    """Prints a table of rows; figures in their units."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in answer.columns:
        table.add_column(escape(name), overflow="fold")
    for row in answer.rows:
        table.add_row(*(escape(_text(name, value)) for name, value in zip(answer.columns, row, strict=True)))
    out.print(table)
    out.print(f"{len(answer.rows)} rows")


def _text(column: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "pass" if value else "fail"
    cost = COSTS.get(column.removesuffix("_before"))
    if cost is not None and isinstance(value, float):
        return format_value(value, cost.unit)
    if isinstance(value, float):
        return f"{value:.2f}"  # seconds and points in time
    return str(value).partition("\n")[0]
