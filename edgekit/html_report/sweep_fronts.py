"""The sections about the choices of a sweep: Pareto fronts, what budgets exclude, artifacts that devices share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgekit.budget import COSTS
from edgekit.html_report import charts
from edgekit.html_report.parts import UNKNOWN, Block, Cell, Chart, Column, Section, Sentence, Table
from edgekit.sweeping.result import SweepResult
from edgekit.sweeping.rows import Row
from edgekit.units import format_value

_COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#bf3989", "#9a6700", "#0550ae", "#57606a")
_DRAWN_MODELS = len(_COLOURS)


def fronts_section(result: SweepResult) -> Section:
    """Returns for each device what passes with nothing better in latency, size and accuracy drop at once."""
    words = (
        "What passes, by device: predicted latency and size of each. Large marks are on the Pareto front of latency, "
        "size and accuracy drop of their model: nothing else of that model that passes is better in one of the three "
        "and as good in the others."
    )
    blocks: list[Block] = [Sentence(text=words)]
    for device in result.devices:
        passing = [row for row in result.rows if row.device == device and row.passed()]
        drawn = [row for row in passing if row.value("latency") is not None and row.value("size") is not None]
        if drawn:
            blocks.append(_chart(result, device, drawn))
        elif passing:
            blocks.append(Sentence(text=f"{device}: no latency is known for what passes there.", status="not_run"))
        else:
            blocks.append(Sentence(text=f"{device}: nothing passes there.", status="fail"))
    return Section(name="fronts", title="Pareto fronts", blocks=tuple(blocks))


def _chart(result: SweepResult, device: str, rows: Sequence[Row]) -> Chart:
    from bokeh.models import ColumnDataSource

    front = {row.point for model in result.models for row in result.front(model, device)}
    factor, unit = charts.byte_scale([row.value("size") or 0.0 for row in rows])
    made = charts.new_figure(height=300, x_title=f"predicted latency on {device} (ms)", y_title=f"size ({unit})")
    drawn: list[Any] = []
    for number, model in enumerate(result.models):
        own = [row for row in rows if row.model == model]
        if not own:
            continue
        source = ColumnDataSource({
            "x": [row.value("latency") for row in own],
            "y": [(row.value("size") or 0.0) / factor for row in own],
            "px": [15 if row.point in front else 7 for row in own],
            "title": [_title(row) for row in own],
            **{name: [_figure(row, name) for row in own] for name in ("latency", "size", "accuracy_drop")},
        })  # fmt: skip
        colour = _COLOURS[number % _DRAWN_MODELS]
        named = {"legend_label": model} if len(result.models) <= _DRAWN_MODELS else {}
        drawn.append(
            made.scatter(
                "x", "y", size="px", fill_color=colour, line_color=colour, fill_alpha=0.6, source=source, **named
            )
        )
    if len(result.models) <= _DRAWN_MODELS:
        charts.legend_above(made)
    shown = (("", "title"), ("latency", "latency"), ("size", "size"), ("accuracy drop", "accuracy_drop"))
    charts.add_tooltip(made, drawn, shown)
    names = ", ".join(_title(row) for row in rows if row.point in front)
    return Chart(
        name=f"chart-front-{device}",
        title=f"{device}: {len(rows)} combinations that pass",
        words=f"On a Pareto front: {names}. The table of all combinations has every figure.",
        model=made,
    )


def budgets_section(result: SweepResult) -> Section:
    """Returns what each check excludes, by device."""
    every: Counter[tuple[str, str]] = Counter()
    alone: Counter[tuple[str, str]] = Counter()
    for row in result.rows:
        failed = {check.name for check in row.checks if check.fails_gate}
        every.update((row.device, name) for name in failed)
        if len(failed) == 1:
            alone[row.device, failed.pop()] += 1
    columns = (
        *(Column(title=title) for title in ("Device", "Check")),
        *(Column(title=title, numeric=True) for title in ("Combinations", "Failed", "Failed by it alone")),
    )
    counts = Counter(row.device for row in result.rows)
    rows = tuple(
        (
            Cell(text=device, order=device),
            Cell(text=COSTS[name].title if name in COSTS else name.replace("_", " "), order=name),
            Cell(text=str(counts[device]), order=counts[device]),
            Cell(text=str(count), order=count, status="fail"),
            Cell(text=str(alone[device, name]), order=alone[device, name]),
        )
        for (device, name), count in sorted(every.items())
    )
    blocks: tuple[Block, ...] = (
        Sentence(text="Which check stands in the way, and of how many combinations it is the only one: raise that."),
        Table(caption="What each budget excludes", columns=columns, rows=rows)
        if rows
        else Sentence(text="No check excludes anything.", status="pass"),
    )
    return Section(name="budgets", title="What each budget excludes", blocks=blocks)


def shared_section(result: SweepResult) -> Section:
    """Returns for each model the one artifact that passes on most devices."""
    columns = (
        *(Column(title=title) for title in ("Model", "Format", "Precision", "Techniques")),
        Column(title="Devices", numeric=True),
        *(Column(title=title) for title in ("Passes on", "Artifact (SHA-256)")),
    )
    rows: list[tuple[Cell, ...]] = []
    for model in result.models:
        serving = result.shared(model)
        if not serving:
            none = Cell(text="no artifact passes anywhere", status="fail")
            rows.append((Cell(text=model, order=model), none, *(Cell(text=UNKNOWN) for _ in range(5))))
            continue
        first, devices = serving[0], ", ".join(row.device for row in serving)
        texts = (model, first.format, first.made, first.pipeline)
        rows.append((
            *(Cell(text=text, order=text) for text in texts),
            Cell(text=f"{len(serving)} of {len(result.devices)}", order=len(serving)),
            Cell(text=devices, order=devices),
            Cell(text=first.artifact_sha256[:16], order=first.artifact_sha256),
        ))  # fmt: skip
    words = "The one file of each model that keeps the budgets of most devices; of several, the smallest."
    table = Table(caption="One artifact for most devices", columns=columns, rows=tuple(rows))
    return Section(name="shared", title="One artifact for many devices", blocks=(Sentence(text=words), table))


def _title(row: Row) -> str:
    return " ".join(part for part in (row.model, row.format, row.made, row.pipeline) if part)


def _figure(row: Row, name: str) -> str:
    value = row.value(name)
    return UNKNOWN if value is None else format_value(value, COSTS[name].unit)
