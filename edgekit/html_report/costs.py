"""Where memory, size and time go, operator by operator; all of it computed from the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from edgekit.gating.outputs.measuring import how_to_measure
from edgekit.html_report import charts
from edgekit.html_report.parts import (
    UNKNOWN,
    Block,
    Cell,
    Chart,
    Column,
    Heading,
    Section,
    Sentence,
    Sources,
    Table,
    count_cell,
    figure,
    name_of,
    word,
)
from edgekit.html_report.verdict import place_of
from edgekit.units import format_bytes, format_milliseconds

_BARS: Final = 12
_TABLE_ROWS: Final = 60
"""Operators in a table; a transformer has a thousand, and all of them in four formats would be slow on a phone."""


def memory_section(sources: Sources) -> Section:
    """Returns the activations alive over time, and who they are at the peak."""
    title = "Memory over time"
    if sources.details is None or not sources.details["formats"]:
        return Section(name="memory", title=title, blocks=(_missing(sources),))
    operators, formats = sources.details["operators"], sources.details["formats"]
    blocks: list[Block] = [
        Sentence(
            text="Computed from the graph, not measured: the activations alive while each operator runs, one after the "
            "other, with in-place reuse. A process holds weights and its runtime besides: see Peak memory above."
        )
    ]
    if operators:
        blocks.append(_memory_chart(operators, formats))
    blocks += [_peak_table(entry, folded=len(formats) > 1) for entry in formats]
    return Section(name="memory", title=title, blocks=tuple(blocks))


def _missing(sources: Sources) -> Sentence:
    return Sentence(
        text="The operators' costs are not on record: the folder has no details.json, or no format has an artifact.",
        status="not_run",
        command=sources.export_command,
    )


def _memory_chart(operators: Sequence[Mapping[str, Any]], formats: Sequence[Mapping[str, Any]]) -> Chart:
    peak = max(entry["memory"]["peak_bytes"] for entry in formats)
    factor, unit = charts.byte_scale([peak])
    made = charts.new_figure(
        height=300, x_title="operator, in order of execution", y_title=f"activations alive ({unit})",
        x_range=(0.4, len(operators) + 0.6), y_range=(0, 1.15 * peak / factor or 1.0),
    )  # fmt: skip
    drawn: list[Any] = []
    for number, entry in enumerate(formats):
        source = _memory_source(operators, entry, factor)
        colour = charts.format_colour(entry["runtime"])
        if len(formats) == 1:
            made.varea_step(x="x", y1=0, y2="alive", step_mode="center", fill_alpha=0.18, color=colour, source=source)
        drawn.append(
            made.step(
                "x",
                "alive",
                mode="center",
                color=colour,
                source=source,
                legend_label=entry["runtime"],
                # Formats of one precision have one line: the later ones are thinner, so that the earlier ones show.
                line_width=2 + 3 * (len(formats) - 1 - number),
            )
        )
    charts.legend_above(made)
    names = [item["name"] for item in operators]
    first = formats[0]["memory"]
    step = names.index(first["peak_operator"]) + 1
    made.scatter([step], [first["peak_bytes"] / factor], size=10, marker="inverted_triangle", color=charts.MARK_COLOUR)
    rows = (("", "operator"), ("module", "module"), ("output", "shape"), ("alive", "words"), ("", "format"))
    charts.add_tooltip(made, drawn, rows, mode="vline", line_policy="nearest")
    peaks = "; ".join(
        f"{name_of(entry)} {format_bytes(entry['memory']['peak_bytes'])} at {entry['memory']['peak_operator']}"
        for entry in formats
    )
    return Chart(
        name="chart-memory",
        title="Bytes of activations alive while each operator runs; the triangle is the peak.",
        words=f"Peak: {peaks}.",
        model=made,
    )


def _memory_source(operators: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], factor: float) -> Any:
    from bokeh.models import ColumnDataSource

    alive = entry["memory"]["alive_bytes"]
    return ColumnDataSource(
        {
            "x": list(range(1, len(operators) + 1)),
            "alive": [value / factor for value in alive],
            "words": [format_bytes(value) for value in alive],
            "operator": [f"{item['type']} {item['name']}" for item in operators],
            "module": [item["module"] for item in operators],
            "shape": ["x".join(map(str, item["shape"])) for item in operators],
            "format": [name_of(entry)] * len(operators),
        }
    )


def _peak_table(entry: Mapping[str, Any], *, folded: bool) -> Table:
    memory = entry["memory"]
    peak = memory["peak_bytes"] or 1
    return Table(
        caption=f"{name_of(entry)}: alive at the peak of {format_bytes(memory['peak_bytes'])}, while "
        f"{memory['peak_operator'] or 'nothing'} runs (one block with fixed offsets: "
        f"{format_bytes(memory['arena_bytes'])})",
        columns=(
            Column(title="Tensor"),
            Column(title="Shape"),
            Column(title="Written by"),
            Column(title="Size", numeric=True),
            Column(title="Share", numeric=True),
        ),
        rows=tuple(
            (
                word(tensor["name"]),
                word("x".join(map(str, tensor["shape"]))),
                word(tensor["written_by"] or "input of the model"),
                figure(tensor["bytes"], "bytes"),
                Cell(text=f"{100 * tensor['bytes'] / peak:.1f} %", order=tensor["bytes"] / peak),
            )
            for tensor in memory["peak_tensors"]
        ),
        folded=folded,
    )


def costs_section(sources: Sources) -> Section:
    """Returns the operators that take most bytes and most time, for each format."""
    title = "Where size and time go"
    if sources.details is None or not sources.details["formats"]:
        return Section(name="costs", title=title, blocks=(_missing(sources),))
    operators, formats = sources.details["operators"], sources.details["formats"]
    blocks: list[Block] = [
        Sentence(
            text="Computed from the graph of the model as it was captured: the bytes of each operator's weights in the "
            "format, and the time that the device's latency model gives it."
        )
    ]
    for number, entry in enumerate(formats):
        if len(formats) > 1:
            blocks.append(Heading(text=name_of(entry)))
        blocks += _format_blocks(operators, entry, number, sources)
    return Section(name="costs", title=title, blocks=tuple(blocks))


def _format_blocks(
    operators: Sequence[Mapping[str, Any]], entry: Mapping[str, Any], number: int, sources: Sources
) -> list[Block]:
    sizes, spent = entry["stored_bytes"], entry["predicted_ms"]
    blocks: list[Block] = []
    if any(sizes):
        factor, unit = charts.byte_scale([max(sizes)])
        axis = f"stored bytes ({unit})"
        blocks.append(_cost_chart(f"chart-size-{number}", "Most bytes", axis, operators, sizes, factor, format_bytes))
    if spent is None:
        device = sources.report["device"]
        text = f"Time is not known: {device} has no latency model for {name_of(entry)}."
        made = next((one for one in sources.formats if name_of(one) == name_of(entry) and one["artifact"]), None)
        advice = f" {how_to_measure(place_of(sources, made))}" if made is not None else ""
        blocks.append(Sentence(text=f"{text}{advice}", status="not_run"))
    elif any(spent):
        title = f"Most predicted time on {sources.report['device']}"
        axis = "predicted time (ms)"
        blocks.append(_cost_chart(f"chart-time-{number}", title, axis, operators, spent, 1.0, format_milliseconds))
    blocks.append(_kernel_table(operators, sizes, spent))
    blocks.append(_operator_table(operators, entry))
    return blocks


def _cost_chart(
    name: str,
    title: str,
    axis: str,
    operators: Sequence[Mapping[str, Any]],
    costs: Sequence[float],
    factor: float,
    words: Callable[[float], str],
) -> Chart:
    from bokeh.models import ColumnDataSource

    total = sum(costs)
    dearest = sorted(range(len(costs)), key=lambda i: -costs[i])[:_BARS]
    dearest = [i for i in dearest if costs[i] > 0]
    labels = [operators[i]["module"] or operators[i]["name"] for i in dearest]
    largest = costs[dearest[0]] / factor
    made = charts.rows_figure(labels, x_title=axis, x_range=(0, 1.05 * largest))
    source = ColumnDataSource(
        {
            "y": [-i for i in range(len(dearest))],
            "cost": [costs[i] / factor for i in dearest],
            "words": [f"{words(costs[i])}, {100 * costs[i] / total:.1f} % of all" for i in dearest],
            "operator": [f"{operators[i]['type']} ({operators[i]['kernel']})" for i in dearest],
            "module": labels,
            "shape": ["x".join(map(str, operators[i]["shape"])) for i in dearest],
        }
    )
    drawn = made.hbar(y="y", right="cost", height=0.62, color=charts.ONE_COLOUR, line_width=0, source=source)
    charts.label_rows(made, [f"{100 * costs[i] / total:.1f} %" for i in dearest])
    rows = (("", "module"), ("operator", "operator"), ("output", "shape"), ("cost", "words"))
    charts.add_tooltip(made, [drawn], rows)
    spoken = "; ".join(f"{label} {words(costs[i])}" for label, i in zip(labels[:3], dearest, strict=False))
    share = 100 * sum(costs[i] for i in dearest) / total
    return Chart(
        name=name,
        title=f"{title}: {len(dearest)} of {len(costs)} operators, {share:.0f} % of all.",
        words=f"Most: {spoken}. The table below has more.",
        model=made,
    )


def _kernel_table(
    operators: Sequence[Mapping[str, Any]], sizes: Sequence[float], spent: Sequence[float] | None
) -> Table:
    kinds: dict[str, list[int]] = {}
    for i, operator in enumerate(operators):
        kinds.setdefault(operator["kernel"], []).append(i)
    rows = [
        (
            word(kind.replace("_", " ")),
            Cell(text=str(len(members)), order=len(members)),
            figure(sum(sizes[i] for i in members), "bytes"),
            figure(None if spent is None else sum(spent[i] for i in members), "ms"),
            count_cell(sum(operators[i]["macs"] for i in members)),
        )
        for kind, members in kinds.items()
    ]
    columns = ("Kind of work", "Operators", "Stored", "Predicted time", "MACs")
    return Table(
        caption="By kind of work",
        columns=tuple(Column(title=title, numeric=i > 0) for i, title in enumerate(columns)),
        rows=tuple(rows),
    )


def _operator_table(operators: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> Table:
    sizes, spent = entry["stored_bytes"], entry["predicted_ms"]

    def weight(i: int) -> float:
        """Returns the operator's larger share, of all bytes or of all time."""
        of_time = spent[i] / (sum(spent) or 1) if spent else 0.0
        return float(max(sizes[i] / (sum(sizes) or 1), of_time))

    shown = sorted(range(len(operators)), key=lambda i: -weight(i))[:_TABLE_ROWS]
    columns = ("Module", "Operator", "Output", "Precision", "Stored", "Predicted time", "MACs", "Alive")
    return Table(
        caption=f"{len(shown)} of {len(operators)} operators, the dearest first",
        columns=tuple(Column(title=title, numeric=i > 3) for i, title in enumerate(columns)),
        rows=tuple(
            (
                word(operators[i]["module"] or operators[i]["name"]),
                word(operators[i]["type"]),
                word("x".join(map(str, operators[i]["shape"])) or UNKNOWN),
                word(entry["precisions"][i]),
                figure(sizes[i], "bytes"),
                figure(spent[i] if spent else None, "ms"),
                count_cell(operators[i]["macs"]),
                figure(entry["memory"]["alive_bytes"][i], "bytes"),
            )
            for i in shown
        ),
        folded=True,
    )
