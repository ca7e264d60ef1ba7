"""Tables on a terminal that is too narrow for them."""

from __future__ import annotations

import io

import pytest
from rich.table import Table

from edgekit.terminal.narrow import FittingConsole


def shown(width: int, *, grows: bool = False) -> list[str]:
    table = Table(title="tflite int8", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for heading in ("check", "found", "limit"):
        table.add_column(heading, no_wrap=True)
    table.add_column("detail")
    table.add_row("[green]ok[/]", "accuracy drop", "0.25 pp", "<= 1.00 pp", "on 40 items, of which none was lost")
    table.add_row("-", "size", "5.7 kB", "", "")
    out = io.StringIO()
    FittingConsole(file=out, width=width, highlight=False, grows=grows).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_table_that_fits_is_shown_as_it_is() -> None:
    lines = shown(100)
    assert lines[1].split() == ["check", "found", "limit", "detail"]
    assert len(lines) == 4


def test_a_table_that_does_not_fit_is_stacked_without_its_empty_cells() -> None:
    assert shown(46) == [
        "tflite int8",
        "ok accuracy drop",
        "  found  0.25 pp",
        "  limit  <= 1.00 pp",
        "  detail on 40 items, of which none was lost",
        "- size",
        "  found 5.7 kB",
    ]


@pytest.mark.parametrize("width", [20, 34, 50, 59, 60, 100])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in shown(width))


def test_in_a_log_a_table_takes_the_columns_that_it_needs() -> None:
    lines = shown(20, grows=True)
    assert lines[1].split() == ["check", "found", "limit", "detail"]
    assert lines[2].split()[:3] == ["ok", "accuracy", "drop"]
