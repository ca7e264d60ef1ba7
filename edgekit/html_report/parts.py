"""What a page is made of: sections with charts and tables. Plain data; `page.py` turns it into HTML."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from edgekit.units import format_value

UNKNOWN = "\N{EN DASH}"
"""What stands where there is no figure."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What is shown.
        order: What the column is sorted by; None sorts after everything else.
        status: pass, fail, inconclusive, not_run, remark, or "" for plain text: decides the colour, never the words.
        report: Row of a sweep whose own report the text opens; "" where it opens none.
    """

    text: str
    order: float | str | None = None
    status: str = ""
    report: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its title, and whether it holds figures (right-aligned, sorted as numbers)."""

    title: str
    numeric: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table that readers can sort.

    Attributes:
        caption: What it shows.
        columns: At least one; the first is the row's heading.
        rows: As many cells as columns.
        folded: It is shown only when the reader asks for it.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: Unique in the page; the HTML id of its place.
        title: What it shows.
        words: The same in words, for those who do not see it.
        model: A Bokeh figure.
    """

    name: str
    title: str
    words: str
    model: Any


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A paragraph; with a `status` it is marked like a cell, with a `command` that line follows, to be copied."""

    text: str
    status: str = ""
    command: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


Block = Chart | Table | Sentence | Heading


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One part of the page.

    Attributes:
        name: The HTML id.
        title: Its heading.
        blocks: What it holds, in order.
    """

    name: str
    title: str
    blocks: tuple[Block, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a page is made from.

    Attributes:
        folder: The export's folder as the user wrote it, for commands.
        report: Content of report.json.
        details: Content of details.json; None where there is none.
        lock: Content of edgekit.lock; None where there is none.
        search: Content of search.json; None where there is none.
    """

    folder: str
    report: Mapping[str, Any]
    details: Mapping[str, Any] | None
    lock: Mapping[str, Any] | None
    search: Mapping[str, Any] | None = None

    @property
    def formats(self) -> tuple[Mapping[str, Any], ...]:
        """What came of each format."""
        return tuple(self.report["formats"])

    @property
    def plans(self) -> tuple[Mapping[str, Any], ...]:
        """The plans behind the export."""
        return tuple(self.details["plans"]) if self.details else ()

    @property
    def export_command(self) -> str:
        """The command that makes this folder anew, as far as the report knows it."""
        model = self.report.get("model") or {}
        named = model.get("source") if not model.get("embedded_default") else None
        words = ["edgekit", "export", *([named] if named else []), "--device", self.report["device"], "-o", self.folder]
        return shlex.join(words)


def name_of(entry: Mapping[str, Any]) -> str:
    """Returns a format's name for people: `tflite int8-static`."""
    return f"{entry['runtime']} {entry['precision']}"


def figure_text(value: float | None, unit: str) -> str:
    """Returns a figure for people, a dash where there is none."""
    return UNKNOWN if value is None else format_value(value, unit)


def figure(value: float | None, unit: str, status: str = "") -> Cell:
    """Returns the cell of a figure."""
    return Cell(text=figure_text(value, unit), order=value, status=status)


def band(low: float | None, high: float | None, unit: str) -> str:
    """Returns a band for people, "" where there is none."""
    return "" if low is None or high is None else f"{format_value(low, unit)} to {format_value(high, unit)}"


def count_text(value: float) -> str:
    """Returns a large number for people: `4.65 M`."""
    factor, unit = next(((f, u) for f, u in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= 0.9995 * f), (1.0, ""))
    return f"{value / factor:.3g}{unit}"


def count_cell(value: float) -> Cell:
    """Returns the cell of a large number."""
    return Cell(text=count_text(value), order=value)


def word(text: object) -> Cell:
    """Returns the cell of a text, sorted by itself."""
    return Cell(text=str(text), order=str(text).lower())
