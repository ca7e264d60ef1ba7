"""What else could have been exported: every candidate with its predictions, and why it was not chosen."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

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
    word,
)
from edgekit.html_report.verdict import step_text
from edgekit.recipe import Recipe
from edgekit.units import format_value

SHOWN: Final = ("size", "latency", "memory", "accuracy_drop")
"""Costs that decide between candidates; for all of them less is better."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One candidate.

    Attributes:
        title: `tflite int8-static`.
        runtime: Its format.
        pipeline: All steps with their settings, in words.
        predictions: By name; those without a value are left out.
        fate: chosen, runner-up or rejected.
        reason: Why.
    """

    title: str
    runtime: str
    pipeline: str
    predictions: Mapping[str, Mapping[str, Any]]
    fate: str
    reason: str

    def value(self, name: str) -> float | None:
        """Returns the predicted figure, None where there is none."""
        found = self.predictions.get(name)
        return None if found is None else found["value"]


def _float_heads(plan: Mapping[str, Any]) -> list[str]:
    """Returns which heads stay float, why, and what that costs; clauses."""
    made: list[str] = []
    for head in plan.get("heads", ()):
        cost = head["latency_ms"]
        words = "" if cost is None else f" (predicted cost {format_value(cost, 'ms')})"
        names = ", ".join([head["output"], *head["layers"]])
        made.append(f"the head of {names} stays float, for {head['why']}{words}")
    return made


def options_of(plans: Sequence[Mapping[str, Any]]) -> tuple[Option, ...]:
    """Returns every candidate of the plans, the best of each plan first; those without predictions last."""
    found: dict[str, Option] = {}
    for plan in plans:
        chosen = {key: plan[key] for key in ("runtime", "recipe", "steps", "predictions")}
        known = [*plan.get("considered", ()), *plan["runners_up"]]
        if plan["recipe"] is not None:
            chosen_option = _option(chosen, "chosen", "; ".join([*plan["reasons"], *_float_heads(plan)]))
            found[chosen_option.title] = chosen_option
        reasons = {item["candidate"]: ("rejected", item["reason"]) for item in plan["rejected"]}
        reasons |= {item["candidate"]: ("runner-up", item["reason"]) for item in plan["runners_up"]}
        for item in known:
            title = item["candidate"]
            found.setdefault(title, _option(item, *reasons.pop(title, ("rejected", ""))))
            reasons.pop(title, None)
        for title, (fate, reason) in reasons.items():
            found.setdefault(
                title,
                Option(title=title, runtime=title.split()[0], pipeline=title, predictions={}, fate=fate, reason=reason),
            )
    return tuple(found.values())


def _option(data: Mapping[str, Any], fate: str, reason: str) -> Option:
    recipe = Recipe.from_json(data["recipe"])
    steps = ", then ".join(step_text(step) for step in data["steps"]) or "conversion alone"
    before = [step["technique"] for step in data["steps"] if not step["technique"].startswith("quantize")]
    title = data.get("candidate") or " + ".join([*before, f"{data['runtime']} {recipe.name}"])
    mixed = f"; {_mixture_words(recipe)}" if recipe.overrides else ""
    return Option(
        title=title,
        runtime=data["runtime"],
        pipeline=f"{data['runtime']}: {steps}{mixed}",
        predictions={item["name"]: item for item in data["predictions"] if item["value"] is not None},
        fate=fate,
        reason=reason,
    )


def _mixture_words(recipe: Recipe) -> str:
    """Returns `3 modules in fp32: stem, head.0 and 1 more`."""
    by_precision: dict[str, list[str]] = {}
    for pattern, precision in recipe.overrides:
        by_precision.setdefault(precision, []).append(pattern)
    parts: list[str] = []
    for chosen, names in by_precision.items():
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        count = "1 module" if len(names) == 1 else f"{len(names)} modules"
        parts.append(f"{count} in {chosen}: {', '.join(names[:2])}{more}")
    return "; ".join(parts)


def front(options: Sequence[Option], names: Sequence[str]) -> set[str]:
    """Returns the titles of the options that no other one beats: as good in every cost of `names`, better in one.

    Two options are compared only in costs that both are predicted to have; one without any figure is on no front.
    """

    def beats(a: Option, b: Option) -> bool:
        pairs = [(x, y) for name in names if (x := a.value(name)) is not None and (y := b.value(name)) is not None]
        return bool(pairs) and all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    known = [item for item in options if any(item.value(name) is not None for name in names)]
    return {item.title for item in known if not any(beats(other, item) for other in known)}


def candidates_section(sources: Sources) -> Section:
    """Returns the Pareto front of all candidates, and a table with why each was rejected."""
    title = "Candidates"
    options = options_of(sources.plans)
    if not options:
        text = "No candidates are on record: the folder has no details.json, or its plan chose nothing."
        return Section(
            name="candidates",
            title=title,
            blocks=(Sentence(text=text, status="not_run", command=sources.export_command),),
        )
    # Where latency is not predicted, memory takes its place on the front as it does in the chart.
    over = "latency" if sum(item.value("latency") is not None for item in options) > 1 else "memory"
    best = front(options, ("size", over, "accuracy_drop"))
    blocks: list[Block] = [_effort_sentence(sources)]
    if chart := _pareto_chart(options, best, over, sources.plans):
        blocks.append(chart)
    blocks.append(_option_table(options, best))
    return Section(name="candidates", title=title, blocks=tuple(blocks))


def _effort_sentence(sources: Sources) -> Sentence:
    efforts = {plan.get("effort", "quick") for plan in sources.plans}
    if efforts == {"quick"}:
        text = (
            "Planned with --effort quick: every figure is computed from the graph or expected from what other models "
            "lost. With --effort default the recipes are simulated on calibration data."
        )
        return Sentence(text=text, status="not_run", command=f"{sources.export_command} --effort default")
    return Sentence(text=f"Planned with --effort {', '.join(sorted(efforts))}.")


def _pareto_chart(
    options: Sequence[Option], best: set[str], over: str, plans: Sequence[Mapping[str, Any]]
) -> Chart | None:
    """Returns size against the cost `over`; colour is the accuracy drop. None where no candidate has both."""
    drawn = [item for item in options if item.value("size") is not None and item.value(over) is not None]
    if not drawn:
        return None
    factor, unit = charts.byte_scale([item.value("size") or 0.0 for item in drawn])
    height, height_unit = (1.0, "ms") if over == "latency" else charts.byte_scale([x.value(over) or 0.0 for x in drawn])
    made = charts.new_figure(
        height=380, x_title=f"predicted size ({unit})", y_title=f"predicted {cost_of(over).title} ({height_unit})"
    )
    _draw_options(
        made, drawn, best, lambda item: ((item.value("size") or 0) / factor, (item.value(over) or 0) / height)
    )
    _draw_limits(made, drawn, plans[0]["limits"], {"size": factor, over: height})
    names = [item.title for item in drawn if item.title in best]
    return Chart(
        name="chart-candidates",
        title=f"Size and {cost_of(over).title} of {len(drawn)} candidates as predicted; colour: accuracy drop. "
        "Large marks are on the Pareto front, the red ring is what was chosen.",
        words=f"On the Pareto front: {', '.join(names)}. The table below has every figure.",
        model=made,
    )


def _draw_limits(
    made: Any, drawn: Sequence[Option], limits: Sequence[Mapping[str, Any]], scales: Mapping[str, float]
) -> None:
    """Draws the limits on the two axes where some candidates keep them and some do not; elsewhere they tell nothing."""
    for limit in limits:
        name, value = limit["name"], limit["value"]
        figures = [item.value(name) or 0.0 for item in drawn]
        if name in scales and min(figures) <= value <= max(figures):
            text = f"limit {format_value(value, cost_of(name).unit)}"
            charts.line_at(made, value / scales[name], across=name != "size", label=text)


def _draw_options(
    made: Any, options: Sequence[Option], best: set[str], place: Callable[[Option], tuple[float, float]]
) -> None:
    from bokeh.models import ColorBar, ColumnDataSource, LinearColorMapper
    from bokeh.palettes import Viridis256

    drops = [drop for item in options if (drop := item.value("accuracy_drop")) is not None]
    # The palette's darkest and lightest fifth would vanish on a dark and on a light page.
    palette = Viridis256[50:215]
    mapper = LinearColorMapper(palette=palette, low=0, high=max([*drops, 0.1]), nan_color=charts.PLAIN_COLOUR)
    drawn: list[Any] = []
    for runtime in dict.fromkeys(item.runtime for item in options):
        # The chosen one last, so that nothing lies over its ring.
        group = sorted((item for item in options if item.runtime == runtime), key=lambda item: item.fate == "chosen")
        points = [place(item) for item in group]
        source = ColumnDataSource(
            {
                "x": [point[0] for point in points],
                "y": [point[1] for point in points],
                "drop_value": [math.nan if (d := item.value("accuracy_drop")) is None else d for item in group],
                "px": [17 if item.title in best else 10 for item in group],
                "ring": [3.5 if item.fate == "chosen" else 0.8 for item in group],
                "ring_colour": [charts.MARK_COLOUR if item.fate == "chosen" else charts.PLAIN_COLOUR for item in group],
                "title": [item.title for item in group],
                "pipeline": [item.pipeline for item in group],
                **{name: [_text(item, name) for item in group] for name in SHOWN},
                "fate": [f"{item.fate}{': ' if item.reason else ''}{item.reason}" for item in group],
            }
        )
        drawn.append(
            made.scatter(
                "x", "y", size="px", marker=charts.format_marker(runtime), line_width="ring", fill_alpha=0.85,
                fill_color={"field": "drop_value", "transform": mapper}, line_color="ring_colour", source=source,
                legend_label=runtime,
            )
        )  # fmt: skip
    charts.legend_above(made)
    bar = ColorBar(
        color_mapper=mapper, height=10, title="predicted accuracy drop (pp)", title_text_font_style="normal",
        title_text_font_size="12px", major_label_text_font_size="11px", background_fill_color=None,
    )  # fmt: skip
    made.add_layout(bar, "below")
    rows = (
        ("", "title"), ("pipeline", "pipeline"), ("size", "size"), ("latency", "latency"), ("memory", "memory"),
        ("accuracy drop", "accuracy_drop"), ("", "fate"),
    )  # fmt: skip
    charts.add_tooltip(made, drawn, rows)


def _text(item: Option, name: str) -> str:
    """Returns a prediction with its band and how it is known: `0.64 pp (0.20 pp to 1.10 pp, simulated)`."""
    found = item.predictions.get(name)
    if found is None:
        return "not predicted"
    known = [band(found["low"], found["high"], found["unit"]), found.get("evidence", "")]
    return f"{format_value(found['value'], found['unit'])} ({', '.join(part for part in known if part)})"


def _option_table(options: Sequence[Option], best: set[str]) -> Table:
    titles = ["Candidate", "Fate", "Front", *(cost_of(name).title.capitalize() for name in SHOWN), "Reason"]
    numeric = {cost_of(name).title.capitalize() for name in SHOWN}
    rows = tuple(
        (
            word(item.title),
            Cell(text=item.fate, order=item.fate, status="pass" if item.fate == "chosen" else ""),
            word("yes" if item.title in best else UNKNOWN),
            *(figure(item.value(name), cost_of(name).unit) for name in SHOWN),
            word(item.reason),
        )
        for item in options
    )
    return Table(
        caption=f"{len(options)} candidates, figures as predicted",
        columns=tuple(Column(title=title, numeric=title in numeric) for title in titles),
        rows=rows,
    )
