"""What each layer costs in accuracy, and the precision that it got."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit.html_report import charts
from edgekit.html_report.parts import Cell, Chart, Column, Section, Sentence, Sources, Table, figure, word
from edgekit.recipe import Recipe


def layers_section(sources: Sources) -> Section:
    """Returns the sensitivity of every layer, or how to get it."""
    title = "Layers"
    plan = next((plan for plan in sources.plans if plan["sensitivity"]), None)
    if plan is None:
        text = (
            "The layers were not measured: that takes a plan with --effort default, calibration data and a model that "
            "can run as torch."
        )
        command = f"{sources.export_command} --effort default"
        return Section(name="layers", title=title, blocks=(Sentence(text=text, status="not_run", command=command),))
    recipe = Recipe.from_json(plan["recipe"]) if plan["recipe"] is not None else Recipe()
    lead = (
        "Each layer was rounded alone, all others in float, and the noise that reached the outputs was measured on "
        f"calibration data. The colours say which precision {plan['runtime']} {recipe.name} gives the layer."
    )
    rows = _rows(plan["sensitivity"], recipe)
    return Section(name="layers", title=title, blocks=(Sentence(text=lead), _chart(rows), _table(rows)))


def _rows(losses: Sequence[Mapping[str, Any]], recipe: Recipe) -> list[dict[str, Any]]:
    """Returns one row for each measured (module, precision), in the order of measuring: that of execution."""
    totals: dict[str, float] = {}
    for item in losses:
        totals[item["precision"]] = totals.get(item["precision"], 0.0) + item["noise"]
    return [
        {
            **item,
            "chosen": recipe.word_of(item["module"]),
            "share": 100 * item["noise"] / (totals[item["precision"]] or 1.0),
            "sqnr": -10 * math.log10(item["noise"]) if item["noise"] > 0 else None,
        }
        for item in losses
    ]


def _drawn(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row for each module: in the precision it got; in the first measured one where it stays float."""
    by_module: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["module"] not in by_module or row["precision"] == row["chosen"]:
            by_module[row["module"]] = row
    return list(by_module.values())


def _chart(rows: Sequence[dict[str, Any]]) -> Chart:
    from bokeh.models import ColumnDataSource

    drawn = _drawn(rows)
    made = charts.new_figure(
        height=300, x_title="layer, in order of execution", y_title="share of all output noise (%)",
        x_range=(0.4, len(drawn) + 0.6), y_range=(0, 1.12 * max(row["share"] for row in drawn) or 1.0),
    )  # fmt: skip
    made.xgrid.visible = False
    found: list[Any] = []
    for precision in dict.fromkeys(row["chosen"] for row in drawn):
        group = [(i, row) for i, row in enumerate(drawn) if row["chosen"] == precision]
        source = ColumnDataSource(
            {
                "x": [i + 1 for i, _ in group],
                "share": [row["share"] for _, row in group],
                "module": [row["module"] for _, row in group],
                "chosen": [row["chosen"] for _, row in group],
                "measured": [row["precision"] for _, row in group],
                "words": [f"{row['share']:.2f} %" for _, row in group],
                "sqnr": [_sqnr_text(row) for _, row in group],
                "loss": [_loss_text(row) for _, row in group],
            }
        )
        colour = charts.colour_of(charts.PRECISION_COLOURS, precision)
        found.append(
            made.vbar(x="x", top="share", width=0.8, color=colour, line_width=0, source=source, legend_label=precision)
        )
    charts.legend_above(made)
    rows_shown = (
        ("", "module"), ("precision", "chosen"), ("measured as", "measured"), ("share of all noise", "words"),
        ("SQNR", "sqnr"), ("expected loss", "loss"),
    )  # fmt: skip
    charts.add_tooltip(made, found, rows_shown, mode="vline")
    worst = sorted(drawn, key=lambda row: -row["share"])[:3]
    return Chart(
        name="chart-layers",
        title="Share of the output noise that each layer alone causes; one that stays float shows what it would have "
        "caused.",
        words="Most noise: " + "; ".join(f"{row['module']} {row['share']:.1f} %" for row in worst) + ".",
        model=made,
    )


def _sqnr_text(row: Mapping[str, Any]) -> str:
    return "no noise" if row["sqnr"] is None else f"{row['sqnr']:.1f} dB"


def _loss_text(row: Mapping[str, Any]) -> str:
    return "no estimate" if row["points"] is None else f"{row['points']:.2f} pp"


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    titles = ("Layer", "Gets", "Measured as", "Share of all noise", "SQNR", "Expected loss")
    return Table(
        caption=f"{len(rows)} measurements, each of one layer in one precision",
        columns=tuple(Column(title=title, numeric=i > 2) for i, title in enumerate(titles)),
        rows=tuple(
            (
                word(row["module"]),
                word(row["chosen"]),
                word(row["precision"]),
                Cell(text=f"{row['share']:.2f} %", order=row["share"]),
                Cell(text=_sqnr_text(row), order=row["sqnr"]),
                figure(row["points"], "pp"),
            )
            for row in sorted(rows, key=lambda row: -row["share"])
        ),
        folded=True,
    )
