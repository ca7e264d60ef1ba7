"""The charts' common ground: an empty Bokeh figure in the page's style, colours, and tooltips.

Marks have mid-tones that keep a contrast of 3 : 1 on white and on near-black. Axes, and annotations with the tag "ink",
are coloured by `page.js` for the reader's scheme.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.registry import format_names

VERDICT_COLOURS: Final[Mapping[str, str]] = {
    "pass": "#2a9d6e",
    "fail": "#d64545",
    "warn": "#c98a1b",
    "inconclusive": "#c98a1b",
    "not_run": "#8a8f98",
}

_FORMAT_COLOURS: Final = ("#d9822b", "#3b82c4", "#a06bc9", "#2a9d6e", "#c98a1b", "#2f9aa8", "#b5577f", "#5f7fd0")
"""In the order of the table of formats."""

_FORMAT_MARKERS: Final = ("circle", "square", "triangle", "diamond", "hex", "inverted_triangle", "star", "plus")

ONE_COLOUR: Final = "#3b82c4"
"""Colour of marks that all mean the same."""

PRECISION_COLOURS: Final[Mapping[str, str]] = {
    "fp32": "#d9822b",
    "fp16": "#c98a1b",
    "w8a16": "#a06bc9",
    "int8_static": "#3b82c4",
    "int8_dynamic": "#2f9aa8",
    "int8_hybrid": "#2a6f8f",
    "int8_weights": "#5f7fd0",
    "int4_weights": "#2a9d6e",
}

PLAIN_COLOUR: Final = "#8a8f98"
"""Colour of what has none of its own."""

INK: Final = "ink"
"""Tag of what `page.js` paints in the text's colour."""

MARK_COLOUR: Final = "#e5484d"
"""Colour of the one mark that a reader should find first."""

BAND_COLOUR: Final = "#767d88"
"""Colour of a line that lies half on a bar and half beside it."""

_LABEL_CHARACTERS: Final = 26
"""Characters of a name on an axis: more would leave a phone no room for the bars."""

_ROW_PX: Final = 26


def new_figure(*, height: int, x_title: str, y_title: str = "", **more: Any) -> Any:
    """Returns an empty figure that fills its place in the page. It takes no drags: a page on a phone must scroll."""
    from bokeh.plotting import figure

    made: Any = figure(
        height=height, sizing_mode="stretch_width", toolbar_location=None, tools="", x_axis_label=x_title,
        y_axis_label=y_title or None, background_fill_color=None, border_fill_color=None, outline_line_color=None,
        **more,
    )  # fmt: skip
    for axis in (made.xaxis, made.yaxis):
        axis.axis_label_text_font_style = "normal"
        axis.axis_label_text_font_size = "12px"
        axis.major_label_text_font_size = "11px"
        axis.minor_tick_line_color = None
        axis.axis_line_color = None
        axis.major_tick_line_color = None
    made.min_border_right = 12
    return made


def rows_figure(labels: Sequence[str], *, x_title: str, **more: Any) -> Any:
    """Returns a figure with one horizontal row for each label, the first on top; row i lies at y = -i."""
    made = new_figure(height=_ROW_PX * len(labels) + 64, x_title=x_title, y_range=(-len(labels) + 0.4, 0.6), **more)
    # Numbers with labels, and not a range of names: two layers may have the same short name.
    made.yaxis.ticker = [-i for i in range(len(labels))]
    made.yaxis.major_label_overrides = {-i: shorten(label) for i, label in enumerate(labels)}
    made.ygrid.visible = False
    # Labels on both sides leave a phone room for few figures below.
    made.xaxis.ticker.desired_num_ticks = 4
    return made


def label_rows(chart: Any, words: Sequence[str]) -> None:
    """Writes words at the right end of each row of a `rows_figure`, where no bar is."""
    from bokeh.models import LinearAxis

    axis: Any = LinearAxis(
        ticker=chart.yaxis[0].ticker, axis_line_color=None, major_tick_line_color=None,
        minor_tick_line_color=None, major_label_text_font_size="11px",
        major_label_overrides={-i: text for i, text in enumerate(words)},
    )  # fmt: skip
    chart.add_layout(axis, "right")


def add_tooltip(chart: Any, renderers: Sequence[Any], rows: Sequence[tuple[str, str]], **more: Any) -> None:
    """Shows on hovering a mark of `renderers` a list of (label, column of the data).

    The columns hold plain text: without Bokeh's `{safe}`, markup in a user's names stays text.
    """
    from bokeh.models import HoverTool

    # Styles in the elements: the tooltip lies in a shadow tree, where the page's style sheet does not reach.
    body = "".join(
        f'<div><span style="color:#57606a">{label}</span> @{{{column}}}</div>' if label else f"<div>@{{{column}}}</div>"
        for label, column in rows
    )
    style = "max-width:280px;white-space:normal;overflow-wrap:anywhere;color:#1b1f24"
    tooltip = f'<div class="tip" style="{style}">{body}</div>'
    chart.add_tools(HoverTool(renderers=list(renderers), tooltips=tooltip, **more))


def legend_above(chart: Any) -> None:
    """Puts the legend over the chart, where it hides no mark; three names in a row, which a phone has room for."""
    chart.legend.orientation = "horizontal"
    chart.legend.ncols = min(3, len(chart.legend.items))
    chart.legend.location = "top_left"
    chart.legend.label_text_font_size = "11px"
    chart.legend.background_fill_color = None
    chart.legend.border_line_color = None
    # A legend is HTML and not painted: here the page's own colour reaches.
    chart.legend.stylesheets = [":host * { color: var(--text) !important; }"]
    chart.add_layout(chart.legend[0], "above")


def line_at(chart: Any, value: float, *, across: bool, label: str) -> None:
    """Draws a dashed line with its name: at x = `value`, or `across` the chart at y = `value`."""
    from bokeh.models import Label, Span

    chart.add_layout(
        Span(location=value, dimension="width" if across else "height", line_dash="dashed", line_width=1.5, tags=[INK])
    )
    place: dict[str, Any] = (
        {"x": 4, "x_units": "screen", "y": value, "text_baseline": "bottom"}
        if across
        else {"x": value, "y": 4, "y_units": "screen", "x_offset": 4, "text_baseline": "bottom"}
    )
    chart.add_layout(Label(text=label, text_font_size="11px", tags=[INK], **place))


def byte_scale(values: Sequence[float]) -> tuple[float, str]:
    """Returns (bytes in one unit of the axis, the unit's name) for an axis that shows `values`.

    The data is scaled and not the labels: a formatter in JavaScript would need `eval`, which the page forbids itself.
    """
    largest = max(values, default=0.0)
    return next(((f, name) for f, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if largest >= f), (1.0, "bytes"))


def format_colour(name: str) -> str:
    """Returns the colour of a format; that of nothing special where this machine does not know it."""
    known = format_names()
    return _FORMAT_COLOURS[known.index(name) % len(_FORMAT_COLOURS)] if name in known else PLAIN_COLOUR


def format_marker(name: str) -> str:
    """Returns the marker of a format, by Bokeh's name."""
    known = format_names()
    return _FORMAT_MARKERS[known.index(name) % len(_FORMAT_MARKERS)] if name in known else "hex"


def colour_of(table: Mapping[str, str], name: str) -> str:
    """Returns a name's colour, grey for one that the table does not know."""
    return table.get(name, PLAIN_COLOUR)


def shorten(label: str) -> str:
    """Returns a label that fits beside an axis; a long dotted name keeps its end, which tells it from others."""
    return label if len(label) <= _LABEL_CHARACTERS else "…" + label[-_LABEL_CHARACTERS + 1 :]
