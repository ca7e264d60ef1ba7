"""A search's variants: accuracy against latency and size, what is on the Pareto front, and what became of the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.budget import cost_of
from edgekit.html_report import charts
from edgekit.html_report.parts import (
    Block,
    Cell,
    Chart,
    Column,
    Section,
    Sentence,
    Table,
    count_cell,
    count_text,
    figure,
    figure_text,
    word,
)
from edgekit.searching.result import FATE_WORDS
from edgekit.units import format_value

OWN: Final = "your model"
_FATES: Final = {"measured": "", "failed": "fail"}


def variants_section(data: Mapping[str, Any]) -> Section:
    """Returns the section about a search, from the content of its `search.json`."""
    rows = [data["reference"], *data["variants"]]
    blocks: list[Block] = [Sentence(text=_summary(data), status="pass" if data["passed"] else "fail")]
    if chart := _front_chart(data, [row for row in rows if _accuracy(row) is not None]):
        blocks.append(chart)
    blocks.append(_table(data, rows))
    if reasons := _reasons(rows):
        blocks.append(reasons)
    blocks += [Sentence(text=note, status="remark") for note in data["notes"]]
    return Section(name="variants", title="Variants", blocks=tuple(blocks))


def search_facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns what stands under the heading of a page about a search alone."""
    model = data["reference"]["model"] or {}
    grid = "; ".join(f"{name}: {', '.join(map(str, values))}" for name, values in data["parameters"].items())
    taken = "; ".join(f"{name} by {', '.join(roles)}" for name, roles in data["bindings"].items())
    rungs = ", then ".join(f"{rung['trials']} until epoch {rung['epochs']}" for rung in data["rungs"])
    evaluation = data["data"].get("evaluation")
    return [
        ("Device profile", str(data["device"])),
        ("Compared with", f"{model.get('source', '')}, {count_text(model.get('parameters', 0))} parameters"),
        ("Artifacts", f"{data['runtime']} {data['precision']}"),
        ("Metric", f"{data['metric']}{' on ' + str(evaluation['items']) + ' items' if evaluation else ''}"),
        ("Grid", grid),
        ("Parameters are taken", taken),
        ("Trained", rungs or "nothing"),
    ]


def _summary(data: Mapping[str, Any]) -> str:
    measured = [row for row in data["variants"] if row["measured"]]
    text = f"{len(measured)} of {len(data['variants'])} variants were trained to the end and measured. "
    best = next((row for row in measured if row["name"] == data["recommended"]), None)
    if best is None:
        return f"{text}None of them keeps every budget."
    value = _number(_accuracy(best), "{:.1f} %").text
    return f"{text}Of those that keep every budget {_title(best)} is the most accurate: {value}."


def _title(row: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in row["arguments"].items()) or OWN


def _accuracy(row: Mapping[str, Any]) -> float | None:
    return row["measured"]["accuracy"]["artifact"] if row["measured"] else None


def _measured(row: Mapping[str, Any], name: str) -> float | None:
    checks = row["measured"]["checks"] if row["measured"] else ()
    return next((check["value"] for check in checks if check["name"] == name and check["basis"] != "predicted"), None)


def _predicted(row: Mapping[str, Any], name: str) -> float | None:
    return next((item["value"] for item in row["predicted"] if item["name"] == name), None)


def _cost(row: Mapping[str, Any], name: str) -> float | None:
    found = _measured(row, name)
    return _predicted(row, name) if found is None else found


def _front_chart(data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Chart | None:
    """Returns accuracy over predicted latency, colour by size; over multiply-accumulates without a latency model."""
    if not rows:
        return None
    has_latency = all(_cost(row, "latency") is not None for row in rows)
    across = [(_cost(row, "latency") or 0.0) if has_latency else (row["model"]["macs"] or 0) / 1e6 for row in rows]
    title = f"predicted latency on {data['device']} (ms)" if has_latency else "million multiply-accumulates"
    made = charts.new_figure(height=380, x_title=title, y_title=f"{data['metric']} of the artifact (%)")
    _draw(made, data, rows, across)
    if has_latency:
        _draw_limits(made, data, across)
    names = [_title(row) for row in rows if row["on_front"]]
    return Chart(
        name="chart-variants",
        title=f"Accuracy of {len(rows)} measured networks over {'latency' if has_latency else 'work'}; colour: size of "
        "the artifact. Large marks are on the Pareto front of accuracy, latency and size, the square is your own "
        "model, the red ring is what is recommended.",
        words=f"On the Pareto front: {', '.join(names)}. The table below has every figure.",
        model=made,
    )


def _draw(made: Any, data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], across: Sequence[float]) -> None:
    from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper
    from bokeh.palettes import Viridis256

    sizes = [_cost(row, "size") or 0.0 for row in rows]
    factor, unit = charts.byte_scale(sizes)
    # As with candidates: the ends of the palette would vanish on a dark and on a light page.
    mapper = LinearColorMapper(palette=Viridis256[50:215], low=0, high=max(max(sizes) / factor, 1e-9))
    best = [row["name"] == data["recommended"] for row in rows]
    source = ColumnDataSource(
        {
            "x": list(across),
            "y": [_accuracy(row) for row in rows],
            "size_value": [size / factor for size in sizes],
            "px": [17 if row["on_front"] else 10 for row in rows],
            "marker": ["circle" if row["name"] else "square" for row in rows],
            "ring": [3.5 if chosen else 0.8 for chosen in best],
            "ring_colour": [charts.MARK_COLOUR if chosen else charts.PLAIN_COLOUR for chosen in best],
            "title": [_title(row) for row in rows],
            "accuracy": [f"{_accuracy(row):.1f} %" for row in rows],
            "size": [figure_text(size, "bytes") for size in sizes],
            "latency": [figure_text(_cost(row, "latency"), "ms") for row in rows],
            "fate": ["pass" if row["passed"] else "fail" for row in rows],
        }
    )
    drawn = made.scatter(
        "x", "y", size="px", marker="marker", line_width="ring", fill_alpha=0.85, line_color="ring_colour",
        fill_color={"field": "size_value", "transform": mapper}, source=source,
    )  # fmt: skip
    bar = ColorBar(
        color_mapper=mapper, height=10, title=f"size ({unit})", title_text_font_style="normal",
        title_text_font_size="12px", major_label_text_font_size="11px", background_fill_color=None,
    )  # fmt: skip
    made.add_layout(bar, "below")
    rows_shown = (("", "title"), ("accuracy", "accuracy"), ("size", "size"), ("latency", "latency"), ("", "fate"))
    charts.add_tooltip(made, [drawn], rows_shown)


def _draw_limits(made: Any, data: Mapping[str, Any], across: Sequence[float]) -> None:
    """Draws the latency limit where it parts the networks, and the accuracy that the budget asks for."""
    for limit in data["limits"]:
        text = f"limit {format_value(limit['value'], cost_of(limit['name']).unit)}"
        if limit["name"] == "latency" and min(across) <= limit["value"] <= max(across):
            charts.line_at(made, limit["value"], across=False, label=text)
        floating = data["reference"]["measured"]["accuracy"]["float"]
        if limit["name"] == "accuracy_drop" and floating is not None:
            charts.line_at(made, floating - limit["value"], across=True, label=f"{text} below your model's float")


def _table(data: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    titles = {
        "Variant": False, "Fate": False, "Front": False, "Epochs": True, "Held-out": True, data["metric"]: True,
        "Drop": True, "Size": True, "Download": True, "Peak memory": True, "Predicted size": True,
        f"Predicted latency on {data['device']}": True, "Host latency, x your model's": True,
        "Multiply-accumulates": True,
    }  # fmt: skip
    return Table(
        caption=f"{len(rows) - 1} variants and {OWN}; the host is "
        f"{data['reference']['measured']['host'].get('measured_on', 'not known')} and no device",
        columns=tuple(Column(title=title, numeric=numeric) for title, numeric in titles.items()),
        rows=tuple(_cells(row) for row in rows),
    )


def _cells(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    trained, measured = row["trained"], row["measured"]
    fate, status = _fate(row), _FATES.get(row["fate"], "not_run")
    if measured is not None:
        fate, status = ("pass", "pass") if row["passed"] else ("fail", "fail")
    held_out = trained["held_out"].get("accuracy") if trained else None
    ratio = measured["host"].get("ratio_to_reference") if measured else None
    macs = row["model"]["macs"] if row["model"] else None
    return (
        word(_title(row)),
        Cell(text=fate, order=fate, status=status),
        word("yes" if row["on_front"] else "\N{EN DASH}"),
        _number(trained["epochs"] if trained else None, "{:d}"),
        _number(None if held_out is None else 100 * held_out, "{:.1f} %"),
        _number(_accuracy(row), "{:.1f} %"),
        figure(_measured(row, "accuracy_drop"), "pp"),
        figure(measured["size_bytes"] if measured else None, "bytes"),
        figure(measured["download_bytes"] if measured else None, "bytes"),
        figure(_measured(row, "memory"), "bytes"),
        figure(_predicted(row, "size"), "bytes"),
        figure(_predicted(row, "latency"), "ms"),
        _number(ratio, "{:.2f}"),
        count_cell(macs) if macs is not None else word("\N{EN DASH}"),
    )


def _reasons(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Returns why variants were not measured, and which limits the measured ones miss; None where there is nothing."""
    shown = [(row, reason) for row in rows if (reason := row["reason"] or _missed(row))]
    cells = tuple((word(_title(row)), word(_fate(row)), word(reason)) for row, reason in shown)
    columns = tuple(Column(title=title) for title in ("Variant", "Fate", "Reason"))
    return Table(caption="Why: not measured, or a limit missed", columns=columns, rows=cells) if cells else None


def _number(value: float | None, form: str) -> Cell:
    return Cell(text="\N{EN DASH}" if value is None or math.isnan(value) else form.format(value), order=value)


def _fate(row: Mapping[str, Any]) -> str:
    return FATE_WORDS.get(str(row["fate"]), str(row["fate"]))


def _missed(row: Mapping[str, Any]) -> str:
    """Returns which limits a measured variant does not keep."""
    checks = row["measured"]["checks"] if row["measured"] else ()
    missed = [check for check in checks if check["level"] == "error" and check["verdict"] in ("fail", "not_run")]
    return "; ".join(
        f"{cost_of(check['name']).title} {figure_text(check['value'], check['unit'])}, limit "
        f"{figure_text(check['limit'], check['unit'])} ({check['limit_from']})"
        for check in missed
    )
