"""Predicted beside measured: how right the plan was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.budget import cost_of
from edgekit.html_report import charts
from edgekit.html_report.parts import (
    UNKNOWN,
    Block,
    Cell,
    Chart,
    Column,
    Section,
    Sentence,
    Sources,
    Table,
    band,
    figure,
    name_of,
    word,
)
from edgekit.units import format_value


def predictions_section(sources: Sources) -> Section:
    """Returns predicted beside measured, with the errors."""
    title = "Predicted and measured"
    found = [(entry, item) for entry in sources.formats for item in entry["predicted_and_measured"]]
    found = [(entry, item) for entry, item in found if item["measured"] is not None]
    if not found:
        text = "No figure was both predicted and measured: nothing was made, or it was made with no plan."
        return Section(
            name="predictions",
            title=title,
            blocks=(Sentence(text=text, status="not_run", command=sources.export_command),),
        )
    blocks: list[Block] = []
    if scaled := [(entry, item) for entry, item in found if item["error_percent"] is not None]:
        blocks.append(_prediction_chart(scaled, several=len(sources.formats) > 1))
    blocks.append(_prediction_table(found))
    return Section(name="predictions", title=title, blocks=tuple(blocks))


def _prediction_chart(found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *, several: bool) -> Chart:
    from bokeh.models import ColumnDataSource

    labels = [(f"{entry['runtime']} " if several else "") + cost_of(item["name"]).title for entry, item in found]
    made = charts.rows_figure(labels, x_title="predicted, in % of measured")
    ends = [[_percent(item, key) for key in ("predicted", "low", "high")] for _, item in found]
    source = ColumnDataSource(
        {
            "y": [-i for i in range(len(found))],
            "x": [end[0] for end in ends],
            "low": [end[1] for end in ends],
            "high": [end[2] for end in ends],
            "colour": [charts.VERDICT_COLOURS["inconclusive" if i["in_band"] is False else "pass"] for _, i in found],
            "name": labels,
            "predicted": [format_value(item["predicted"], item["unit"]) for _, item in found],
            "band": [band(item["low"], item["high"], item["unit"]) for _, item in found],
            "measured": [format_value(item["measured"], item["unit"]) for _, item in found],
            "error": [f"{item['error_percent']:+.1f} %" for _, item in found],
            "basis": [item["basis"] for _, item in found],
        }
    )
    made.segment(x0="low", x1="high", y0="y", y1="y", line_width=3, line_color="colour", source=source)
    drawn = made.scatter("x", "y", size=11, color="colour", source=source)
    charts.line_at(made, 100, across=False, label="measured")
    rows = ("name", "predicted", "band", "measured", "error", "basis")
    charts.add_tooltip(made, [drawn], [(row if row != "name" else "", row) for row in rows])
    words = "; ".join(f"{label} {end[0]:.0f} %" for label, end in zip(labels, ends, strict=True))
    return Chart(
        name="chart-predictions",
        title="Dots are predictions with their 90 % bands, the dashed line is what was measured.",
        words=f"Predicted as a share of measured: {words}.",
        model=made,
    )


def _percent(item: Mapping[str, Any], key: str) -> float:
    """Returns a prediction or an end of its band as percent of what was measured."""
    value = item[key] if item[key] is not None else item["predicted"]
    return float(100 * value / item["measured"])


def _prediction_table(found: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> Table:
    titles = ("Figure", "Format", "Predicted", "90 % band", "Measured", "Error", "In the band", "Predicted from")
    rows: list[tuple[Cell, ...]] = []
    for entry, item in found:
        share = item["error_percent"]
        error = f"{share:+.1f} %" if share is not None else f"{item['error']:+.2f} {item['unit']}"
        inside = item["in_band"]
        outside = "no, its interval overlaps" if item.get("overlaps") else "no"
        place = {True: ("yes", ""), False: (outside, "inconclusive"), None: (UNKNOWN, "")}[inside]
        rows.append(
            (
                word(cost_of(item["name"]).title),
                word(name_of(entry)),
                figure(item["predicted"], item["unit"]),
                word(band(item["low"], item["high"], item["unit"])),
                figure(item["measured"], item["unit"]),
                Cell(text=error, order=abs(share) if share is not None else abs(item["error"])),
                Cell(text=place[0], order=place[0], status=place[1]),
                word(item["basis"]),
            )
        )
    return Table(
        caption="Predicted beside measured",
        columns=tuple(Column(title=title, numeric=title in ("Predicted", "Measured", "Error")) for title in titles),
        rows=tuple(rows),
    )
