"""The data and the tools behind an export: slices, the calibration lint, environment and lock."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

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
    band,
    figure,
    name_of,
    word,
)
from edgekit.units import format_points

_SLICES_DRAWN: Final = 20

_HASH_DIGITS: Final = 16


def slices_section(sources: Sources) -> Section:
    """Returns what each slice of the evaluation loses."""
    title = "Slices"
    found = [(entry, slices) for entry in sources.formats if (slices := (entry.get("host") or {}).get("slices"))]
    if not found:
        text = (
            "No slices: the evaluation data names none and has no class labels that the metric reads. Yield (inputs, "
            "target, slice name) from [data] evaluation in edgekit.toml, or class labels with the metric top1, then:"
        )
        block = Sentence(text=text, status="not_run", command=sources.export_command)
        return Section(name="slices", title=title, blocks=(block,))
    blocks: list[Block] = [
        Sentence(
            text="The drop of each part of the evaluation data against the float model. The bands are simultaneous: "
            "together they hold with 95 % confidence. Parts that are too small to be judged have no band."
        )
    ]
    for number, (entry, slices) in enumerate(found):
        if len(found) > 1:
            blocks.append(Heading(text=name_of(entry)))
        judged = sorted((item for item in slices if item["drop"] is not None), key=lambda item: -item["drop"])
        if judged:
            blocks.append(_slice_chart(judged, number, _limit_of(entry)))
        blocks.append(_slice_table(slices, name_of(entry)))
    return Section(name="slices", title=title, blocks=tuple(blocks))


def _limit_of(entry: Mapping[str, Any]) -> float | None:
    return next((check["limit"] for check in entry["checks"] if check["name"] == "slice_drop"), None)


def _slice_chart(judged: Sequence[Mapping[str, Any]], number: int, limit: float | None) -> Chart:
    from bokeh.models import ColumnDataSource

    drawn = judged[:_SLICES_DRAWN]
    made = charts.rows_figure([item["name"] for item in drawn], x_title="accuracy drop (pp)")
    source = ColumnDataSource(
        {
            "y": [-i for i in range(len(drawn))],
            "drop": [item["drop"] for item in drawn],
            "low": [item["drop"] if item["low"] is None else item["low"] for item in drawn],
            "high": [item["drop"] if item["high"] is None else item["high"] for item in drawn],
            "name": [item["name"] for item in drawn],
            "words": [format_points(item["drop"]) for item in drawn],
            "band": [band(item["low"], item["high"], "pp") for item in drawn],
            "count": [str(item["count"]) for item in drawn],
        }
    )
    colour = charts.ONE_COLOUR
    made.segment(x0="low", x1="high", y0="y", y1="y", line_width=3, line_color=colour, source=source)
    marks = made.scatter("drop", "y", size=10, color=colour, source=source)
    if limit is not None:
        charts.line_at(made, limit, across=False, label=f"limit {format_points(limit)}")
    rows = (("", "name"), ("drop", "words"), ("band", "band"), ("items", "count"))
    charts.add_tooltip(made, [marks], rows)
    worst = "; ".join(f"{item['name']} {format_points(item['drop'])}" for item in drawn[:3])
    return Chart(
        name=f"chart-slices-{number}",
        title=f"The {len(drawn)} of {len(judged)} judged parts that lose most, with their bands.",
        words=f"Worst: {worst}.",
        model=made,
    )


def _slice_table(slices: Sequence[Mapping[str, Any]], title: str) -> Table:
    columns = ("Part", "Items", "Drop", "Band", "Smallest drop it can show")
    return Table(
        caption=f"{title}: {len(slices)} parts of the evaluation data",
        columns=tuple(Column(title=name, numeric=name not in ("Part", "Band")) for name in columns),
        rows=tuple(
            (
                word(item["name"]),
                Cell(text=str(item["count"]), order=item["count"]),
                figure(item["drop"], "pp") if item["drop"] is not None else Cell(text="too few items"),
                word(band(item["low"], item["high"], "pp") or UNKNOWN),
                figure(item["detectable"], "pp"),
            )
            for item in sorted(slices, key=lambda x: -x["drop"] if x["drop"] is not None else 1e9)
        ),
        folded=len(slices) > _SLICES_DRAWN,
    )


def calibration_section(sources: Sources) -> Section:
    """Returns what the lint says about the calibration data."""
    title = "Calibration data"
    found = sources.report.get("calibration")
    if found is None:
        text = "No calibration data was used: no part of any format has activations with fixed integer ranges."
        command = f"{sources.export_command} --precision int8-static"
        return Section(
            name="calibration", title=title, blocks=(Sentence(text=text, status="not_run", command=command),)
        )
    lead = f"{found['samples']} samples, SHA-256 {found['sha256'][:_HASH_DIGITS]}, compared with the evaluation data."
    blocks: list[Block] = [Sentence(text=lead)]
    blocks += [
        Sentence(text=f"{finding['rule'].replace('_', ' ')}: {finding['message']}", status="inconclusive")
        for finding in found["findings"]
    ]
    if not found["findings"]:
        blocks.append(
            Sentence(
                text="Nothing looks wrong: number of samples, ranges, normalization, constant channels, duplicates, "
                "leakage into the evaluation data" + (" and missing classes." if found["classes_compared"] else "."),
                status="pass",
            )
        )
    if found["inputs"]:
        blocks.append(_input_table(found["inputs"]))
    return Section(name="calibration", title=title, blocks=tuple(blocks))


def _input_table(inputs: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("Input", "Data", "Lowest", "Highest", "Mean", "Deviation")
    rows = [
        (word(item["name"]), word(name), *(_number(item[name][key]) for key in ("low", "high", "mean", "deviation")))
        for item in inputs
        for name in ("calibration", "evaluation")
        if item[name] is not None
    ]
    return Table(
        caption="Values of each float input",
        columns=tuple(Column(title=title, numeric=i > 1) for i, title in enumerate(columns)),
        rows=tuple(rows),
    )


def _number(value: float) -> Cell:
    return Cell(text=f"{value:.4g}", order=value)


def environment_section(sources: Sources) -> Section:
    """Returns versions and hashes, and how to check them."""
    environment = sources.report["environment"]
    facts = [
        ("edgekit", sources.report["edgekit"]),
        ("Python", environment.get("python", UNKNOWN)),
        ("System", environment.get("system", UNKNOWN)),
        *sorted(environment.get("packages", {}).items()),
    ]
    blocks: list[Block] = [_fact_table("Tools", "Tool", "Version", facts)]
    if sources.lock is None:
        text = "The folder has no edgekit.lock: what the artifacts were made of is not on record."
        blocks.append(Sentence(text=text, status="not_run", command=sources.export_command))
    else:
        blocks.append(_fact_table("Locked by edgekit.lock", "What", "SHA-256 or digest", _locked(sources.lock)))
        command = shlex.join(["edgekit", "verify", sources.folder])
        text = "To check these bytes again, offline, and to build them once more from the same inputs:"
        blocks.append(Sentence(text=text, command=command))
        blocks.append(Sentence(text="", command=f"{command} --rebuild"))
    return Section(name="environment", title="Environment and lock", blocks=tuple(blocks))


def _locked(lock: Mapping[str, Any]) -> list[tuple[str, str]]:
    model = lock["model"]
    facts = [("edgekit's own code", lock["code"])]
    if model is not None:
        facts.append((f"model {model['source']}", model["digest"]))
    data = [(purpose, lock["data"].get(purpose)) for purpose in ("calibration", "evaluation")]
    facts += [(f"{purpose} data, {item['items']} items", item["sha256"]) for purpose, item in data if item]
    return [*facts, *((artifact["file"], artifact["sha256"]) for artifact in lock["artifacts"])]


def _fact_table(caption: str, first: str, second: str, facts: Sequence[tuple[str, str]]) -> Table:
    return Table(
        caption=caption,
        columns=(Column(title=first), Column(title=second)),
        rows=tuple((word(name), word(value)) for name, value in facts),
    )
