"""The sections about a sweep: verdicts of models on devices, the choices, every row."""

from __future__ import annotations

from edgekit.budget import COSTS
from edgekit.html_report.parts import UNKNOWN, Cell, Column, Section, Sentence, Table
from edgekit.html_report.sweep_fronts import budgets_section, fronts_section, shared_section
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.units import format_value

_FIGURES = ("latency", "size", "memory", "accuracy_drop", "parity")


def sweep_sections(result: SweepResult) -> list[Section]:
    """Returns the sections of a sweep's page."""
    return [
        _verdicts(result),
        _choices(result),
        shared_section(result),
        fronts_section(result),
        budgets_section(result),
        _rows(result),
    ]


def sweep_facts(result: SweepResult) -> list[tuple[str, str]]:
    """Returns what stands under the heading."""
    failed = sum(row.status == "failed" for row in result.rows)
    passing = sum(row.passed() for row in result.rows)
    return [
        ("Models", str(len(result.models))),
        ("Devices", str(len(result.devices))),
        ("Combinations", f"{len(result.rows)} of {len(result.keys)} with a row"),
        ("Pass", str(passing)),
        ("Could not be made or run", str(failed)),
    ]


def _verdicts(result: SweepResult) -> Section:
    columns = (Column(title="Model"), *(Column(title=device) for device in result.devices))
    rows = tuple(
        (Cell(text=model, order=model), *(_verdict(result, model, device) for device in result.devices))
        for model in result.models
    )
    words = "How many of the combinations of a model on a device pass: a model passes on a device if one does."
    missing = (
        f"{result.missing} combinations have no row yet: run the same edgekit sweep again." if result.missing else ""
    )
    return Section(
        name="verdicts",
        title="Models and devices",
        blocks=(
            Sentence(text=words),
            Sentence(text=missing, status="not_run"),
            Table(caption="Combinations that pass, of those with a row", columns=columns, rows=rows),
        ),
    )


def _verdict(result: SweepResult, model: str, device: str) -> Cell:
    rows = result.cell(model, device)
    if not rows:
        return Cell(text=UNKNOWN)
    passing = sum(row.passed() for row in rows)
    word = "pass" if passing else "fail"
    return Cell(text=f"{word}: {passing} of {len(rows)}", order=passing, status=word)


def _choices(result: SweepResult) -> Section:
    titles = ("Model", "Device", "Format", "Precision", "Techniques")
    columns = (*(Column(title=title) for title in titles), *_figure_columns())
    rows = tuple(_choice(result, model, device) for device in result.devices for model in result.models)
    words = (
        "Of the combinations that pass the fastest; of equally fast ones, or where no latency is known, the smallest."
    )
    return Section(
        name="choices",
        title="Best choice for each device",
        blocks=(
            Sentence(text=words),
            Table(caption="Best choice", columns=columns, rows=tuple(row for row in rows if row is not None)),
        ),
    )


def _choice(result: SweepResult, model: str, device: str) -> tuple[Cell, ...] | None:
    if not result.cell(model, device):
        return None
    best = result.best(model, device)
    names = (Cell(text=model, order=model), Cell(text=device, order=device))
    if best is None:
        return (*names, Cell(text="none passes", status="fail"), *(Cell(text="") for _ in range(2 + len(_FIGURES))))
    made = (best.format, best.made, best.pipeline)
    return (*names, *(Cell(text=text, order=text) for text in made), *_figures(best))


def _rows(result: SweepResult) -> Section:
    titles = ("Model", "Device", "Format", "Requested", "Made", "Techniques", "Effort", "Verdict")
    columns = (*(Column(title=title) for title in titles), *_figure_columns(), Column(title="Not passed"))
    rows = tuple(_row(row) for row in result.rows)
    return Section(
        name="rows",
        title="All combinations",
        blocks=(
            Sentence(text="A verdict opens the row's own report: its checks, predictions and rejected candidates."),
            Table(caption="Every combination with a row", columns=columns, rows=rows),
        ),
    )


def _row(row: Row) -> tuple[Cell, ...]:
    texts = (row.model, row.device, row.format, row.precision, row.made, row.pipeline, row.effort)
    unkept = [check for check in row.checks if check.fails_gate or check.verdict == "inconclusive"]
    why = row.message.partition("\n")[0] or ", ".join(f"{check.name} {check.shown_as}" for check in unkept)
    word = "pass" if row.passed() else "fail"
    said = "could not be made" if row.status == "failed" else word
    verdict = Cell(text=said, order=word, status=word, report=row.point)
    return (*(Cell(text=text, order=text) for text in texts), verdict, *_figures(row), Cell(text=why, order=why))


def _figure_columns() -> tuple[Column, ...]:
    return tuple(Column(title=COSTS[name].title.capitalize(), numeric=True) for name in _FIGURES)


def _figures(row: Row) -> tuple[Cell, ...]:
    values = [(name, row.value(name)) for name in _FIGURES]
    return tuple(
        Cell(text=UNKNOWN) if value is None else Cell(text=format_value(value, COSTS[name].unit), order=value)
        for name, value in values
    )
