"""A console that stacks a table which does not fit: one block a row, each cell on a line of its own."""

from __future__ import annotations

from typing import Any, Final, final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

_SENTENCE_COLUMNS: Final = 50
"""Columns that a wrapped cell gets at most where nothing limits the width."""

_FOLDED_COLUMNS: Final = 14
"""Columns of the terminal that a cell needs where its text is wrapped; below, it is one word a line."""


@final
class FittingConsole(Console):
    """A Rich console whose tables stay readable on 50 columns.

    Args:
        grows: Nothing says how wide the output is (a file, a log): a table takes the columns that it needs.
        **options: Rich's.
    """

    def __init__(self, *, grows: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._grows = grows

    def print(self, *objects: Any, **options: Any) -> None:
        """Prints as Rich does; a table that is wider than the terminal is stacked."""
        tables = [item for item in objects if isinstance(item, Table)]
        if self._grows and tables:
            # Rich takes no width for one print that is beyond the console's own.
            usual, needed = self.width, max(_columns(table, _SENTENCE_COLUMNS, gap=2) for table in tables)
            self.width = max(usual, needed)
            try:
                super().print(*objects, **options)
            finally:
                self.width = usual
            return
        shown = [stacked(item) if isinstance(item, Table) and not self.fits(item) else item for item in objects]
        super().print(*shown, **options)

    def fits(self, table: Table) -> bool:
        """Returns whether a table can be shown side by side, its wrapped columns included."""
        return _columns(table, _FOLDED_COLUMNS, gap=1) <= self.width


def _columns(table: Table, folded: int, *, gap: int) -> int:
    """Returns how many columns a table needs side by side.

    Args:
        table: The table.
        folded: The most that a cell needs where its text is wrapped.
        gap: Columns between two cells.
    """
    widths = [max((_text(cell).cell_len for cell in (c.header, *c.cells)), default=0) for c in table.columns]
    needed = [
        width if column.no_wrap else min(width, folded) for width, column in zip(widths, table.columns, strict=True)
    ]
    return sum(needed) + gap * (len(needed) - 1)


def stacked(table: Table) -> RenderableType:
    """Returns a table's rows as blocks: what a row is about, then a line for each figure with its heading."""
    headings = [str(column.header) for column in table.columns]
    # A mark without a heading comes before the name of what the row is about.
    leading = 2 if len(headings) > 2 and not headings[0] else 1
    parts: list[RenderableType] = [] if table.title is None else [Text.from_markup(f"[bold]{table.title}[/]")]
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        parts.append(Text(" ").join(_text(cell) for cell in cells[:leading]))
        block = Table.grid(padding=(0, 1), expand=False)
        block.add_column(no_wrap=True, style="dim")
        block.add_column(overflow="fold")
        for heading, cell in zip(headings[leading:], cells[leading:], strict=True):
            if _text(cell).plain:
                block.add_row(f"  {heading}", cell)
        parts.append(block)
    return Group(*parts)


def _text(cell: RenderableType) -> Text:
    return cell if isinstance(cell, Text) else Text.from_markup(str(cell))
